// How a run begins: from nothing, from the weights of another, from its own checkpoint.
#include <cmath>
#include <filesystem>

#include "strobe/core/error.h"
#include "strobe/data/tokenizer.h"
#include "strobe/train/loaded_run.h"
#include "strobe/train/run_config.h"
#include "strobe/train/trainer.h"

namespace strobe {

void Trainer::initialise(const std::string& folder,
                         const std::function<void(const std::string&)>& note) {
  if (!config_.init_from.empty())
    check_tokenizer(config_.init_from, data_->tokenizer(), data_->place());
  engine_.allocate();
  check_disk_room(folder, checkpoint_bytes(engine_.params()));
  initialise_params(engine_.ops(), engine_.model(), static_cast<uint64_t>(config_.seed));
  if (!config_.init_from.empty()) init_from(config_, engine_, note);
  engine_.start_optimizer();
  initialised_ = true;
}

bool Trainer::load(RunFolder& folder, StepEvent& event) {
  const Config was = resolve(run_config(folder.path()), *data_);
  const std::vector<std::string> changed = changed_keys(folder.path(), was, config_);
  if (std::filesystem::exists(folder.file("tokenizer.json")))
    check_tokenizer(folder.path(), data_->tokenizer(), data_->place());
  const auto note = [&](const std::string& text) { line_->note(text); };
  if (!has_checkpoint(folder.checkpoints()) && !folder.has_result()) {
    note("the run has no checkpoint yet: it begins");
    folder.truncate_events(0, note);
    return false;
  }
  engine_.allocate();
  state_ = load_newest_checkpoint(folder.checkpoints(), engine_.ops(), engine_.params(), note);
  refresh_compute(engine_.ops(), engine_.model());
  engine_.ops().set_gemm_plans(state_.gemm_plans);
  // What was read is on record in tokens: other micro-batches go on where those before ended.
  micro_batches_ = static_cast<int64_t>(std::ceil(state_.tokens / micro_tokens()));

  const bool finished = over(reached());
  complete_ = finished && folder.is_complete(state_.step, data_->valid() != nullptr);
  const bool beyond = length_.steps > 0 ? state_.step > length_.steps
                                        : length_.measure() == Length::Unit::seconds &&
                                              state_.seconds > length_.total && !complete_;
  if (!changed.empty() && (complete_ || beyond))
    fail(
        "resume: {} has done {} steps and has none left: a change of {} would change nothing; a "
        "longer train.steps goes on",
        folder.path(), state_.step, fmt::join(changed, ", "));
  if (const std::string hash = folder.environment("data_hash");
      !hash.empty() && hash != fmt::format("{:016x}", data_->hash()))
    note(fmt::format("warning: the data in {} are not those that the run has seen so far",
                     data_->place()));
  const LastEvents last = folder.truncate_events(state_.step, note);
  last_evaluation_ = last.evaluation;
  if (data_->valid() && finished && last.evaluated_step != state_.step)
    state_.evaluation_due = true;
  event = last.step;
  return true;
}

StepEvent Trainer::start(RunFolder& folder, bool resume) {
  checkpoints_ = std::make_unique<CheckpointWriter>(folder.checkpoints(), config_.checkpoint.keep);
  line_ = std::make_unique<ProgressLine>("", device_bytes());
  StepEvent event;
  const bool loaded = resume && load(folder, event);
  say_where(event);
  if (complete_) line_->note("nothing is left to train");
  if (complete_) return event;
  if (!loaded && !initialised_) initialise(folder.path());
  folder.write_config(config_);
  folder.write_environment(environment());
  data_->tokenizer().save(folder.file("tokenizer.json"));
  folder.write_memory(engine_.plan());
  if (!loaded) save();
  return event;
}

}  // namespace strobe
