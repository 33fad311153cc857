#include "strobe/config/length.h"

#include <charconv>
#include <cmath>
#include <string>

#include "strobe/core/error.h"
#include "strobe/core/number.h"

namespace strobe {

namespace {

struct UnitName {
  std::string_view text;
  Length::Unit unit;
  double factor;
};

// The first name of a unit is the one printed.
constexpr UnitName kUnits[] = {
    {"steps", Length::Unit::steps, 1},       {"tokens", Length::Unit::tokens, 1},
    {"epochs", Length::Unit::epochs, 1},     {"s", Length::Unit::seconds, 1},
    {"%", Length::Unit::fraction, 0.01},     {"", Length::Unit::steps, 1},
    {"step", Length::Unit::steps, 1},        {"k", Length::Unit::steps, 1e3},
    {"token", Length::Unit::tokens, 1},      {"k tokens", Length::Unit::tokens, 1e3},
    {"M tokens", Length::Unit::tokens, 1e6}, {"B tokens", Length::Unit::tokens, 1e9},
    {"epoch", Length::Unit::epochs, 1},      {"sec", Length::Unit::seconds, 1},
    {"seconds", Length::Unit::seconds, 1},   {"min", Length::Unit::seconds, 60},
    {"minutes", Length::Unit::seconds, 60},  {"h", Length::Unit::seconds, 3600},
    {"hours", Length::Unit::seconds, 3600},  {"of the run", Length::Unit::fraction, 1},
};

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

Length parse_length(std::string_view text) {
  const std::string_view whole = trim(text);
  double value = 0;
  const auto [end, error] = std::from_chars(whole.data(), whole.data() + whole.size(), value);
  if (error == std::errc() && std::isfinite(value) && value >= 0) {
    const std::string_view unit = trim(whole.substr(static_cast<size_t>(end - whole.data())));
    for (const UnitName& name : kUnits) {
      if (unit != name.text) continue;
      value *= name.factor;
      // 2.3 k is 2300, although the product is not.
      const double whole = std::round(value);
      if (name.unit == Length::Unit::steps && std::abs(value - whole) <= 1e-9 * whole)
        value = whole;
      if (name.unit == Length::Unit::steps && value != whole)
        fail("length: '{}' is a fraction of a step; write 500, '2M tokens' or '5 %'", text);
      return {value, name.unit};
    }
  }
  fail("length: '{}' is not one; write 500, '2M tokens', '3 epochs', '25 s', '10 min' or '5 %'",
       text);
}

std::string to_string(Length length) {
  for (const UnitName& name : kUnits) {
    if (name.unit != length.unit) continue;
    // 3.4 % is 0.034, and 0.034 / 0.01 a hair more than 3.4: the digits that were written do.
    const double number = length.value / name.factor;
    const std::string written = fmt::format("{:.15g}", number);
    const bool same = to_number(written).value_or(number) * name.factor == length.value;
    return fmt::format("{} {}", same ? written : fmt::format("{}", number), name.text);
  }
  return {};
}

double Progress::in(Length::Unit unit) const {
  switch (unit) {
    case Length::Unit::steps: return steps;
    case Length::Unit::tokens: return tokens;
    case Length::Unit::epochs: return epochs;
    case Length::Unit::seconds: return seconds;
    case Length::Unit::fraction: break;
  }
  check(false, "length: progress has no fraction");
  return 0;
}

int64_t length_in_steps(Length length, int64_t run_steps, double tokens_per_step,
                        double tokens_per_epoch) {
  const auto steps = [&](double n) { return static_cast<int64_t>(std::llround(std::ceil(n))); };
  switch (length.unit) {
    case Length::Unit::steps: return steps(length.value);
    case Length::Unit::tokens: return steps(length.value / tokens_per_step);
    case Length::Unit::epochs: return steps(length.value * tokens_per_epoch / tokens_per_step);
    case Length::Unit::fraction: return steps(length.value * static_cast<double>(run_steps));
    case Length::Unit::seconds: break;
  }
  fail("length: '{}' cannot be turned into steps before the run", to_string(length));
}

}  // namespace strobe
