// A run is a folder of plain files, and the only link between training and everything else:
//
//   config.toml        the resolved configuration
//   environment.json   machine, versions, sizes
//   memory.json        [{"part", "bytes"}], as planned
//   events.jsonl       one object a training step, one an evaluation
//   result.json        how the run ended
//   checkpoints/       step_N/
//   tokenizer.json     the data's
//   samples.txt        what the model writes
//   lock               held by the process that trains
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "strobe/config/config.h"
#include "strobe/core/files.h"
#include "strobe/train/engine.h"
#include "strobe/train/evaluate.h"

namespace strobe {

struct StepEvent {
  int64_t step = 0;  // updates done
  double tokens = 0, seconds = 0;
  double loss = 0;
  float lr = 0, grad_norm = 0;
  double tokens_per_second = 0, mfu = 0;  // mfu 0: the device's peak is not known
};

class RunFolder {
 public:
  /// Makes the folder and locks it. Throws Error if it exists.
  static RunFolder create(const std::string& path, const Config& config);
  /// Opens and locks an existing run. Throws Error if it is no run or another process trains in it.
  static RunFolder open(const std::string& path);

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  std::string checkpoints() const { return file("checkpoints"); }

  void write_config(const Config& config);
  void write_environment(const std::vector<std::pair<std::string, std::string>>& entries);
  void write_memory(const EnginePlan& plan);
  /// Copies the data's tokenizer, so that the run can be used without the data.
  void write_tokenizer(const std::string& file);

  /// Drops events after `step`, and a torn last line: a resumed run writes them again.
  void truncate_events(int64_t step);
  void append(const StepEvent& event);
  void append(const StepEvent& at, const Evaluation& evaluation);
  /// Makes what was appended durable; a checkpoint follows it.
  void sync_events();

  /// `state`: "finished", "stopped" or "diverged".
  void write_result(const std::string& state, const StepEvent& last, const Evaluation& evaluation,
                    const EnginePlan& plan, int64_t peak_bytes);
  void write_sample(const std::string& text);

 private:
  explicit RunFolder(std::string path);
  void append_line(const std::string& line);

  std::string path_;
  std::shared_ptr<FileLock> lock_;
};

/// The learning rates a run used, in order of steps: what repeats a run measured by the clock.
std::vector<float> recorded_learning_rates(const std::string& run);

}  // namespace strobe
