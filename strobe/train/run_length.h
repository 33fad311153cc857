// How long a run is, and what is due when.
#pragma once

#include "strobe/config/config.h"

namespace strobe {

/// The length of a run in the unit the user gave, and in steps where that is known beforehand.
struct RunLength {
  Length::Unit unit = Length::Unit::steps;
  double total = 0;   // in `unit`
  int64_t steps = 0;  // 0: not known, for a run measured by the clock, or by tokens if uneven
  double tokens_per_step = 0, tokens_per_epoch = 0;
  bool even = true;  // every step has tokens_per_step tokens; if not, that is the most

  /// Share of the run that is done, in [0, 1].
  double done(const Progress& progress) const;
  bool finished(const Progress& progress) const;
  /// The progress after `step` updates on `tokens` and `seconds` of training.
  Progress at(int64_t step, double tokens, double seconds) const;

  /// The unit in which schedules are measured: seconds for a run by the clock, tokens for one whose
  /// number of steps is not known, steps for any other.
  Length::Unit measure() const;
  /// The whole run in that unit.
  double whole() const;
  /// The whole run in tokens; 0 for a run by the clock, of which that is not known.
  double tokens() const;
  /// Where in it the step lies that follows `done` and takes `tokens`: an update by steps or tokens
  /// stands at its end, one by the clock at its beginning.
  double position(const Progress& done, double tokens) const;
  /// `length` in that unit. Lengths that are not a matter of arithmetic, such as seconds in a run
  /// of steps, are exchanged at the rate of the run so far, and are `unknown` before it has one.
  double measured(Length length, const Progress& done, double unknown) const;
};

/// From train.{steps,tokens,epochs,seconds}, of which exactly one must be set.
/// `even`: see RunLength.
RunLength run_length(const TrainConfig& train, double tokens_per_step, double tokens_per_epoch,
                     bool even = true);

/// True if a multiple of `every` lies in (before, after]. Never for an interval of 0.
bool due(Length every, const RunLength& length, const Progress& before, const Progress& after);

}  // namespace strobe
