// The catalogue of optimizers: the rules of ops/update_rules.h, and one line for each of the
// others.
#include <algorithm>
#include <vector>

#include "strobe/core/error.h"
#include "strobe/optim/entries.h"
#include "strobe/optim/groups.h"

namespace strobe {

namespace {

template <class Rule>
void add_rule(std::vector<OptimizerEntry>& entries) {
  if constexpr (Rule::kInfo.name != nullptr)
    entries.push_back({Rule::kInfo.name, Rule::kInfo.summary, Rule::kInfo.formula,
                       options_of<Rule>(), Rule::kInfo.source,
                       [](const OptimizerConfig& config) -> std::unique_ptr<Optimizer> {
                         return std::make_unique<ElementwiseOptimizer<Rule>>(config);
                       }});
}

template <class... Rules>
void add_rules(std::vector<OptimizerEntry>& entries, const std::variant<Rules...>*) {
  (add_rule<Rules>(entries), ...);
}

std::vector<OptimizerEntry> all_entries() {
  std::vector<OptimizerEntry> entries;
  add_rules(entries, static_cast<const UpdateRule*>(nullptr));
  entries.push_back(muon_entry());
  entries.push_back(normuon_entry());
  entries.push_back(adafactor_entry());
  return entries;
}

void check_options(const OptimizerConfig& config) {
  const auto in = [](const std::optional<double>& value, double low, double high,
                     const char* name) {
    // Computed with in single precision, where 0.99999999 is 1.
    if (value && !(*value >= low && static_cast<float>(*value) < static_cast<float>(high)))
      fail("optimizer.{}: {} is outside [{}, {})", name, *value, low, high);
  };
  in(config.lr, 0, 1e6, "lr");
  in(config.weight_decay, 0, 1e6, "weight_decay");
  in(config.clip, 0, 1e30, "clip");
  in(config.clip_value, 0, 1e30, "clip_value");
  in(config.beta1, 0, 1, "beta1");
  in(config.beta2, 0, 1, "beta2");
  in(config.eps, 0, 1, "eps");
  in(config.momentum, 0, 1, "momentum");
  in(config.embedding_lr, 0, 1e6, "embedding_lr");
  if (!config.decay_coupled && !(config.lr > 0))
    fail("optimizer.decay_coupled: without coupling, lr must be above 0, found {}", config.lr);
  if (config.name == "schedule_free_adamw" && config.beta1 && *config.beta1 == 0)
    fail("optimizer.beta1: schedule_free_adamw needs one above 0");
}

}  // namespace

std::span<const OptimizerEntry> optimizers() {
  static const std::vector<OptimizerEntry> entries = all_entries();
  return entries;
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config) {
  check_options(config);
  if (!config.groups.empty()) return make_grouped_optimizer(config);
  std::vector<std::string> names;
  for (const OptimizerEntry& entry : optimizers()) {
    if (entry.name == config.name) return entry.make(config);
    names.push_back(entry.name);
  }
  const std::string meant = nearest(config.name, names.data(), names.size());
  fail("optimizer.name: '{}' is unknown{}; known are {}", config.name,
       meant.empty() ? "" : fmt::format(", did you mean '{}'?", meant), fmt::join(names, ", "));
}

UpdateTarget update_target(const Param& param, const OptimizerConfig& config, double lr) {
  const double peak = lr > 0 ? lr : config.lr;
  UpdateTarget target;
  target.value = param.value, target.compute = param.compute, target.grad = param.grad;
  for (size_t i = 0; i < param.state.size(); ++i)
    target.state(static_cast<int>(i)) = param.state[i];
  target.lr_scale =
      static_cast<float>(lr > 0 ? config.lr_scale * (lr / config.lr) : config.lr_scale);
  const bool decays = config.decay_all || param.kind == ParamKind::matrix ||
                      param.kind == ParamKind::head ||
                      (param.kind == ParamKind::embedding && config.decay_embeddings);
  if (decays)
    target.weight_decay =
        static_cast<float>(config.decay_coupled ? config.weight_decay : config.weight_decay / peak);
  target.cautious = config.decay_cautious;
  return target;
}

Tensor state_like(const Param& param) {
  Tensor out = param.value;
  out.data = nullptr, out.dtype = DType::f32;
  return out;
}

}  // namespace strobe
