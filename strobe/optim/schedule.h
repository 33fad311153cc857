// Schedules: pure functions of how far a run has come, for the learning rate and for everything
// else that may change on the way. `strobe list schedules` prints the table at the end of
// schedule.cpp.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "strobe/config/config.h"
#include "strobe/optim/own_option.h"

namespace strobe {

/// One schedule, with its lengths in one unit: steps, tokens or seconds, as the run is measured.
///
/// The factor rises from `warmup_from` over the warm-up, in the warm-up's shape, then follows the
/// named shape from 1 to `floor` at `length`, and stays there. In steps, the position of the first
/// update is 1: it uses 1 / warmup of the way, and the last one uses the floor.
struct Schedule {
  using Shape = double (*)(const Schedule& schedule, double position);
  /// From 0 to 1: a warm-up by the share of it that is done, a cooldown by the share left.
  using Ramp = double (*)(double x);

  Shape shape = nullptr;
  Ramp warmup_shape = nullptr, cooldown_shape = nullptr;
  double warmup = 0, length = 0, cooldown = 0, floor = 0;
  double warmup_from = 0, cycles = 0, power = 1, gamma = 1, every = 1, timescale = 1;
  std::vector<double> milestones;  // ascending
  double plateau = 1;              // what `plateau` has come to: Plateau::factor()

  /// What the peak value is multiplied by.
  double factor(double position) const;
};

/// A line of the catalogue.
struct ScheduleEntry {
  std::string name, formula;
  std::vector<OwnOption> options;  // keys it reads beside those of the warm-up, length and floor
  std::string source;
  Schedule::Shape shape;
  double cycles = 0.5, power = 1, gamma = 0.1;  // what `auto` means
  bool ends = true;                             // it reads length and floor
};

std::span<const ScheduleEntry> schedules();

/// Lengths in the unit of the positions.
struct CurveLengths {
  double warmup = 0, length = 0, cooldown = 0, every = 0;
  double timescale = 0;  // 0: the warm-up's
  std::vector<double> milestones;
};

/// Throws Error beginning with `key`, with the nearest known name for an unknown one, for options
/// out of range.
void check_curve(const CurveConfig& config, const std::string& key);

/// `lengths` replace the configuration's. Throws Error as check_curve(), and for lengths out of
/// order.
Schedule make_schedule(const CurveConfig& config, const CurveLengths& lengths,
                       const std::string& key = "schedule");

/// Reduces on a plateau, as torch.optim.lr_scheduler.ReduceLROnPlateau (mode min, threshold rel).
struct Plateau {
  double best = std::numeric_limits<double>::infinity(), factor = 1;
  int64_t bad = 0;  // evaluations since the best

  /// `watched`: the validation loss; of labelled texts the error.
  void observe(double watched, const CurveConfig& config);
};

}  // namespace strobe
