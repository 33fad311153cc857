// NorMuon: Muon whose outputs are given equal steps. Li et al. 2025, arXiv:2510.05491, in the form
// of the authors' code, which keeps the norm that Muon's update has.
//
//   O = orthogonal(U)                              (Muon's)
//   v = beta2 v + (1 - beta2) mean of O^2 over the inputs of each output
//   W -= lr (max(1, rows / columns)^0.5 ||O|| O' / ||O'|| + weight_decay W),   O' = O / (sqrt(v) +
//   eps)
#include <cmath>

#include "strobe/optim/matrix_optimizer.h"

namespace strobe {

namespace {

constexpr double kDefaultBeta2 = 0.95;  // as AdamW's here
constexpr float kEps = 1e-10f;

class NorMuon : public MatrixOptimizer {
 public:
  // beta2 is that of both second moments: of outputs here, and AdamW's of the rest.
  explicit NorMuon(const OptimizerConfig& config)
      : MatrixOptimizer(config), beta2_(static_cast<float>(config.beta2.value_or(kDefaultBeta2))) {}

 protected:
  std::vector<Tensor> more_states(const Param& param) const override {
    return {Tensor(nullptr, DType::f32, {param.value.dim(1)})};
  }
  void direct(Backend& ops, Tensor updates, std::span<const UpdateTarget> parts, DType dtype,
              Tensor workspace) const override {
    const int64_t rows = updates.dim(1), width = updates.dim(2);
    ops.orthogonalize(updates, 1.0f, dtype, workspace);
    MomentScaling scaling;
    scaling.beta = beta2_, scaling.eps = kEps, scaling.keep_norm = true;
    scaling.scale = std::sqrt(std::max(1.0f, static_cast<float>(width) / static_cast<float>(rows)));
    ops.scale_each_by_moments(updates, parts, scaling);
  }
  int64_t direct_workspace_bytes(const Backend& ops, int64_t n, int64_t rows, int64_t columns,
                                 DType dtype) const override {
    return ops.orthogonalize_workspace_bytes(n, rows, columns, dtype);
  }

 private:
  float beta2_;
};

}  // namespace

OptimizerEntry normuon_entry() {
  return {"normuon",
          "muon with steps made even over outputs; AdamW for embeddings, heads, biases, norms",
          "O as muon's;  v = beta2 v + (1 - beta2) mean over inputs of O^2;  O' = O / (sqrt(v) + "
          "1e-10);  w -= l (sqrt(max(1, outputs / inputs)) ||O|| O' / ||O'|| + d w)",
          matrix_options(),
          "Li et al. 2025, arXiv:2510.05491",
          [](const OptimizerConfig& config) -> std::unique_ptr<Optimizer> {
            return std::make_unique<NorMuon>(config);
          }};
}

}  // namespace strobe
