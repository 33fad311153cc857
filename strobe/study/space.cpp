#include "strobe/study/space.h"

#include <algorithm>

#include "strobe/core/error.h"

namespace strobe {

namespace {

constexpr size_t kMostGridPoints = 100000;

double scaled(const Parameter& p, double value) { return p.log ? std::log(value) : value; }
double unscaled(const Parameter& p, double value) { return p.log ? std::exp(value) : value; }

// Six digits, so that the value on record, typed again, is the value that ran.
double rounded(const Parameter& p, double value) {
  return std::clamp(std::stod(fmt::format("{:.6g}", value)), p.low, p.high);
}

// What a number is rounded to: the cells at both ends are as wide as the others.
double half_step(const Parameter& p) { return p.step / 2; }

std::vector<double> grid_values(const Parameter& p) {
  std::vector<double> out;
  if (p.is_choice()) {
    for (size_t i = 0; i < p.choices.size(); ++i) out.push_back(static_cast<double>(i));
  } else if (p.points > 0) {
    for (int64_t i = 0; i < p.points; ++i)
      out.push_back(from_unit(p, (static_cast<double>(i) + (p.step > 0 ? 0.5 : 0)) /
                                     (static_cast<double>(p.points) - (p.step > 0     ? 0.0
                                                                       : p.points > 1 ? 1.0
                                                                                      : 0.0))));
    out.erase(std::unique(out.begin(), out.end()), out.end());
  } else if (p.step > 0) {
    const auto steps = static_cast<size_t>((p.high - p.low) / p.step * (1 + 1e-12));
    if (steps >= kMostGridPoints) fail("study: a grid over '{}' has {} values", p.name, steps + 1);
    for (size_t i = 0; i <= steps; ++i)
      out.push_back(rounded(p, p.low + static_cast<double>(i) * p.step));
  } else {
    fail("study: a grid needs 'points' or 'step' for the continuous range of '{}'", p.name);
  }
  return out;
}

}  // namespace

bool active(const Space& space, const Point& point, size_t i) {
  const Parameter& p = space[i];
  if (p.when.empty()) return true;
  for (size_t j = 0; j < i; ++j) {
    if (space[j].name != p.when) continue;
    if (!present(point[j])) return false;
    const std::string& label = space[j].choices.at(static_cast<size_t>(point[j])).label;
    return std::find(p.when_labels.begin(), p.when_labels.end(), label) != p.when_labels.end();
  }
  return false;
}

double to_unit(const Parameter& p, double value) {
  if (p.is_choice()) return (value + 0.5) / p.size();
  const double low = scaled(p, p.low - half_step(p)), high = scaled(p, p.high + half_step(p));
  return high > low ? (scaled(p, value) - low) / (high - low) : 0.5;
}

double from_unit(const Parameter& p, double unit) {
  if (p.is_choice()) return std::clamp(std::floor(unit * p.size()), 0.0, p.size() - 1);
  const double low = scaled(p, p.low - half_step(p)), high = scaled(p, p.high + half_step(p));
  double value = unscaled(p, low + unit * (high - low));
  if (p.step > 0) value = p.low + std::round((value - p.low) / p.step) * p.step;
  while (p.step > 0 && value > p.high + 1e-9 * p.step) value -= p.step;
  return rounded(p, value);
}

Point point_at(const Space& space, std::span<const double> unit) {
  Point out(space.size(), std::numeric_limits<double>::quiet_NaN());
  for (size_t i = 0; i < space.size(); ++i)
    if (active(space, out, i)) out[i] = from_unit(space[i], unit[i]);
  return out;
}

std::vector<Point> grid(const Space& space) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<Point> points = {Point(space.size(), nan)};
  for (size_t i = 0; i < space.size(); ++i) {
    std::vector<Point> next;
    const std::vector<double> values = grid_values(space[i]);
    for (const Point& point : points) {
      if (!active(space, point, i)) {
        next.push_back(point);
        continue;
      }
      for (const double value : values) {
        next.push_back(point);
        next.back()[i] = value;
      }
      if (next.size() > kMostGridPoints)
        fail("study: the grid has more than {} points", kMostGridPoints);
    }
    points = std::move(next);
  }
  return points;
}

std::vector<Point> all_points(const Space& space) {
  double values = 1;
  for (const Parameter& p : space) {
    if (!p.is_choice() && p.step == 0) return {};
    values *= p.is_choice() ? p.size() : std::floor((p.high - p.low) / p.step * (1 + 1e-12)) + 1;
  }
  if (values > static_cast<double>(kMostGridPoints)) return {};
  Space whole = space;
  for (Parameter& p : whole) p.points = 0;
  return grid(whole);
}

bool same_point(const Point& a, const Point& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](double x, double y) { return x == y || (std::isnan(x) && std::isnan(y)); });
}

std::string value_text(const Parameter& p, double value) {
  if (p.is_choice()) return p.choices.at(static_cast<size_t>(value)).label;
  const std::string number = p.kind == Parameter::Kind::integer ? fmt::format("{:.0f}", value)
                                                                : fmt::format("{:.6g}", value);
  return p.unit.empty() ? number : number + " " + p.unit;
}

std::vector<std::string> overrides_of(const Space& space, const Point& point) {
  std::vector<std::string> out;
  for (size_t i = 0; i < space.size(); ++i) {
    if (!present(point[i])) continue;
    const Parameter& p = space[i];
    if (p.is_choice()) {
      const Choice& choice = p.choices.at(static_cast<size_t>(point[i]));
      out.insert(out.end(), choice.overrides.begin(), choice.overrides.end());
    } else {
      out.push_back(p.key + "=" + value_text(p, point[i]));
    }
  }
  return out;
}

std::string to_string(const Space& space, const Point& point) {
  std::string out;
  for (size_t i = 0; i < space.size(); ++i)
    if (present(point[i]))
      out += (out.empty() ? "" : " ") + space[i].name + "=" + value_text(space[i], point[i]);
  return out;
}

}  // namespace strobe
