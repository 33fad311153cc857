// What each optimizer's file offers to the registry.
#pragma once

#include "strobe/optim/optimizer.h"

namespace strobe {

OptimizerEntry adamw_entry();
OptimizerEntry lion_entry();
OptimizerEntry muon_entry();

/// Weight decay of one parameter: none for biases and norms, by choice for embeddings.
float weight_decay_of(const Param& param, const OptimizerConfig& config);

/// `param` as an elementwise rule sees it.
UpdateTarget update_target(const Param& param, float lr_scale, float weight_decay);

/// An optimizer that is one elementwise rule for every parameter.
class ElementwiseOptimizer : public Optimizer {
 public:
  ElementwiseOptimizer(UpdateRule rule, int states, const OptimizerConfig& config)
      : rule_(rule), states_(states), config_(config) {}

  int states(const Param&) const override { return states_; }
  int64_t workspace_bytes(std::span<Param* const>) const override { return 0; }
  void step(Backend& ops, std::span<Param* const> params, Tensor workspace) override;

 private:
  UpdateRule rule_;
  int states_;
  OptimizerConfig config_;
};

}  // namespace strobe
