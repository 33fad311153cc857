#include <algorithm>
#include <vector>

#include "strobe/core/error.h"
#include "strobe/optim/entries.h"

namespace strobe {

std::span<const OptimizerEntry> optimizers() {
  static const OptimizerEntry entries[] = {
      adamw_entry(),
      lion_entry(),
      muon_entry(),
  };
  return entries;
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config) {
  const auto in = [](const std::optional<double>& value, double low, double high,
                     const char* name) {
    if (value && !(*value >= low && *value < high))
      fail("optimizer.{}: {} is outside [{}, {})", name, *value, low, high);
  };
  in(config.lr, 0, 1e6, "lr");
  in(config.weight_decay, 0, 1e6, "weight_decay");
  in(config.clip, 0, 1e30, "clip");
  in(config.beta1, 0, 1, "beta1");
  in(config.beta2, 0, 1, "beta2");
  in(config.eps, 0, 1, "eps");
  in(config.momentum, 0, 1, "momentum");
  in(config.embedding_lr, 0, 1e6, "embedding_lr");

  std::vector<std::string> names;
  for (const OptimizerEntry& entry : optimizers()) {
    if (entry.name == config.name) return entry.make(config);
    names.push_back(entry.name);
  }
  const std::string meant = nearest(config.name, names.data(), names.size());
  fail("optimizer.name: '{}' is unknown{}; known are {}", config.name,
       meant.empty() ? "" : fmt::format(", did you mean '{}'?", meant), fmt::join(names, ", "));
}

float weight_decay_of(const Param& param, const OptimizerConfig& config) {
  const bool decays = param.kind == ParamKind::matrix ||
                      (param.kind == ParamKind::embedding && config.decay_embeddings);
  return decays ? static_cast<float>(config.weight_decay) : 0.0f;
}

UpdateTarget update_target(const Param& param, float lr_scale, float weight_decay) {
  UpdateTarget target;
  target.value = param.value, target.compute = param.compute, target.grad = param.grad;
  if (!param.state.empty()) target.state0 = param.state[0];
  if (param.state.size() > 1) target.state1 = param.state[1];
  target.lr_scale = lr_scale, target.weight_decay = weight_decay;
  return target;
}

void ElementwiseOptimizer::step(Backend& ops, std::span<Param* const> params, Tensor) {
  std::vector<UpdateTarget> targets;
  for (const Param* param : params)
    targets.push_back(update_target(*param, 1.0f, weight_decay_of(*param, config_)));
  ops.update(rule_, targets);
}

}  // namespace strobe
