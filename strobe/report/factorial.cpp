#include "strobe/report/factorial.h"

#include <bit>
#include <cmath>
#include <limits>

#include "strobe/core/error.h"

namespace strobe {

namespace {

// Axes of the table: the factors, then the seeds.
struct Table {
  std::vector<size_t> sizes;
  std::vector<double> values;  // the last axis fastest

  size_t coordinate(size_t cell, size_t axis) const {
    for (size_t a = sizes.size(); a-- > axis + 1;) cell /= sizes[a];
    return cell % sizes[axis];
  }
};

Table table_of(const FactorialData& data) {
  Table out;
  for (const auto& levels : data.levels) out.sizes.push_back(levels.size());
  out.sizes.push_back(data.values.size());
  for (size_t cell = 0; cell < data.cells(); ++cell)
    for (const auto& seed : data.values) out.values.push_back(seed[cell]);
  return out;
}

// The sum of squares of the effect of the axes in `axes`, a bit each: what the means over all other
// axes have beyond the effects of fewer axes.
double sum_of_squares(const Table& table, unsigned axes) {
  const size_t n = table.values.size();
  std::vector<double> effect(n, 0);
  for (unsigned subset = axes;; subset = (subset - 1) & axes) {
    // Means over what is not in the subset, at each cell.
    std::vector<double> sums(n, 0), counts(n, 0);
    std::vector<size_t> key(n);
    for (size_t i = 0; i < n; ++i) {
      size_t k = 0;
      for (size_t a = 0; a < table.sizes.size(); ++a)
        if (subset >> a & 1) k = k * table.sizes[a] + table.coordinate(i, a);
      key[i] = k, sums[k] += table.values[i], counts[k] += 1;
    }
    const double sign = (std::popcount(axes) - std::popcount(subset)) % 2 ? -1 : 1;
    for (size_t i = 0; i < n; ++i) effect[i] += sign * sums[key[i]] / counts[key[i]];
    if (subset == 0) break;
  }
  double out = 0;
  for (const double e : effect) out += e * e;
  return out;
}

// One value a seed: the mean over cells, weighted. Cells that cancel but for rounding give zero:
// any remainder, the same for every seed, would have p = 0.
template <class Weight>
FactorialContrast contrast(const FactorialData& data, std::string name, bool interaction,
                           Weight weight) {
  FactorialContrast out;
  out.name = std::move(name), out.interaction = interaction;
  std::vector<double> values;
  for (const auto& seed : data.values) {
    double sum = 0, size = 0;
    for (size_t cell = 0; cell < seed.size(); ++cell) {
      const double term = weight(cell) * seed[cell];
      sum += term, size += std::abs(term);
    }
    const double rounding =
        std::numeric_limits<double>::epsilon() * static_cast<double>(seed.size()) * size;
    values.push_back(std::abs(sum) <= rounding ? 0 : sum);
  }
  const MeanInference inferred = infer_mean(values);
  out.effect = inferred.interval, out.p = inferred.p;
  return out;
}

}  // namespace

size_t FactorialData::cells() const {
  size_t out = 1;
  for (const auto& one : levels) out *= one.size();
  return out;
}

std::vector<FactorialContrast> factorial_contrasts(const FactorialData& data) {
  const Table table = table_of(data);
  const size_t seeds = data.values.size(), cells = data.cells();
  std::vector<FactorialContrast> out;
  if (seeds == 0) return out;
  const auto level = [&](size_t cell, size_t factor) {
    return table.coordinate(cell * seeds, factor);
  };
  // +1 at the level, -1 at the first, 0 elsewhere.
  const auto sign = [&](size_t cell, size_t factor, size_t to) {
    const size_t l = level(cell, factor);
    return l == to ? 1.0 : l == 0 ? -1.0 : 0.0;
  };
  const auto over = [&](size_t factor) {
    return static_cast<double>(cells) / static_cast<double>(data.levels[factor].size());
  };
  for (size_t f = 0; f < data.factors.size(); ++f)
    for (size_t to = 1; to < data.levels[f].size(); ++to)
      out.push_back(contrast(
          data, fmt::format("{}: {} − {}", data.factors[f], data.levels[f][to], data.levels[f][0]),
          false, [&](size_t cell) { return sign(cell, f, to) / over(f); }));
  for (size_t f = 0; f < data.factors.size(); ++f)
    for (size_t g = f + 1; g < data.factors.size(); ++g)
      for (size_t a = 1; a < data.levels[f].size(); ++a)
        for (size_t b = 1; b < data.levels[g].size(); ++b)
          out.push_back(contrast(data,
                                 fmt::format("{} {} × {} {}", data.factors[f], data.levels[f][a],
                                             data.factors[g], data.levels[g][b]),
                                 true, [&](size_t cell) {
                                   return sign(cell, f, a) * sign(cell, g, b) /
                                          (over(f) / static_cast<double>(data.levels[g].size()));
                                 }));
  std::vector<double> p;
  for (const FactorialContrast& c : out) p.push_back(c.p);
  const std::vector<double> corrected = holm(p);
  for (size_t i = 0; i < out.size(); ++i) out[i].corrected = corrected[i];
  return out;
}

std::vector<VarianceTest> analysis_of_variance(const FactorialData& data) {
  std::vector<VarianceTest> out;
  const size_t factors = data.factors.size(), seeds = data.values.size();
  if (seeds < 2) return out;
  check(factors < 10, "analysis_of_variance: fewer than ten factors");
  const Table table = table_of(data);
  for (unsigned axes = 1; axes < 1u << factors; ++axes) {
    VarianceTest test;
    test.numerator_df = 1;
    for (size_t f = 0; f < factors; ++f)
      if (axes >> f & 1) {
        test.factors.push_back(data.factors[f]);
        test.numerator_df *= static_cast<double>(data.levels[f].size() - 1);
      }
    test.denominator_df = test.numerator_df * static_cast<double>(seeds - 1);
    const double effect = sum_of_squares(table, axes) / test.numerator_df;
    const double rest = sum_of_squares(table, axes | 1u << factors) / test.denominator_df;
    test.f = effect / rest;
    test.p = f_tail(test.f, test.numerator_df, test.denominator_df);
    out.push_back(std::move(test));
  }
  return out;
}

}  // namespace strobe
