#include "strobe/train/run_length.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/error.h"

namespace strobe {

double RunLength::done(const Progress& progress) const {
  if (steps > 0) return std::min(1.0, progress.steps / static_cast<double>(steps));
  return std::min(1.0, progress.in(unit) / total);
}

bool RunLength::finished(const Progress& progress) const {
  if (steps > 0) return progress.steps >= static_cast<double>(steps);
  return progress.in(unit) >= total;
}

Progress RunLength::at(int64_t step, double tokens, double seconds) const {
  return {static_cast<double>(step), tokens, tokens / tokens_per_epoch, seconds};
}

Length::Unit RunLength::measure() const {
  if (unit == Length::Unit::seconds) return unit;
  return steps > 0 ? Length::Unit::steps : Length::Unit::tokens;
}

double RunLength::whole() const {
  if (steps > 0) return static_cast<double>(steps);
  return unit == Length::Unit::epochs ? total * tokens_per_epoch : total;
}

double RunLength::tokens() const {
  switch (measure()) {
    case Length::Unit::steps: return static_cast<double>(steps) * tokens_per_step;
    case Length::Unit::tokens: return whole();
    default: return 0;
  }
}

double RunLength::position(const Progress& done, double tokens) const {
  switch (measure()) {
    case Length::Unit::steps: return done.steps + 1;
    case Length::Unit::tokens: return done.tokens + tokens;
    default: return done.seconds;
  }
}

double RunLength::measured(Length length, const Progress& done, double unknown) const {
  if (length.unit == Length::Unit::fraction) return length.value * whole();
  const Length::Unit to = measure();
  if (length.unit == to) return to == Length::Unit::steps ? std::ceil(length.value) : length.value;
  if (length.unit == Length::Unit::epochs)
    return measured({length.value * tokens_per_epoch, Length::Unit::tokens}, done, unknown);
  if (to == Length::Unit::steps && even && length.unit == Length::Unit::tokens)
    return static_cast<double>(length_in_steps(length, steps, tokens_per_step, tokens_per_epoch));
  const double from = done.in(length.unit), into = done.in(to);
  return from > 0 && into > 0 ? length.value * (into / from) : unknown;
}

RunLength run_length(const TrainConfig& train, double tokens_per_step, double tokens_per_epoch,
                     bool even) {
  RunLength out;
  out.even = even;
  out.tokens_per_step = tokens_per_step, out.tokens_per_epoch = tokens_per_epoch;
  constexpr double kLongest = 1e15;  // in any unit: counts stay whole numbers in double precision
  int set = 0;
  const auto take = [&](const auto& value, Length::Unit unit) {
    if (!value) return;
    const auto total = static_cast<double>(*value);
    if (!(total > 0)) fail("train: the length of the run is {}; it takes more than 0", total);
    if (total > kLongest)
      fail("train: the length of the run is {}; it takes at most {:.0e}", total, kLongest);
    out.unit = unit, out.total = total, ++set;
  };
  take(train.steps, Length::Unit::steps);
  take(train.tokens, Length::Unit::tokens);
  take(train.epochs, Length::Unit::epochs);
  take(train.seconds, Length::Unit::seconds);
  if (set != 1)
    fail("train: set one of train.steps, train.tokens, train.epochs and train.seconds (found {})",
         set);
  if (out.unit == Length::Unit::steps || (out.unit != Length::Unit::seconds && even))
    out.steps = std::max<int64_t>(
        1, length_in_steps({out.total, out.unit}, 0, tokens_per_step, tokens_per_epoch));
  return out;
}

bool due(Length every, const RunLength& length, const Progress& before, const Progress& after) {
  if (every.value <= 0) return false;
  double interval = every.value, from = 0, to = 0;
  if (every.unit == Length::Unit::fraction) {
    from = length.done(before), to = length.done(after);
  } else {
    from = before.in(every.unit), to = after.in(every.unit);
  }
  constexpr double kRounding = 1e-9;  // 0.3 / 0.1 is a hair under 3
  return std::floor(to / interval + kRounding) > std::floor(from / interval + kRounding);
}

}  // namespace strobe
