#include "strobe/optim/entries.h"

namespace strobe {

OptimizerEntry adamw_entry() {
  return {"adamw", "Adam with decoupled weight decay; betas 0.9, 0.95, eps 1e-8",
          "Loshchilov & Hutter 2019, arXiv:1711.05101",
          [](const OptimizerConfig& config) -> std::unique_ptr<Optimizer> {
            AdamWRule rule;
            rule.beta1 = static_cast<float>(config.beta1.value_or(0.9));
            rule.beta2 = static_cast<float>(config.beta2.value_or(0.95));
            rule.eps = static_cast<float>(config.eps.value_or(1e-8));
            return std::make_unique<ElementwiseOptimizer>(rule, AdamWRule::kStates, config);
          }};
}

}  // namespace strobe
