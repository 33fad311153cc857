#include "strobe/report/targets.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "strobe/report/outcomes.h"

namespace strobe {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

bool Reached::reached() const { return std::isfinite(steps); }

double outcome_at(const EvalPoint& point, const std::string& outcome) {
  const OutcomeKind* kind = find_outcome(outcome);
  return kind && kind->of_evaluation ? point.*kind->of_evaluation : kMissing;
}

Reached reach(const RunRecord& run, const std::string& outcome, double target) {
  for (const EvalPoint& point : run.evaluations) {
    if (!(outcome_at(point, outcome) <= target)) continue;
    return {point.seconds, point.tokens, point.step, point.flops};
  }
  return {kInfinity, kInfinity, kInfinity, kInfinity};
}

Profile performance_profile(const std::vector<std::vector<double>>& times, double most) {
  Profile out;
  std::vector<std::vector<double>> ratios(times.size());
  std::set<double> taus = {1};
  for (size_t i = 0; !times.empty() && i < times[0].size(); ++i) {
    double fastest = kInfinity;
    for (const auto& arm : times)
      if (arm[i] < fastest) fastest = arm[i];
    if (!std::isfinite(fastest)) continue;
    ++out.instances;
    for (size_t a = 0; a < times.size(); ++a) {
      const double ratio = times[a][i] == fastest ? 1 : times[a][i] / fastest;
      ratios[a].push_back(ratio);
      if (ratio <= most) taus.insert(ratio);
    }
  }
  out.tau.assign(taus.begin(), taus.end());
  for (const auto& arm : ratios) {
    std::vector<double> share;
    double area = 0;
    for (size_t t = 0; t < out.tau.size(); ++t) {
      const auto within =
          std::count_if(arm.begin(), arm.end(), [&](double r) { return r <= out.tau[t]; });
      share.push_back(out.instances
                          ? static_cast<double>(within) / static_cast<double>(out.instances)
                          : kMissing);
      area += share.back() * ((t + 1 < out.tau.size() ? out.tau[t + 1] : most) - out.tau[t]);
    }
    out.share.push_back(std::move(share));
    out.score.push_back(area / (most - 1));
  }
  return out;
}

std::vector<size_t> pareto_front(std::span<const double> x, std::span<const double> y) {
  std::vector<size_t> out;
  for (size_t i = 0; i < x.size(); ++i) {
    bool beaten = !(std::isfinite(x[i]) && std::isfinite(y[i]));
    for (size_t j = 0; j < x.size() && !beaten; ++j)
      beaten = x[j] <= x[i] && y[j] <= y[i] && (x[j] < x[i] || y[j] < y[i]);
    if (!beaten) out.push_back(i);
  }
  std::sort(out.begin(), out.end(), [&](size_t a, size_t b) { return x[a] < x[b]; });
  return out;
}

}  // namespace strobe
