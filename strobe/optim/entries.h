// What the optimizers' files share, and what they offer to the registry.
#pragma once

#include "strobe/optim/optimizer.h"

namespace strobe {

/// The options that a rule has, with their defaults.
template <class Rule>
std::vector<OwnOption> options_of() {
  const Rule rule;
  std::vector<OwnOption> out;
  if constexpr (requires { rule.beta1; }) out.push_back({"beta1", fmt::format("{}", rule.beta1)});
  if constexpr (requires { rule.beta2; }) out.push_back({"beta2", fmt::format("{}", rule.beta2)});
  if constexpr (requires { rule.eps; }) out.push_back({"eps", fmt::format("{}", rule.eps)});
  return out;
}

OptimizerEntry muon_entry();
OptimizerEntry normuon_entry();
OptimizerEntry adafactor_entry();

/// What apply_update() and update() take for `param`: decay by kind, coupled or not, cautious or
/// not. `lr` is the peak learning rate of this parameter, config.lr where it is 0.
UpdateTarget update_target(const Param& param, const OptimizerConfig& config, double lr = 0);

/// A state of the parameter's own shape.
Tensor state_like(const Param& param);

/// One elementwise rule for every parameter, its options taken from the configuration.
template <class Rule>
class ElementwiseOptimizer : public Optimizer {
 public:
  explicit ElementwiseOptimizer(const OptimizerConfig& config) : config_(config) {
    if constexpr (requires { rule_.beta1; })
      rule_.beta1 = static_cast<float>(config.beta1.value_or(rule_.beta1));
    if constexpr (requires { rule_.beta2; })
      rule_.beta2 = static_cast<float>(config.beta2.value_or(rule_.beta2));
    if constexpr (requires { rule_.eps; })
      rule_.eps = static_cast<float>(config.eps.value_or(rule_.eps));
  }

  std::vector<Tensor> states(const Param& param) const override {
    return std::vector<Tensor>(Rule::kStates, state_like(param));
  }
  int64_t workspace_bytes(const Backend&, std::span<Param* const>) const override { return 0; }
  void step(Backend& ops, std::span<Param* const> params, Tensor) override {
    update(ops, params, 0);
  }
  /// With another peak learning rate than config.lr.
  void update(Backend& ops, std::span<Param* const> params, double lr) const {
    std::vector<UpdateTarget> targets;
    for (const Param* param : params) targets.push_back(update_target(*param, config_, lr));
    if (!targets.empty()) ops.update(rule_, targets);
  }

  void initialise(Backend& ops, std::span<Param* const> params) const override {
    if constexpr (kAverages)
      for (const Param* param : params) ops.copy(param->state[0], param->value);
  }
  bool averages(const Param&) const override { return kAverages; }
  void write_average(Backend& ops, const Param& param, Tensor out) const override {
    if constexpr (kAverages) {  // y + (1 - 1 / beta1) (z - y)
      ops.copy(out, param.value);
      ops.axpby(out, 1.0f - 1.0f / rule_.beta1, param.state[0], 1.0f / rule_.beta1);
    }
  }

 private:
  static constexpr bool kAverages = requires { Rule::kAverages; };
  Rule rule_;
  OptimizerConfig config_;
};

}  // namespace strobe
