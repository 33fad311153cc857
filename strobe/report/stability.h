// How steadily recipes train: steps that were clipped, spikes, and how far the learning rate may be
// from the best.
#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "strobe/report/run_reader.h"

namespace strobe {

/// Of the steps that a run logged.
struct RunStability {
  size_t steps = 0;
  double clipped = kMissing;  // share whose gradient norm was above optimizer.clip; NaN: no clip
  double loss_spikes = 0, norm_spikes = 0;  // steps
};
RunStability run_stability(const RunRecord& run);

/// Values that lie seven standard deviations or more above the mean of the hundred before them
/// (OLMo 2's spike score, arXiv:2501.00656, has a thousand). The first fifty are not judged; what
/// is not finite is a spike, and left out of the means.
size_t count_spikes(std::span<const double> values);

/// Where a parameter may lie for the outcome to be within `tolerance` of the best.
struct Band {
  double best_at = kMissing, best = kMissing;
  double low = kMissing, high = kMissing;          // interpolated between the points
  bool low_is_edge = false, high_is_edge = false;  // the range ends there, the band perhaps not
  double ratio() const { return high / low; }
};
/// `points`: the parameter and its outcome, infinite where a run diverged; of the band about the
/// best, on a logarithmic scale if `log`. Nothing is found of fewer than three points.
Band band_of(std::vector<std::pair<double, double>> points, double tolerance, bool log);

/// "x0.25" and "0.25" are 0.25; NaN for what is no positive number.
double number_of_label(const std::string& label);

}  // namespace strobe
