// What predictions are worth: the metrics of GLUE, as scikit-learn and scipy compute them.
#pragma once

#include <span>
#include <string_view>

namespace strobe {

// Predictions and labels are of one length, at least 1. Classes are whole numbers from 0.

/// The share of predictions that equal the label.
double accuracy(std::span<const float> predicted, std::span<const float> labels);

/// F1 of class 1 against all others: 2 tp / (2 tp + fp + fn), 0 where there is neither.
double f1(std::span<const float> predicted, std::span<const float> labels);

/// Matthews' correlation of any number of classes (Gorodkin 2004), 0 where one side is constant.
double matthews(std::span<const float> predicted, std::span<const float> labels);

/// Pearson's correlation; NaN where one side is constant, or there are fewer than 2.
double pearson(std::span<const float> predicted, std::span<const float> labels);

/// Spearman's: Pearson's of the ranks, equal values sharing their mean rank.
double spearman(std::span<const float> predicted, std::span<const float> labels);

struct Metric {
  std::string_view name;  // of the figure: "val/f1" in a run's
  double (*compute)(std::span<const float> predicted, std::span<const float> labels);
};
inline constexpr Metric kAccuracy{"accuracy", accuracy}, kF1{"f1", f1},
    kMatthews{"matthews", matthews}, kPearson{"pearson", pearson}, kSpearman{"spearman", spearman};
inline constexpr Metric kMetrics[] = {kAccuracy, kF1, kMatthews, kPearson, kSpearman};

}  // namespace strobe
