// How long a run is, and what is due when.
#pragma once

#include "strobe/config/config.h"

namespace strobe {

/// The length of a run in the unit the user gave, and in steps where that is known beforehand.
struct RunLength {
  Length::Unit unit = Length::Unit::steps;
  double total = 0;   // in `unit`
  int64_t steps = 0;  // 0 for a run measured by the clock
  double tokens_per_step = 0, tokens_per_epoch = 0;

  /// Share of the run that is done, in [0, 1].
  double done(const Progress& progress) const;
  bool finished(const Progress& progress) const;
  /// The progress after `step` updates and `seconds` of training.
  Progress at(int64_t step, double seconds) const;
  /// `length` in the unit in which the schedule of this run is measured: seconds for a run by the
  /// clock, steps for any other. Throws Error naming `key` where the two do not convert.
  double in_schedule_unit(Length length, const std::string& key) const;
};

/// From train.{steps,tokens,epochs,seconds}, of which exactly one must be set.
RunLength run_length(const TrainConfig& train, double tokens_per_step, double tokens_per_epoch);

/// True if a multiple of `every` lies in (before, after]. Never for an interval of 0.
bool due(Length every, const RunLength& length, const Progress& before, const Progress& after);

}  // namespace strobe
