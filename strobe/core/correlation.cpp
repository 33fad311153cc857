#include "strobe/core/correlation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "strobe/core/check.h"

namespace strobe {

double correlation(std::span<const double> a, std::span<const double> b) {
  check(a.size() == b.size(), "correlation: the two have the same length");
  const auto n = static_cast<double>(a.size());
  const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / n;
  const double mean_b = std::accumulate(b.begin(), b.end(), 0.0) / n;
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = a[i] - mean_a, y = b[i] - mean_b;
    ab += x * y, aa += x * x, bb += y * y;
  }
  if (a.size() < 2 || aa == 0 || bb == 0) return std::numeric_limits<double>::quiet_NaN();
  return std::clamp(ab / std::sqrt(aa * bb), -1.0, 1.0);
}

std::vector<double> ranks(std::span<const double> values) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const auto no_number = [](double v) { return std::isnan(v); };
  if (std::ranges::any_of(values, no_number)) return std::vector<double>(values.size(), kNan);
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> out(values.size());
  for (size_t i = 0; i < order.size();) {
    size_t end = i;
    while (end < order.size() && values[order[end]] == values[order[i]]) ++end;
    for (size_t k = i; k < end; ++k) out[order[k]] = static_cast<double>(i + end + 1) / 2;
    i = end;
  }
  return out;
}

}  // namespace strobe
