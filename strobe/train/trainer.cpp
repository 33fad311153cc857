#include "strobe/train/trainer.h"

#include <cmath>
#include <fstream>

#include "strobe/core/clock.h"
#include "strobe/core/error.h"
#include "strobe/data/tokenizer.h"
#include "strobe/train/run_config.h"
#include "strobe/train/sampler.h"

namespace strobe {

namespace {

// The process's peak resident memory, in bytes; 0 where the system does not tell.
int64_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  return 0;
}

std::string_view name_of(RunState state) {
  switch (state) {
    case RunState::finished: return "finished";
    case RunState::stopped: return "stopped";
    case RunState::diverged: return "diverged";
  }
  return "?";
}

// The configuration that runs, with the data's batches open.
Config begun(Config config, RunData& data) {
  config = resolve(std::move(config), data);
  data.begin(config);
  return config;
}

constexpr double kManyEpochs = 10;  // passes over the data beyond which a run says so

}  // namespace

Trainer::Trainer(Config config, std::function<bool()> stop, const std::string& run)
    : stop_(std::move(stop)),
      data_(open_run_data(config, run)),
      sequence_((config_ = begun(std::move(config), *data_)).train.sequence),
      length_(run_length(
          config_.train,
          static_cast<double>(config_.train.micro_batch * sequence_ * config_.train.grad_accum),
          static_cast<double>(data_->train().tokens_per_epoch()),
          !RunSchedules::varies_batch(config_))),
      schedules_(config_, length_),
      most_sequences_(std::max(data_->train().most_sequences(schedules_.shortest()),
                               data_->valid() ? data_->valid()->most_sequences() : int64_t{0})),
      engine_(config_, config_.model.vocab, training_shape(config_, *data_, most_sequences_)) {
  device_ = engine_.ops().info();
  if (!config_.schedule.record.empty())
    recorded_lr_ = recorded_learning_rates(config_.schedule.record);
  if (config_.train.patience < 0)
    fail("train.patience: {} is negative; it takes 0 or more", config_.train.patience);
  const bool watches = config_.train.patience > 0 || schedules_.watches_evaluations();
  if (watches && (!data_->valid() || config_.eval.every.value <= 0))
    fail("{}: it watches evaluations, and this run makes none on its way: {}",
         config_.train.patience > 0 ? "train.patience" : "schedule.name = plateau",
         data_->valid()      ? "eval.every is 0"
         : data_->predicts() ? "nothing is held out; texts.hold_out=0.1 evaluates on a tenth"
                             : "the data have no valid split");
  if (config_.average.lawa > 0 && config_.average.every.value <= 0)
    fail("average.every: lawa takes an interval above 0");
}

Progress Trainer::reached() const { return length_.at(state_.step, state_.tokens, state_.seconds); }

void Trainer::say_where(StepEvent& event) const {
  event.step = state_.step, event.tokens = state_.tokens_seen;
  event.seconds = state_.seconds, event.flops = state_.flops;
  event.done = length_.done(reached());
}

Progress Trainer::issued() const {
  double tokens = state_.tokens;
  for (const UnderWay& step : under_way_) tokens += step.tokens;
  return length_.at(state_.step + static_cast<int64_t>(under_way_.size()), tokens, state_.seconds);
}

RunSchedules::Values Trainer::scheduled() const {
  const Plateau plateau{state_.plateau_best, state_.plateau_factor, state_.plateau_bad};
  RunSchedules::Values values = schedules_.at(issued(), plateau);
  if (recorded_lr_.empty()) return values;
  const auto step = static_cast<size_t>(state_.step) + under_way_.size();
  values.lr = recorded_lr_[std::min(step, recorded_lr_.size() - 1)];
  return values;
}

float Trainer::average_share(float lr) {
  state_.lr_most = std::max(state_.lr_most, static_cast<double>(lr));
  const double weight = state_.lr_most * state_.lr_most;
  state_.lr_squares += weight;
  return state_.lr_squares > 0 ? static_cast<float>(weight / state_.lr_squares) : 1.0f;
}

void Trainer::average(const Progress& before) {
  const Progress now = issued();
  const AverageConfig& a = config_.average;
  const bool begun = a.start.unit == Length::Unit::fraction ? length_.done(now) >= a.start.value
                                                            : now.in(a.start.unit) >= a.start.value;
  if (!begun) return;
  if (a.ema > 0) engine_.average_weights(/*first=*/state_.ema_steps++ == 0);
  if (a.lawa > 0 && due(a.every, length_, before, now)) engine_.take_snapshot(state_.snapshots++);
}

