#include "strobe/train/run_schedules.h"

#include <algorithm>
#include <cmath>

#include "strobe/config/terms.h"
#include "strobe/core/error.h"

namespace strobe {

namespace {

constexpr double kNever = 1e18;  // further than any run goes, in any unit
constexpr int64_t kSequenceLevels =
    16;  // lengths that a scheduled sequence takes: each is recorded

CurveConfig checked_curve(const std::string& text, const std::string& key, double most) {
  CurveConfig curve = parse_curve(text, key);
  check_curve(curve, key);
  if (curve.name == "plateau") fail("{}: plateau is the learning rate's alone", key);
  for (const auto& [name, value] :
       {std::pair<const char*, double>{"floor", curve.floor}, {"warmup_from", curve.warmup_from}})
    if (!(value <= most))
      fail("{}: {} = {} is above {:.4g}, the most here", key, name, value, most);
  return curve;
}

bool is_constant(const CurveConfig& curve) {
  return curve.name == "constant" && curve.warmup.value <= 0;
}

}  // namespace

bool RunSchedules::varies_batch(const Config& config) {
  return !is_constant(parse_curve(config.schedule.batch, "schedule.batch"));
}

RunSchedules::RunSchedules(const Config& config, const RunLength& length)
    : length_(length),
      lr_(config.schedule),
      peak_lr_(config.optimizer.lr),
      micro_tokens_(static_cast<double>(config.train.micro_batch * config.train.sequence)),
      grad_accum_(config.train.grad_accum),
      length_of_sequence_(config.train.sequence) {
  const ScheduleConfig& s = config.schedule;
  constexpr double kMost = 1e3;
  check_curve(lr_, "schedule");
  weight_decay_ = checked_curve(s.weight_decay, "schedule.weight_decay", kMost);
  // What a curve may multiply by before momentum, or a dropout, reaches 1.
  const double momentum =
      std::max(config.optimizer.beta1.value_or(0.9), config.optimizer.momentum.value_or(0.95));
  momentum_ = checked_curve(s.momentum, "schedule.momentum", 0.9999 / momentum);
  const ModelConfig& m = config.model;
  const double dropout =
      std::max({m.dropout, m.dropout_embedding.value_or(0), m.dropout_attention.value_or(0),
                m.dropout_residual.value_or(0)});
  dropout_ = checked_curve(s.dropout, "schedule.dropout",
                           dropout > 0 ? std::min(kMost, 0.99 / dropout) : kMost);
  batch_ = checked_curve(s.batch, "schedule.batch", 1);
  sequence_ = checked_curve(s.sequence, "schedule.sequence", 1);
  if (!is_constant(batch_) && grad_accum_ < 2)
    fail("schedule.batch: train.grad_accum is the peak, and 1 leaves nothing to vary");
  if (!s.record.empty())
    for (const auto& [key, curve] :
         {std::pair<const char*, const CurveConfig*>{"weight_decay", &weight_decay_},
          {"momentum", &momentum_},
          {"dropout", &dropout_},
          {"batch", &batch_},
          {"sequence", &sequence_}})
      if (!is_constant(*curve))
        fail("schedule.record: it repeats learning rates alone; schedule.{} must be constant", key);
  // Where everything is known beforehand, so are lengths that contradict each other.
  factor(lr_, {}, micro_tokens_, "schedule");
}

double RunSchedules::factor(const CurveConfig& curve, const Progress& done, double tokens,
                            const std::string& key, double plateau) const {
  CurveLengths lengths;
  lengths.length = length_.measured(curve.length, done, length_.whole());
  const double warmup = length_.measured(curve.warmup, done, kNever);
  // Exchanged at the rate so far, a warm-up may not end before the schedule would: it goes on.
  const bool exact = length_.measured(curve.warmup, {}, kNever) == warmup && warmup < kNever;
  if (!exact) lengths.length = std::max(lengths.length, warmup);
  lengths.warmup = warmup;
  lengths.cooldown = length_.measured(curve.cooldown, done, 0);
  lengths.every = length_.measured(curve.every, done, kNever);
  if (curve.timescale) lengths.timescale = length_.measured(*curve.timescale, done, kNever);
  if (curve.name == "multistep")
    for (const Length milestone :
         parse_lengths(curve.milestones.empty() ? "50 %, 75 %" : curve.milestones, key))
      lengths.milestones.push_back(length_.measured(milestone, done, kNever));
  Schedule schedule = make_schedule(curve, lengths, key);
  schedule.plateau = plateau;
  return schedule.factor(length_.position(done, tokens));
}

RunSchedules::Values RunSchedules::at(const Progress& done, const Plateau& plateau) const {
  Values out;
  const double batch =
      is_constant(batch_) ? 1 : factor(batch_, done, micro_tokens_, "schedule.batch");
  out.micro_batches =
      std::clamp<int64_t>(std::llround(batch * static_cast<double>(grad_accum_)), 1, grad_accum_);
  const double tokens = static_cast<double>(out.micro_batches) * micro_tokens_;
  const auto of = [&](const CurveConfig& curve, const char* key) {
    return is_constant(curve) ? 1.0 : factor(curve, done, tokens, key);
  };
  out.lr = static_cast<float>(peak_lr_ * factor(lr_, done, tokens, "schedule", plateau.factor));
  out.decay_scale = static_cast<float>(of(weight_decay_, "schedule.weight_decay"));
  out.momentum_scale = static_cast<float>(of(momentum_, "schedule.momentum"));
  out.dropout_scale = static_cast<float>(of(dropout_, "schedule.dropout"));
  out.longest = length_of_sequence_;
  if (!is_constant(sequence_)) {
    const auto levels = static_cast<int64_t>(std::ceil(
        of(sequence_, "schedule.sequence") * static_cast<double>(kSequenceLevels) - 1e-9));
    const int64_t unit = shortest();
    out.longest = std::clamp<int64_t>(levels * unit, unit, length_of_sequence_);
  }
  return out;
}

std::string RunSchedules::notice() const {
  const double whole = length_.whole(), warmup = length_.measured(lr_.warmup, {}, kNever);
  if (!(whole > 0) || warmup >= kNever) return "";
  if (warmup >= whole) return "the warm-up fills the run: the learning rate only rises";
  const auto entry = std::ranges::find(schedules(), lr_.name, &ScheduleEntry::name);
  if (entry == schedules().end() || !entry->ends ||
      std::ranges::find(entry->options, "cooldown", &OwnOption::key) == entry->options.end())
    return "";
  const double left = length_.measured(lr_.length, {}, whole) - warmup;
  const double cooldown = length_.measured(lr_.cooldown, {}, 0);
  if (cooldown <= left * (1 + 1e-9)) return "";
  return fmt::format("the cooldown asks for {:.3g} % of the run, and the warm-up leaves {:.3g} %",
                     100 * cooldown / whole, 100 * left / whole);
}

bool RunSchedules::watches_evaluations() const { return lr_.name == "plateau"; }

int64_t RunSchedules::shortest() const {
  if (is_constant(sequence_)) return length_of_sequence_;
  return (length_of_sequence_ + kSequenceLevels - 1) / kSequenceLevels;
}

}  // namespace strobe
