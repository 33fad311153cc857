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

#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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
  double flops = 0;  // operations so far; on record with evaluations and the result
  double done = 0;   // share of the run's length; on record with evaluations
  double loss = std::numeric_limits<double>::quiet_NaN();  // of no step yet
  float lr = 0, grad_norm = 0;
  double tokens_per_second = 0, mfu = 0;  // mfu 0: the device's peak is not known
};

/// What a run logged last.
struct LastEvents {
  StepEvent step;
  std::optional<Evaluation> evaluation;  // its number of scored tokens is not on record
  int64_t evaluated_step = -1;
};

/// Throws Error, with `verb` first, if `path` is no run; lists the runs of a study.
void check_is_run(std::string_view verb, const std::string& path);

/// Throws Error if there is something where a new run is to be.
void check_is_free(const std::string& path);

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

  /// An entry of environment.json; "" if it is not there.
  std::string environment(const std::string& key) const;

  /// Drops events after `step`, and a torn last line: a resumed run writes them again. Lines that
  /// are no events are left out too, with a word to `note`, and so are steps that are missing.
  LastEvents truncate_events(int64_t step, const std::function<void(const std::string&)>& note);
  void append(const StepEvent& event);
  void append(const StepEvent& at, const Evaluation& evaluation);
  /// Makes what was appended durable; a checkpoint follows it.
  void sync_events();

  /// `state`: "finished", "stopped" or "diverged". `peak_bytes` 0: not known.
  void write_result(const std::string& state, const StepEvent& last,
                    const std::optional<Evaluation>& evaluation, const EnginePlan& plan,
                    int64_t peak_bytes);
  bool has_result() const;
  /// True if the result is that of a run that finished with this step, and was evaluated there.
  bool is_complete(int64_t step, bool evaluated) const;
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
