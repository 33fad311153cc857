// Factorials of any size, each cell run with the same seeds: contrasts seed by seed, and the
// analysis of variance with seeds as blocks.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "strobe/report/statistics.h"

namespace strobe {

/// Whole data only: `values[seed][cell]`, cells in the order of the levels, the last factor
/// fastest.
struct FactorialData {
  std::vector<std::string> factors;
  std::vector<std::vector<std::string>> levels;
  std::vector<std::vector<double>> values;

  size_t cells() const;
};

/// A level against the first of its factor, averaged over the other factors; or, of two factors, by
/// how much that difference changes from the other's first level to one of its others.
struct FactorialContrast {
  std::string name;  // "lr: high − low", "lr high × decay on"
  bool interaction = false;
  Interval effect;
  double p = 0, corrected = 0;  // two-sided; Holm's, among all contrasts of the factorial
};
std::vector<FactorialContrast> factorial_contrasts(const FactorialData& data);

/// One line of the analysis of variance with repeated measures: each effect is tested against its
/// own interaction with the seeds.
struct VarianceTest {
  std::vector<std::string> factors;
  double f = 0, numerator_df = 0, denominator_df = 0, p = 1;
};
std::vector<VarianceTest> analysis_of_variance(const FactorialData& data);

}  // namespace strobe
