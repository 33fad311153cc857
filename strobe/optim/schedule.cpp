#include "strobe/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "strobe/config/terms.h"
#include "strobe/core/error.h"

namespace strobe {

namespace {

using std::numbers::pi;

// ---- ramps from 0 to 1: a warm-up by the share done, a cooldown by the share left ------------

double linear_ramp(double x) { return x; }
double cosine_ramp(double x) { return 0.5 * (1 - std::cos(pi * x)); }
double sqrt_ramp(double x) { return 1 - std::sqrt(1 - x); }
double square_ramp(double x) { return 1 - (1 - x) * (1 - x); }

struct RampEntry {
  std::string name;
  Schedule::Ramp ramp;
};
const RampEntry kRamps[] = {{"linear", linear_ramp},
                            {"cosine", cosine_ramp},
                            {"1-sqrt", sqrt_ramp},
                            {"square", square_ramp}};

// ---- schedules ------------------------------------------------------------------------------

// Share of the way from the end of the warm-up to the end of the schedule.
double share(const Schedule& s, double position) {
  return s.length > s.warmup ? (position - s.warmup) / (s.length - s.warmup) : 1.0;
}
// From 1 to the floor, as `left` goes from 1 to 0.
double down(const Schedule& s, double left) { return s.floor + (1 - s.floor) * left; }
// Share of the cooldown that is left; 1 before it.
double left_of_cooldown(const Schedule& s, double position) {
  const double left = s.length - position;
  return left >= s.cooldown ? 1 : left / s.cooldown;
}

double constant(const Schedule&, double) { return 1; }

double linear(const Schedule& s, double position) { return 1 - (1 - s.floor) * share(s, position); }

double cosine(const Schedule& s, double position) {
  return s.floor + (1 - s.floor) * 0.5 * (1 + std::cos(pi * (2 * s.cycles) * share(s, position)));
}

double cosine_restarts(const Schedule& s, double position) {
  const double p = share(s, position), turns = s.cycles * p;
  return p >= 1 ? s.floor : down(s, cosine_ramp(1 - (turns - std::floor(turns))));
}

double polynomial(const Schedule& s, double position) {
  return down(s, std::pow(1 - share(s, position), s.power));
}

double inverse_sqrt(const Schedule& s, double position) {
  return std::max(s.floor, std::sqrt(s.timescale / (position - s.warmup + s.timescale)));
}

// How often `every` has passed since the warm-up; whole multiples count where rounding hides them.
double passed(const Schedule& s, double position) {
  constexpr double kRounding = 1e-9;
  return std::floor((position - s.warmup) / s.every + kRounding);
}

double step(const Schedule& s, double position) {
  return std::max(s.floor, std::pow(s.gamma, passed(s, position)));
}

double multistep(const Schedule& s, double position) {
  const auto done =
      std::upper_bound(s.milestones.begin(), s.milestones.end(), position) - s.milestones.begin();
  return std::max(s.floor, std::pow(s.gamma, static_cast<double>(done)));
}

double exponential(const Schedule& s, double position) {
  return std::max(s.floor, std::pow(s.gamma, (position - s.warmup) / s.every));
}

double wsd(const Schedule& s, double position) {
  return down(s, s.cooldown_shape(left_of_cooldown(s, position)));
}

double power_cool(const Schedule& s, double position) {
  return down(s, std::pow(left_of_cooldown(s, position), s.power));
}

double plateau(const Schedule& s, double) { return std::max(s.floor, s.plateau); }

// t: the share of the way from the end of the warm-up (W) to the end (L). m: floor.
const ScheduleEntry kEntries[] = {
    {"constant",
     "1",
     {},
     "torch.optim.lr_scheduler.ConstantLR",
     constant,
     0.5,
     1,
     0.1,
     /*ends=*/false},
    {"linear", "1 - (1 - m) t", {}, "transformers.get_linear_schedule_with_warmup", linear},
    {"cosine",
     "m + (1 - m) (1 + cos(2 pi cycles t)) / 2",
     {{"cycles", "0.5"}},
     "Loshchilov & Hutter 2017, arXiv:1608.03983",
     cosine},
    {"cosine_restarts",
     "m + (1 - m) (1 + cos(pi frac(cycles t))) / 2",
     {{"cycles", "1"}},
     "Loshchilov & Hutter 2017, arXiv:1608.03983",
     cosine_restarts,
     1},
    {"polynomial",
     "m + (1 - m) (1 - t)^power",
     {{"power", "1"}},
     "transformers.get_polynomial_decay_schedule_with_warmup",
     polynomial},
    {"inverse_sqrt",
     "max(m, sqrt(timescale / (position - W + timescale)))",
     {{"timescale", "the warm-up's length"}},
     "Vaswani et al. 2017, arXiv:1706.03762",
     inverse_sqrt},
    {"step",
     "max(m, gamma^floor((position - W) / every))",
     {{"gamma", "0.1"}, {"every", "25 %"}},
     "torch.optim.lr_scheduler.StepLR",
     step},
    {"multistep",
     "max(m, gamma^(milestones passed))",
     {{"gamma", "0.1"}, {"milestones", "50 %, 75 %"}},
     "torch.optim.lr_scheduler.MultiStepLR",
     multistep},
    {"exponential",
     "max(m, gamma^((position - W) / every))",
     {{"gamma", "0.1"}, {"every", "25 %"}},
     "torch.optim.lr_scheduler.ExponentialLR",
     exponential},
    {"one_cycle",
     "the warm-up, then m + (1 - m) (1 + cos(pi t)) / 2; as published with warmup 30 %"
     ", warmup_shape cosine, warmup_from 0.04, floor 4e-6",
     {},
     "Smith & Topin 2017, arXiv:1708.07120",
     cosine},
    {"wsd",
     "1, then over the cooldown m + (1 - m) d(share of it), d = 1 - x, (1 + cos(pi x)) / 2, "
     "1 - sqrt(x) or 1 - x^2",
     {{"cooldown", "20 %"}, {"cooldown_shape", "linear"}},
     "Hu et al. 2024, arXiv:2404.06395; Haegele et al. 2024, arXiv:2405.18392",
     wsd},
    {"power_cool",
     "1, then over the cooldown m + (1 - m) (share left)^power",
     {{"cooldown", "20 %"}, {"power", "1.2"}},
     "modded-nanogpt, records of track 3",
     power_cool,
     0.5,
     1.2},
    {"plateau",
     "max(m, gamma^r), r the evaluations at which the loss, of labelled texts the error, had not "
     "improved for longer than patience",
     {{"gamma", "0.1"}, {"patience", "2"}, {"threshold", "1e-4"}},
     "torch.optim.lr_scheduler.ReduceLROnPlateau",
     plateau},
};

Schedule::Ramp ramp_named(const std::string& name, const std::string& key) {
  std::vector<std::string> names;
  for (const RampEntry& entry : kRamps) {
    if (entry.name == name) return entry.ramp;
    names.push_back(entry.name);
  }
  fail("{}: '{}' is unknown; known are {}", key, name, fmt::join(names, ", "));
}

const ScheduleEntry& entry_named(const std::string& name, const std::string& key) {
  std::vector<std::string> names;
  for (const ScheduleEntry& entry : kEntries) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  const std::string meant = nearest(name, names.data(), names.size());
  fail("{}.name: '{}' is unknown{}; known are {}", key, name,
       meant.empty() ? "" : fmt::format(", did you mean '{}'?", meant), fmt::join(names, ", "));
}

}  // namespace

double Schedule::factor(double position) const {
  if (position < warmup)
    return warmup_from + (1 - warmup_from) * warmup_shape(std::max(0.0, position) / warmup);
  return shape(*this, std::min(position, length));
}

std::span<const ScheduleEntry> schedules() { return kEntries; }

void check_curve(const CurveConfig& c, const std::string& key) {
  entry_named(c.name, key);
  ramp_named(c.warmup_shape, key + ".warmup_shape");
  ramp_named(c.cooldown_shape, key + ".cooldown_shape");
  const auto in = [&](double value, double low, double high, const char* name) {
    if (!(value >= low && value <= high))
      fail("{}.{}: {} is outside [{}, {}]", key, name, value, low, high);
  };
  // A learning rate has its peak at 1; what else follows a curve may go beyond its base.
  const double most = key == "schedule" ? 1 : 1e3;
  in(c.floor, 0, most, "floor");
  in(c.warmup_from, 0, most, "warmup_from");
  in(c.threshold, 0, 1, "threshold");
  in(static_cast<double>(c.patience), 0, 1e9, "patience");
  if (c.cycles) in(*c.cycles, 0, 1e6, "cycles");
  if (c.power) in(*c.power, 0, 1e3, "power");
  if (c.gamma) in(*c.gamma, 0, 1, "gamma");
  if (c.every.value <= 0) fail("{}.every: it takes a length above 0", key);
  if (c.timescale && c.timescale->value <= 0) fail("{}.timescale: it takes a length above 0", key);
  parse_lengths(c.milestones, key + ".milestones");
}

Schedule make_schedule(const CurveConfig& c, const CurveLengths& lengths, const std::string& key) {
  check_curve(c, key);
  if (lengths.warmup > lengths.length)
    fail("{}: the warm-up ({}) is longer than the schedule ({})", key, lengths.warmup,
         lengths.length);
  const ScheduleEntry& entry = entry_named(c.name, key);
  Schedule s;
  s.shape = entry.shape;
  s.warmup_shape = ramp_named(c.warmup_shape, key);
  s.cooldown_shape = ramp_named(c.cooldown_shape, key);
  s.warmup = lengths.warmup, s.length = lengths.length, s.floor = c.floor;
  s.cooldown = std::min(lengths.cooldown, lengths.length - lengths.warmup);
  s.warmup_from = c.warmup_from;
  s.cycles = c.cycles.value_or(entry.cycles), s.power = c.power.value_or(entry.power);
  s.gamma = c.gamma.value_or(entry.gamma);
  s.every = lengths.every > 0 ? lengths.every : 1;
  constexpr double kDefaultTimescale = 1e4;  // where there is no warm-up, as transformers has it
  s.timescale = lengths.timescale > 0 ? lengths.timescale
                : lengths.warmup > 0  ? lengths.warmup
                                      : kDefaultTimescale;
  s.milestones = lengths.milestones;
  std::sort(s.milestones.begin(), s.milestones.end());
  return s;
}

void Plateau::observe(double watched, const CurveConfig& c) {
  if (watched < best * (1 - c.threshold)) {
    best = watched, bad = 0;
  } else if (++bad > c.patience) {
    factor *= c.gamma.value_or(0.1), bad = 0;
  }
}

}  // namespace strobe
