// A search space: named parameters, each a range or a list of choices that sets configuration keys.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace strobe {

struct Choice {
  std::string label;
  std::vector<std::string> overrides;  // "key=value"
};

/// One dimension. Numbers live in [low, high], on a grid of `step` from `low` if that is above 0,
/// and are drawn evenly in their logarithm if `log`. A choice is the index of its label.
struct Parameter {
  enum class Kind { real, integer, choice };
  std::string name, key;  // in the journal; the configuration key a number is for
  Kind kind = Kind::real;
  bool log = false;
  double low = 0, high = 0, step = 0;
  std::string unit;    // written after the number: "%" for a length
  int64_t points = 0;  // of a grid, where the range is continuous
  std::vector<Choice> choices;
  // Part of a point only if the named choice or factor has one of these labels; empty: always.
  std::string when;
  std::vector<std::string> when_labels;

  bool is_choice() const { return kind == Kind::choice; }
  double size() const { return static_cast<double>(choices.size()); }
};

/// A parameter may depend on choices before it.
using Space = std::vector<Parameter>;

/// A value for each parameter of a space; NaN where it is not part of the point.
using Point = std::vector<double>;

inline bool present(double value) { return !std::isnan(value); }

/// True if parameter `i` belongs to `point`, whose earlier values are set.
bool active(const Space& space, const Point& point, size_t i);

/// Between 0 and 1, in the parameter's own scale, and back: to the nearest value it can take.
double to_unit(const Parameter& parameter, double value);
double from_unit(const Parameter& parameter, double unit);

/// The point at these coordinates in [0, 1), one a parameter; those that are not active are NaN.
Point point_at(const Space& space, std::span<const double> unit);

/// Every point of the grid: choices, integers, steps, and `points` values of continuous ranges.
/// Throws Error for a continuous range without `points`, and for more points than a study can run.
std::vector<Point> grid(const Space& space);

/// Every point of a space of choices, integers and steps; nothing of a space that has a continuous
/// range, or more points than a study can run.
std::vector<Point> all_points(const Space& space);

/// Whether the two are the same, with NaN where neither has a value.
bool same_point(const Point& a, const Point& b);

/// The value as the configuration takes it: "0.0021", "5 %", a choice's label.
std::string value_text(const Parameter& parameter, double value);

/// "key=value" for every active parameter.
std::vector<std::string> overrides_of(const Space& space, const Point& point);

/// "optimizer.lr=0.0021 model.layers=4", for people.
std::string to_string(const Space& space, const Point& point);

}  // namespace strobe
