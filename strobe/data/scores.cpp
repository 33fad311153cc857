#include "strobe/data/scores.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "strobe/core/check.h"

namespace strobe {

namespace {

void check_sizes(std::span<const float> predicted, std::span<const float> labels) {
  check(predicted.size() == labels.size() && !labels.empty(),
        "scores: as many predictions as labels, at least one");
}

double correlation(const std::vector<double>& x, const std::vector<double>& y) {
  const auto n = static_cast<double>(x.size());
  const double mean_x = std::accumulate(x.begin(), x.end(), 0.0) / n;
  const double mean_y = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double a = x[i] - mean_x, b = y[i] - mean_y;
    xx += a * a, yy += b * b, xy += a * b;
  }
  if (x.size() < 2 || xx == 0 || yy == 0) return std::numeric_limits<double>::quiet_NaN();
  return std::clamp(xy / std::sqrt(xx) / std::sqrt(yy), -1.0, 1.0);
}

std::vector<double> ranks_of(std::span<const float> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    const double mean = (static_cast<double>(begin) + static_cast<double>(end - 1)) / 2;
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = mean;
    begin = end;
  }
  return ranks;
}

bool any_nan(std::span<const float> values) {
  return std::ranges::any_of(values, [](float x) { return std::isnan(x); });
}

}  // namespace

double accuracy(std::span<const float> predicted, std::span<const float> labels) {
  check_sizes(predicted, labels);
  int64_t right = 0;
  for (size_t i = 0; i < labels.size(); ++i) right += predicted[i] == labels[i];
  return static_cast<double>(right) / static_cast<double>(labels.size());
}

double f1(std::span<const float> predicted, std::span<const float> labels) {
  check_sizes(predicted, labels);
  int64_t both = 0, either = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    both += predicted[i] == 1 && labels[i] == 1;
    either += (predicted[i] == 1) + (labels[i] == 1);
  }
  return either == 0 ? 0 : 2 * static_cast<double>(both) / static_cast<double>(either);
}

double matthews(std::span<const float> predicted, std::span<const float> labels) {
  check_sizes(predicted, labels);
  std::map<float, double> given, found;  // how often each class
  double right = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    ++given[labels[i]], ++found[predicted[i]];
    right += predicted[i] == labels[i];
  }
  const auto n = static_cast<double>(labels.size());
  double both = 0, given_squares = 0, found_squares = 0;
  for (const auto& [label, count] : given) {
    given_squares += count * count;
    if (const auto same = found.find(label); same != found.end()) both += count * same->second;
  }
  for (const auto& [label, count] : found) found_squares += count * count;
  const double spread = (n * n - given_squares) * (n * n - found_squares);
  return spread == 0 ? 0 : (right * n - both) / std::sqrt(spread);
}

double pearson(std::span<const float> predicted, std::span<const float> labels) {
  check_sizes(predicted, labels);
  return correlation({predicted.begin(), predicted.end()}, {labels.begin(), labels.end()});
}

double spearman(std::span<const float> predicted, std::span<const float> labels) {
  check_sizes(predicted, labels);
  if (any_nan(predicted) || any_nan(labels)) return std::numeric_limits<double>::quiet_NaN();
  return correlation(ranks_of(predicted), ranks_of(labels));
}

}  // namespace strobe
