#include "strobe/report/importance.h"

#include <algorithm>
#include <cmath>

#include "strobe/report/statistics.h"

namespace strobe {

namespace {

constexpr int kGrid = 50;
constexpr double kPriorWeight = 1;
constexpr size_t kFewestTrials = 2;

int grid_of(const ImportanceInput& p) {
  if (p.choices > 0) return static_cast<int>(p.choices);
  if (p.integer && p.log)
    return std::min(kGrid, static_cast<int>(std::ceil(std::log2(p.high - p.low + 1))) + 1);
  if (p.step > 0)
    return std::min(kGrid, static_cast<int>(std::lround((p.high - p.low) / p.step)) + 1);
  return kGrid;
}

int cell_of(const ImportanceInput& p, double value, int grid) {
  if (p.choices > 0) return static_cast<int>(value);
  const auto scale = [&](double v) { return p.log ? std::log(v) : v; };
  const double width = (scale(p.high) - scale(p.low)) / (grid - 1);
  const int cell = static_cast<int>(std::ceil((scale(value) - scale(p.low)) / width - 0.5));
  return std::clamp(cell, 0, grid - 1);
}

// A mixture over the grid's cells that hold trials, and a flat prior.
std::vector<double> density(const ImportanceInput& p, const std::vector<int>& cells, int grid) {
  std::vector<double> counts(static_cast<size_t>(grid), 0);
  for (const int cell : cells) counts[static_cast<size_t>(cell)] += 1;
  std::vector<double> at, weights;
  double total = 0;
  for (int i = 0; i < grid; ++i)
    if (const double count = counts[static_cast<size_t>(i)]; count > 0)
      at.push_back(i), weights.push_back(count), total += count;
  std::vector<double> out(static_cast<size_t>(grid), 0);
  const double all = total + kPriorWeight;
  if (p.choices > 0) {
    const double spread = kPriorWeight / static_cast<double>(at.size() + 1);
    const double sum = 1 + spread * grid;
    for (int i = 0; i < grid; ++i) {
      double& sum_here = out[static_cast<size_t>(i)];
      for (size_t k = 0; k < at.size(); ++k)
        sum_here += weights[k] / all * (spread + (at[k] == i ? 1 : 0)) / sum;
      sum_here += kPriorWeight / all / grid;
    }
    return out;
  }
  // Scott's rule, robust to outliers.
  double centre = 0, squares = 0, below = 0;
  for (size_t k = 0; k < at.size(); ++k) centre += at[k] * weights[k] / total;
  for (size_t k = 0; k < at.size(); ++k)
    squares += (at[k] - centre) * (at[k] - centre) * weights[k];
  size_t lower = at.size(), upper = at.size();
  for (size_t k = 0; k < at.size(); ++k) {
    below += weights[k];
    if (lower == at.size() && below >= std::floor(total / 4)) lower = k;
    if (upper == at.size() && below > std::floor(total * 3 / 4)) upper = k;
  }
  const double range = at[std::min(upper, at.size() - 1)] - at[std::min(lower, at.size() - 1)];
  const double deviation = std::sqrt(squares / std::max(1.0, total - 1));
  const double width =
      std::max(1.059 * std::min(range / 1.34, deviation) * std::pow(total, -0.2), 0.5 / 1.64);
  const auto add = [&](double middle, double sigma, double weight) {
    const auto upto = [&](double x) { return normal_cdf((x - middle) / sigma); };
    const double mass = upto(grid - 0.5) - upto(-0.5);
    for (int i = 0; i < grid; ++i)
      out[static_cast<size_t>(i)] += weight * (upto(i + 0.5) - upto(i - 0.5)) / mass;
  };
  for (size_t k = 0; k < at.size(); ++k) add(at[k], width, weights[k] / all);
  add((grid - 1) / 2.0, grid, kPriorWeight / all);
  return out;
}

}  // namespace

std::vector<double> importance(const std::vector<ImportanceInput>& parameters,
                               const std::vector<double>& outcomes, double best_share) {
  std::vector<double> out(parameters.size(), 0);
  const size_t n = outcomes.size();
  if (n < 2) return out;
  std::vector<double> sorted = outcomes;
  std::sort(sorted.begin(), sorted.end());
  const auto most = static_cast<size_t>(std::ceil(best_share * static_cast<double>(n)));
  const double worst_of_best = sorted[most - 1];
  const auto is_best = [&](size_t i) { return outcomes[i] <= worst_of_best; };
  double best = 0;
  for (size_t i = 0; i < n; ++i) best += is_best(i);
  double sum = 0;
  for (size_t d = 0; d < parameters.size(); ++d) {
    const ImportanceInput& p = parameters[d];
    const int grid = grid_of(p);
    if (grid < 2 || (p.choices == 0 && !(p.low < p.high))) continue;
    std::vector<int> all_cells, best_cells;
    for (size_t i = 0; i < n; ++i) {
      if (std::isnan(p.values[i])) continue;
      const int cell = cell_of(p, p.values[i], grid);
      all_cells.push_back(cell);
      if (is_best(i)) best_cells.push_back(cell);
    }
    if (all_cells.size() < kFewestTrials || best_cells.empty()) continue;
    const std::vector<double> top = density(p, best_cells, grid), all = density(p, all_cells, grid);
    double divergence = 0;
    for (size_t i = 0; i < top.size(); ++i) {
      const double local = all[i] + 1e-12, ratio = (top[i] + 1e-12) / local - 1;
      divergence += local * ratio * ratio;
    }
    const double in_best = static_cast<double>(best_cells.size()) / best;
    const double in_all = static_cast<double>(all_cells.size()) / static_cast<double>(n);
    out[d] = in_best * in_best / in_all * divergence;
    sum += out[d];
  }
  if (sum > 0)
    for (double& share : out) share /= sum;
  return out;
}

}  // namespace strobe