void Trainer::start_step() {
  const Progress before = issued();
  const RunSchedules::Values values = scheduled();
  std::vector<HostBatch> batches(static_cast<size_t>(values.micro_batches));
  for (HostBatch& batch : batches) data_->train().fill(batch, micro_batches_++, values.longest);
  StepInput input;
  input.seed = static_cast<uint64_t>(config_.seed);
  input.step = state_.step + static_cast<int64_t>(under_way_.size());
  input.lr = values.lr, input.decay_scale = values.decay_scale;
  input.momentum_scale = values.momentum_scale;
  input.average = average_share(values.lr);
  const double begin = steady_seconds();
  engine_.start_step(input, batches, values.dropout_scale);
  const double tokens = static_cast<double>(values.micro_batches) * micro_tokens();
  double run = 0, filler = 0;
  for (const HostBatch& batch : batches)
    run += static_cast<double>(batch.tokens.size()), filler += static_cast<double>(batch.filler);
  const EnginePlan& plan = engine_.plan();
  // In proportion to rows: that attention takes less of short texts is left out.
  const double flops = plan.micro_batch_flops * run / micro_tokens() + plan.update_flops;
  under_way_.push_back({begin, input.lr, tokens, run - filler, flops});
  average(before);
}

StepEvent Trainer::finish_step() {
  const Engine::StepResult result = engine_.finish_step();
  const UnderWay step = under_way_.front();
  under_way_.pop_front();
  // From one completion to the next while steps follow each other without a pause.
  const double end = steady_seconds(), seconds = end - std::max(step.begin, last_finish_);
  last_finish_ = end;

  if (result.state.halt || (result.scored > 0 && !std::isfinite(result.loss)))
    fail("train: the {} is not finite at step {}; the update was not applied",
         result.state.halt ? "gradient norm" : "loss", state_.step + 1);
  state_.step += 1;
  state_.seconds += seconds;
  state_.tokens += step.tokens;
  state_.tokens_seen += step.seen;
  state_.flops += step.flops;
  StepEvent event;
  say_where(event);
  event.loss = result.loss;
  event.lr = step.lr;
  event.grad_norm = result.state.grad_norm;
  event.tokens_per_second = step.seen / seconds;
  if (const double peak = device_.peak(engine_.dtype()); peak > 0)
    event.mfu = event.tokens_per_second * engine_.model().flops_per_token(sequence_) / peak;
  step_seconds_ += seconds, ++steps_timed_;
  return event;
}

double Trainer::seconds_left(const Progress& progress) const {
  const double done = length_.done(progress);
  if (done <= 0 || steps_timed_ == 0) return NAN;
  // Training that is left, and evaluations and checkpoints at the rate seen so far.
  const double per_step = step_seconds_ / static_cast<double>(steps_timed_);
  const double steps_left = progress.steps / done - progress.steps;
  const double other =
      (evaluation_seconds_ + checkpoint_seconds_) / static_cast<double>(steps_timed_);
  return steps_left * (per_step + other);
}

bool Trainer::evaluate_now(RunFolder& folder, const StepEvent& event) {
  if (!data_->valid()) return true;
  const double begin = steady_seconds();
  const auto with = [&](Engine::Weights weights) {
    engine_.use_weights(weights, state_.snapshots);
    Evaluation out = data_->evaluate(engine_, "valid", *data_->valid(), stop_);
    engine_.use_weights(Engine::Weights::training);
    return out;
  };
  Evaluation evaluation = with(Engine::Weights::best);
  const auto beside = [&](const char* name, Engine::Weights weights) {
    if (evaluation.stopped) return;
    const Evaluation other = with(weights);
    evaluation.averages.emplace_back(name, other.loss);
    evaluation.stopped = other.stopped;
  };
  if (state_.ema_steps > 0) beside("ema", Engine::Weights::ema);
  if (state_.snapshots > 0) beside("lawa", Engine::Weights::lawa);
  evaluation_seconds_ += steady_seconds() - begin, ++evaluations_;
  state_.evaluation_due = evaluation.stopped;
  if (evaluation.stopped) return false;
  last_evaluation_ = evaluation;
  folder.append(event, evaluation);
  ++state_.since_best;
  const double rank = evaluation.rank();
  // Of few texts many errors are alike; the loss tells those apart.
  const bool tied = rank == state_.best_loss && evaluation.loss < state_.best_tied_loss;
  if (rank < state_.best_loss) state_.since_best = 0;
  if (rank < state_.best_loss || tied) {
    state_.best_loss = rank, state_.best_tied_loss = evaluation.loss;
    state_.best_step = state_.step;
    state_.best_scores.clear();
    for (const auto& [name, score] : evaluation.scores)
      state_.best_scores.emplace_back("val/" + name, score);
  }
  if (schedules_.watches_evaluations()) {
    Plateau plateau{state_.plateau_best, state_.plateau_factor, state_.plateau_bad};
    plateau.observe(evaluation.rank(), schedules_.lr_curve());
    state_.plateau_best = plateau.best, state_.plateau_factor = plateau.factor;
    state_.plateau_bad = plateau.bad;
  }
  return true;
}

