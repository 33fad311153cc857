// The training loop.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "strobe/config/config.h"
#include "strobe/io/checkpoint.h"
#include "strobe/train/engine.h"
#include "strobe/train/evaluate.h"
#include "strobe/train/progress_line.h"
#include "strobe/train/run_data.h"
#include "strobe/train/run_folder.h"
#include "strobe/train/run_length.h"
#include "strobe/train/run_schedules.h"

namespace strobe {

enum class RunState { finished, stopped, diverged };

class Trainer {
 public:
  /// Opens the data and plans; throws Error for what cannot run. `stop` is asked once a step
  /// and once a batch of an evaluation. `run`: the folder of the run that goes on, if one does,
  /// whose tokenizer reads labelled texts.
  Trainer(Config config, std::function<bool()> stop, const std::string& run = "");

  /// What will run: parameters, memory by part, steps, tokens, size of a checkpoint.
  std::string describe() const;
  /// The same and the machine, as environment.json has it.
  std::vector<std::pair<std::string, std::string>> environment() const;
  /// What was read to learn from, in a line; "" of a prepared dataset.
  std::string describe_data() const { return data_->describe(); }
  const Config& config() const { return config_; }
  /// Throws Error if the memory that is free now does not take it.
  void check_memory() const { engine_.check_memory(); }

  /// Takes the memory and gives the parameters their first values; throws Error when there is too
  /// little of it, or of disk for a checkpoint in `folder`, or no run to start from. run() does so
  /// itself where it was not done before.
  /// What became of a classifier that the run starts from goes to `note`.
  void initialise(const std::string& folder,
                  const std::function<void(const std::string&)>& note = {});

  /// Trains from the start in a new folder, or on from the newest whole checkpoint. A run that is
  /// complete is left as it is. Throws Error, before anything is written, for a configuration that
  /// cannot go on from the checkpoint.
  RunState run(RunFolder& folder, bool resume);

 private:
  double evaluation_tokens() const;
  /// Returns the event of the last step done.
  StepEvent start(RunFolder& folder, bool resume);
  /// Puts the run where its newest checkpoint is; false where there has been none yet.
  bool load(RunFolder& folder, StepEvent& event);
  /// Issues the next step; its results come by finish_step(), on a GPU a step late.
  void start_step();
  StepEvent finish_step();
  /// False if it was stopped: the state then has it still due.
  bool evaluate_now(RunFolder& folder, const StepEvent& event);
  void save();
  void write_sample(RunFolder& folder);
  RunState end(RunFolder& folder, RunState state, const StepEvent& event);
  /// What micro-batches the device's free memory takes.
  std::string describe_fit() const;
  /// What schedules say of the step that is issued next.
  RunSchedules::Values scheduled() const;
  /// After the steps whose results are in.
  Progress reached() const;
  void say_where(StepEvent& event) const;
  /// After the steps that have been issued, results or not.
  Progress issued() const;
  /// Weighs the step for a schedule-free average: lr^2 over the sum of lr^2 so far.
  float average_share(float lr);
  /// After a step was issued: averages of weights that are due.
  void average(const Progress& before);
  bool stopped_early() const {
    return config_.train.patience > 0 && state_.since_best >= config_.train.patience;
  }
  bool over(const Progress& progress) const {
    return length_.finished(progress) || stopped_early();
  }
  /// Of one micro-batch, by which the run is measured.
  double micro_tokens() const { return static_cast<double>(config_.train.micro_batch * sequence_); }
  /// Memory of the device that the run takes, all of it from the start.
  int64_t device_bytes() const { return engine_.plan().bytes + device_.fixed_bytes; }
  double seconds_left(const Progress& now) const;

  Config config_;
  std::function<bool()> stop_;
  std::unique_ptr<RunData> data_;
  int64_t sequence_;
  RunLength length_;
  RunSchedules schedules_;
  int64_t most_sequences_;  // of a micro-batch
  Engine engine_;
  std::vector<float> recorded_lr_;  // of the run that is being repeated

  struct UnderWay {
    double begin;  // seconds, by the clock
    float lr;
    double tokens, seen;  // by which the run is measured, and that there were
    double flops;
  };

  TrainState state_;  // after the steps whose results are in
  std::deque<UnderWay> under_way_;
  int64_t micro_batches_ = 0;  // of the data, that have been issued
  double last_finish_ = 0;
  DeviceInfo device_;
  bool initialised_ = false, complete_ = false;
  std::optional<Evaluation> last_evaluation_;
  std::unique_ptr<CheckpointWriter> checkpoints_;
  std::unique_ptr<ProgressLine> line_;
  // Wall time spent on each kind of work, for the time left.
  double step_seconds_ = 0, evaluation_seconds_ = 0, checkpoint_seconds_ = 0;
  int64_t steps_timed_ = 0, evaluations_ = 0, saves_ = 0;
};

}  // namespace strobe
