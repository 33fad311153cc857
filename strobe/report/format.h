// Figures as people read them.
#pragma once

#include <string>

#include "strobe/report/statistics.h"

namespace strobe {

/// With a real minus sign; an em dash if it is not finite.
std::string number_text(double value, int decimals);

/// "1.90 (1.85 to 1.95)"; the estimate alone if there is no interval.
std::string short_interval(const Interval& interval, int decimals);

/// "−0.212 (95 % interval −0.260 to −0.164)"; says so if there is none.
std::string with_interval(const Interval& interval, int decimals = 3);

/// One decimal below 1000, none above.
std::string perplexity_text(double value);

/// "1.20 GB", "830 MB", in powers of 1000.
std::string bytes_text(double bytes);

/// "1.10 M", "830 k", "12".
std::string count_text(double count);

}  // namespace strobe
