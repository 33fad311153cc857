#include "strobe/report/stability.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "strobe/report/statistics.h"

namespace strobe {

namespace {

constexpr double kSpike = 7;  // standard deviations
constexpr size_t kWindow = 100, kFewest = 50;

}  // namespace

size_t count_spikes(std::span<const double> values) {
  size_t out = 0;
  std::vector<double> before;
  for (const double value : values) {
    if (!std::isfinite(value)) {
      ++out;
      continue;
    }
    if (before.size() >= kFewest) {
      const std::span window = std::span(before).last(std::min(before.size(), kWindow));
      if (value > mean(window) + kSpike * standard_deviation(window)) ++out;
    }
    before.push_back(value);
  }
  return out;
}

RunStability run_stability(const RunRecord& run) {
  RunStability out;
  const double clip = std::strtod(value_of(run.config, "optimizer.clip").c_str(), nullptr);
  std::vector<double> losses, norms;
  double clipped = 0;
  for (const TrainPoint& point : run.training) {
    if (!std::isnan(point.loss)) losses.push_back(point.loss);  // NaN: nothing was scored
    norms.push_back(point.grad_norm);
    clipped += !(point.grad_norm <= clip);
  }
  out.steps = run.training.size();
  if (clip > 0 && out.steps > 0) out.clipped = clipped / static_cast<double>(out.steps);
  out.loss_spikes = static_cast<double>(count_spikes(losses));
  out.norm_spikes = static_cast<double>(count_spikes(norms));
  return out;
}

Band band_of(std::vector<std::pair<double, double>> points, double tolerance, bool log) {
  Band out;
  std::sort(points.begin(), points.end());
  const auto best =
      std::min_element(points.begin(), points.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (points.size() < 3 || !std::isfinite(best->second)) return out;
  out.best_at = best->first, out.best = best->second;
  const double limit = best->second + tolerance;
  // From the best to one side: the last good point, and where the line to the next one crosses the
  // limit; nothing is read into the way to a point that diverged.
  const auto end = [&](auto begin, auto last, bool& is_edge) {
    auto good = begin;
    while (good != last && (good + 1)->second <= limit) ++good;
    is_edge = good == last;
    if (is_edge) return good->first;
    const auto& [x, y] = *good;
    const auto& [next, above] = *(good + 1);
    if (!std::isfinite(above)) return x;
    const double share = (limit - y) / (above - y);
    return log ? x * std::pow(next / x, share) : x + share * (next - x);
  };
  const auto at = best - points.begin();
  out.high = end(best, points.end() - 1, out.high_is_edge);
  out.low = end(points.rbegin() + (static_cast<std::ptrdiff_t>(points.size()) - 1 - at),
                points.rend() - 1, out.low_is_edge);
  return out;
}

double number_of_label(const std::string& label) {
  const char* begin = label.c_str() + label.starts_with('x');
  char* end = nullptr;
  const double value = std::strtod(begin, &end);
  return end != begin && *end == '\0' && value > 0 && std::isfinite(value) ? value : kMissing;
}

}  // namespace strobe
