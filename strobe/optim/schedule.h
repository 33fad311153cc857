// Learning-rate schedules: pure functions of how far a run has come.
#pragma once

#include <span>
#include <string>

#include "strobe/config/config.h"

namespace strobe {

/// One schedule, with its lengths in one unit: steps, or seconds for a run measured by the clock.
///
/// The factor rises linearly over the warm-up, then follows the named shape from 1 to `floor` at
/// `length`, and stays there. In steps, the position of the first update is 1: it uses
/// 1 / warmup, and the last one uses the floor.
struct Schedule {
  using Shape = double (*)(const Schedule& schedule, double position);

  Shape shape = nullptr;
  double warmup = 0, length = 0, cooldown = 0, floor = 0;

  /// What the peak learning rate is multiplied by.
  double factor(double position) const;
};

/// A line of the catalogue.
struct ScheduleEntry {
  std::string name, formula, source;
  Schedule::Shape shape;
};

std::span<const ScheduleEntry> schedules();

/// `warmup`, `length` and `cooldown` replace the configuration's, in the unit of the positions.
/// Throws Error, with the nearest known name, for an unknown one, and for lengths out of order.
Schedule make_schedule(const ScheduleConfig& config, double warmup, double length, double cooldown);

}  // namespace strobe
