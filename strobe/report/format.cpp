#include "strobe/report/format.h"

#include <fmt/format.h>

#include <cmath>

namespace strobe {

namespace {

// Three digits or so, and the letter of a power of 1000.
std::string scaled(double value, const char* const (&units)[5]) {
  if (!std::isfinite(value)) return "—";
  size_t unit = 0;
  for (; std::abs(value) >= 999.5 && unit + 1 < std::size(units); ++unit) value /= 1000;
  const int decimals = unit == 0 || std::abs(value) >= 99.95 ? 0 : std::abs(value) >= 9.995 ? 1 : 2;
  return number_text(value, decimals) + units[unit];
}

}  // namespace

std::string number_text(double value, int decimals) {
  if (!std::isfinite(value)) return "—";
  if (std::abs(value) >= 1e5) decimals = 0;
  const std::string digits = fmt::format("{:.{}f}", std::abs(value), decimals);
  const bool zero = digits.find_first_not_of("0.") == std::string::npos;
  return value < 0 && !zero ? "−" + digits : digits;
}

std::string short_interval(const Interval& i, int decimals) {
  std::string estimate = number_text(i.estimate, decimals);
  if (i.n < 2) return estimate;
  return fmt::format("{} ({} to {})", estimate, number_text(i.low, decimals),
                     number_text(i.high, decimals));
}

std::string with_interval(const Interval& i, int decimals) {
  const std::string estimate = number_text(i.estimate, decimals);
  if (i.n < 2) return estimate + " (no interval: one run)";
  return fmt::format("{} (95 % interval {} to {})", estimate, number_text(i.low, decimals),
                     number_text(i.high, decimals));
}

std::string perplexity_text(double value) { return number_text(value, value < 1000 ? 1 : 0); }

std::string bytes_text(double bytes) { return scaled(bytes, {" B", " kB", " MB", " GB", " TB"}); }

std::string count_text(double count) { return scaled(count, {"", " k", " M", " G", " T"}); }

}  // namespace strobe
