// Lengths of runs, warm-ups and intervals, in the unit that suits the user.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace strobe {

/// "500", "500 steps", "2M tokens", "3 epochs", "25 s", "10 min", "5 %" (of the run).
struct Length {
  enum class Unit { steps, tokens, epochs, seconds, fraction };
  double value = 0;
  Unit unit = Unit::steps;

  bool operator==(const Length&) const = default;
};

/// Throws Error naming `text` and the accepted forms.
Length parse_length(std::string_view text);
std::string to_string(Length length);

/// Progress of a run, in all units at once.
struct Progress {
  double steps = 0, tokens = 0, epochs = 0, seconds = 0;
  double in(Length::Unit unit) const;  // any unit but fraction
};

/// `length` in steps, for a run in which a step is `tokens_per_step` tokens; fractions are of
/// `run_steps`. Lengths in seconds have no number of steps: throws Error.
int64_t length_in_steps(Length length, int64_t run_steps, double tokens_per_step,
                        double tokens_per_epoch);

}  // namespace strobe
