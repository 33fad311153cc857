// Adafactor: second moments of a matrix kept by its rows and columns alone. Shazeer & Stern 2018,
// arXiv:1804.04235, Algorithm 4, with an external learning rate (no relative steps, no momentum).
//
//   b = 1 - t^-0.8  (or beta2)
//   R = b R + (1 - b) mean over columns (G^2 + eps),  C = b C + (1 - b) mean over rows (G^2 + eps)
//   U = G / sqrt(R C^T / mean(R)),   W -= lr (U / max(1, RMS(U)) + weight_decay W)
//
// A vector has one moment an element.
#include <algorithm>

#include "strobe/core/arena.h"
#include "strobe/optim/entries.h"

namespace strobe {

namespace {

constexpr float kExponent = -0.8f;
constexpr double kDefaultEps = 1e-30;
constexpr float kMostRms = 1.0f;

class Adafactor : public Optimizer {
 public:
  explicit Adafactor(const OptimizerConfig& config) : config_(config) {
    scaling_.eps_square = static_cast<float>(config.eps.value_or(kDefaultEps));
    scaling_.most_rms = kMostRms, scaling_.gradient = true;
    if (config.beta2)
      scaling_.beta = static_cast<float>(*config.beta2);
    else
      scaling_.exponent = kExponent;
  }

  // Rows that only round a size up have no gradient, and no part in any mean.
  std::vector<Tensor> states(const Param& param) const override {
    const Tensor stored = param.stored(param.value);
    if (stored.rank == 1) return {Tensor(nullptr, DType::f32, {stored.dim(0)})};
    return {Tensor(nullptr, DType::f32, {stored.dim(0)}),
            Tensor(nullptr, DType::f32, {stored.dim(1)})};
  }
  int64_t workspace_bytes(const Backend&, std::span<Param* const> params) const override {
    int64_t most = 0;
    for (const Param* param : params) most = std::max(most, param->value.numel());
    return most * size_of(DType::f32);
  }
  void step(Backend& ops, std::span<Param* const> params, Tensor workspace) override {
    for (const Param* param : params) {
      UpdateTarget target = update_target(*param, config_);
      for (Tensor* x : {&target.value, &target.compute, &target.grad}) *x = param->stored(*x);
      const Tensor& grad = target.grad;
      const bool vector = grad.rank == 1;
      const int64_t m = vector ? 1 : grad.dim(0), n = grad.numel() / m;
      const Tensor u(workspace.data, DType::f32, {m, n});
      ops.scale_by_moments(u, vector ? Tensor{} : param->state[0], param->state[vector ? 0 : 1],
                           grad.reshape({m, n}), scaling_);
      ops.apply_update(target, u);
    }
  }

 private:
  OptimizerConfig config_;
  MomentScaling scaling_;
};

}  // namespace

OptimizerEntry adafactor_entry() {
  return {"adafactor",
          "second moments by rows and columns alone, hardly any state",
          "b = 1 - t^-0.8 or beta2;  R, C = moving means of g^2 + eps over rows, columns;  "
          "U = g / sqrt(R C / mean(R));  w -= l (U / max(1, RMS(U)) + d w)",
          {{"beta2", "auto"}, {"eps", "1e-30"}},
          "Shazeer & Stern 2018, arXiv:1804.04235",
          [](const OptimizerConfig& config) -> std::unique_ptr<Optimizer> {
            return std::make_unique<Adafactor>(config);
          }};
}

}  // namespace strobe
