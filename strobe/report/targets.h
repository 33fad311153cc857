// How soon targets are reached, and which choices are not beaten on both of two counts.
#pragma once

#include <span>
#include <vector>

#include "strobe/report/run_reader.h"

namespace strobe {

/// What it took a run to reach a target, at its first evaluation there; infinite if it did not.
struct Reached {
  double seconds, tokens, steps, flops;
  bool reached() const;
};

/// The outcome at an evaluation, by its name ("val/loss"); NaN for what evaluations do not have.
double outcome_at(const EvalPoint& point, const std::string& outcome);

Reached reach(const RunRecord& run, const std::string& outcome, double target);

/// AlgoPerf's performance profile (G. Dahl et al., "Benchmarking neural network training
/// algorithms", 2023, after E. Dolan and J. More, 2002): times[arm][instance], infinite for a miss.
/// For each arm, the share of instances it does within tau times the fastest arm's time; instances
/// that no arm does are left out.
struct Profile {
  std::vector<double> tau;                 // where some share changes, from 1 to `most`
  std::vector<std::vector<double>> share;  // by arm, at each tau and up to the next
  std::vector<double> score;               // the mean share over tau in [1, most]
  size_t instances = 0;                    // that some arm does
};
Profile performance_profile(const std::vector<std::vector<double>>& times, double most = 4);

/// The points that no other is at least as good as in both and better in one; lower is better.
/// NaN takes no part.
std::vector<size_t> pareto_front(std::span<const double> x, std::span<const double> y);

}  // namespace strobe
