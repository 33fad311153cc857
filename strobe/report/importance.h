// Which hyperparameters matter: PED-ANOVA.
//
// S. Watanabe, A. Bansal, F. Hutter, "PED-ANOVA: efficiently quantifying hyperparameter importance
// in arbitrary subspaces", IJCAI 2023: how far the distribution of a parameter among the best tenth
// of the trials is from that among all of them (Pearson's divergence), both estimated by kernels
// (Scott's bandwidth) on a grid. As Optuna computes it.
#pragma once

#include <string>
#include <vector>

namespace strobe {

/// A parameter with its value in each trial; NaN where the trial does not have it.
struct ImportanceInput {
  std::string name;
  double low = 0, high = 0, step = 0;  // of numbers; step 0: continuous
  bool log = false, integer = false;
  size_t choices = 0;  // above 0: values are indices of choices
  std::vector<double> values;
};

/// Shares that add up to 1, in the order of `parameters`; zeros if nothing can be told. `outcomes`
/// is of the same trials; lower is better. All are finite.
std::vector<double> importance(const std::vector<ImportanceInput>& parameters,
                               const std::vector<double>& outcomes, double best_share = 0.1);

}  // namespace strobe