void Trainer::save() {
  const double begin = steady_seconds();
  state_.gemm_plans = engine_.ops().gemm_plans();
  engine_.refresh_used();
  checkpoints_->save(engine_.ops(), engine_.params(), state_);
  checkpoint_seconds_ += steady_seconds() - begin, ++saves_;
}

RunState Trainer::run(RunFolder& folder, bool resume) {
  StepEvent event = start(folder, resume);
  if (complete_) return RunState::finished;
  const double epochs = length_.tokens() / length_.tokens_per_epoch;
  if (epochs > kManyEpochs)
    line_->note(fmt::format("warning: the run makes {:.0f} passes over {}", epochs,
                            data_->what_is_passed()));
  if (const std::string said = schedules_.notice(); !said.empty()) line_->note("warning: " + said);
  // Steps that may be under way while the next is issued, so that a GPU never waits for the host.
  const size_t ahead = device_.asynchronous ? 1 : 0;
  const auto finish_steps = [&](size_t left) {
    for (; under_way_.size() > left; folder.append(event)) event = finish_step();
  };
  const auto save_with_events = [&] { folder.sync_events(), save(); };
  Progress progress = issued(), shown = progress;
  bool stopping = false;
  if (state_.evaluation_due) {
    stopping = !evaluate_now(folder, event);
    if (!stopping) save_with_events();
  }
  // What has been issued decides what is due; results follow.
  while (!over(progress) && !stopping) {
    stopping = stop_ && stop_();
    const Progress before = progress;
    bool evaluates = false, saves = false;
    try {
      if (!stopping) start_step();
      finish_steps(stopping ? 0 : ahead);
      const auto decide = [&] {
        progress = issued();
        evaluates =
            due(config_.eval.every, length_, before, progress) || length_.finished(progress);
        saves =
            due(config_.checkpoint.every, length_, before, progress) || length_.finished(progress);
      };
      decide();
      if (evaluates || saves) finish_steps(0), decide();
    } catch (const Error& error) {
      line_->note(error.what());
      return end(folder, RunState::diverged, event);
    }
    if (stopping) break;
    const Progress done = reached();
    const auto show = [&](bool plain_due) {
      if (done.steps > shown.steps)
        line_->show(event, last_evaluation_ ? &*last_evaluation_ : nullptr, length_.done(done),
                    seconds_left(done), plain_due);
    };
    const int64_t previous = state_.best_step;
    if (evaluates) {
      show(/*plain_due=*/false);  // before what can take long
      stopping = !evaluate_now(folder, event);
    }
    if (stopped_early())
      line_->note(
          fmt::format("stopping early: {} evaluations without progress; the best is of step {}",
                      state_.since_best, state_.best_step));
    saves = saves || stopped_early();
    if (config_.checkpoint.best && state_.best_step != previous) saves = true;
    if (!stopping && saves) save_with_events();
    show(stopping || over(progress) || due(config_.train.log_every, length_, shown, done));
    shown = done;
  }
  return end(folder, stopping ? RunState::stopped : RunState::finished, event);
}

void Trainer::write_sample(RunFolder& folder) {
  std::string text = config_.sample.prompt;
  SamplerOptions options;
  options.seed = static_cast<uint64_t>(config_.seed);
  engine_.use_weights(Engine::Weights::best);
  try {
    generate(
        engine_, data_->tokenizer(), config_.sample.prompt, config_.sample.tokens, options,
        [&](std::string_view part) { text += part; }, stop_);
  } catch (const Error& error) {
    line_->note(fmt::format("no sample: {}", error.what()));  // and no reason to lose the result
  }
  engine_.use_weights(Engine::Weights::training);
  folder.write_sample(text + "\n");
}

RunState Trainer::end(RunFolder& folder, RunState state, const StepEvent& event) {
  line_->finish();
  if (state == RunState::stopped) {
    line_->note(fmt::format("stopping: saving step {}", state_.step));
    folder.sync_events();
    save();
  }
  checkpoints_->wait();
  if (state == RunState::finished && config_.sample.tokens > 0) write_sample(folder);
  const int64_t peak = device_.memory_bytes > 0 ? device_bytes() : peak_resident_bytes();
  folder.write_result(std::string(name_of(state)), event, last_evaluation_, engine_.plan(),
                      steps_timed_ > 0 ? peak : 0);
  return state;
}

}  // namespace strobe
