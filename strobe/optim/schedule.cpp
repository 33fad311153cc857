#include "strobe/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "strobe/core/error.h"

namespace strobe {

namespace {

// Share of the way from the end of the warm-up to the end of the schedule.
double share(const Schedule& s, double position) {
  return s.length > s.warmup ? (position - s.warmup) / (s.length - s.warmup) : 1.0;
}

double constant(const Schedule&, double) { return 1; }

double linear(const Schedule& s, double position) { return 1 - (1 - s.floor) * share(s, position); }

double cosine(const Schedule& s, double position) {
  return s.floor + (1 - s.floor) * 0.5 * (1 + std::cos(std::numbers::pi * share(s, position)));
}

double wsd(const Schedule& s, double position) {
  const double left = s.length - position;
  return left >= s.cooldown ? 1 : s.floor + (1 - s.floor) * left / s.cooldown;
}

const ScheduleEntry kEntries[] = {
    {"constant", "1", "", constant},
    {"linear", "from 1 to floor", "", linear},
    {"cosine", "floor + (1 - floor) (1 + cos(pi t)) / 2",
     "Loshchilov & Hutter 2017, arXiv:1608.03983", cosine},
    {"wsd", "1, then linear to floor over the cooldown", "Hu et al. 2024, arXiv:2404.06395", wsd},
};

}  // namespace

double Schedule::factor(double position) const {
  if (position < warmup) return position / warmup;
  return shape(*this, std::min(position, length));
}

std::span<const ScheduleEntry> schedules() { return kEntries; }

Schedule make_schedule(const ScheduleConfig& config, double warmup, double length,
                       double cooldown) {
  if (!(config.floor >= 0 && config.floor <= 1))
    fail("schedule.floor: {} is outside [0, 1]", config.floor);
  if (warmup > length)
    fail("schedule: the warm-up ({}) is longer than the schedule ({})", warmup, length);
  std::vector<std::string> names;
  for (const ScheduleEntry& entry : kEntries) {
    if (entry.name == config.name)
      return {entry.shape, warmup, length, std::min(cooldown, length - warmup), config.floor};
    names.push_back(entry.name);
  }
  const std::string meant = nearest(config.name, names.data(), names.size());
  fail("schedule.name: '{}' is unknown{}; known are {}", config.name,
       meant.empty() ? "" : fmt::format(", did you mean '{}'?", meant), fmt::join(names, ", "));
}

}  // namespace strobe
