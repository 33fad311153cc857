#include "strobe/optim/entries.h"

namespace strobe {

OptimizerEntry lion_entry() {
  return {"lion", "the sign of an interpolated momentum; betas 0.9, 0.99",
          "Chen et al. 2023, arXiv:2302.06675",
          [](const OptimizerConfig& config) -> std::unique_ptr<Optimizer> {
            LionRule rule;
            rule.beta1 = static_cast<float>(config.beta1.value_or(0.9));
            rule.beta2 = static_cast<float>(config.beta2.value_or(0.99));
            return std::make_unique<ElementwiseOptimizer>(rule, LionRule::kStates, config);
          }};
}

}  // namespace strobe
