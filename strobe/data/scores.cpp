#include "strobe/data/scores.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "strobe/core/check.h"
#include "strobe/core/correlation.h"

namespace strobe {

namespace {

void check_sizes(std::span<const float> predicted, std::span<const float> labels) {
  check(predicted.size() == labels.size() && !labels.empty(),
        "scores: as many predictions as labels, at least one");
}

std::vector<double> in_double(std::span<const float> values) {
  return {values.begin(), values.end()};
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
  return correlation(in_double(predicted), in_double(labels));
}

double spearman(std::span<const float> predicted, std::span<const float> labels) {
  check_sizes(predicted, labels);
  if (any_nan(predicted) || any_nan(labels)) return std::numeric_limits<double>::quiet_NaN();
  return correlation(ranks(in_double(predicted)), ranks(in_double(labels)));
}

}  // namespace strobe
