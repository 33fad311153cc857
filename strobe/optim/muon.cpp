// Muon: momentum whose matrices are made orthogonal. Jordan et al. 2024,
// kellerjordan.github.io/posts/muon.
//
//   M = beta M + G,   U = G + beta M               (Nesterov)
//   W -= lr (max(1, rows / columns)^0.5 orthogonal(U) + weight_decay W)
//
// (The paper's weights are (out, in); strobe's (in, out), so rows and columns swap in the factor.)
#include <cmath>

#include "strobe/optim/matrix_optimizer.h"

namespace strobe {

namespace {

class Muon : public MatrixOptimizer {
 public:
  using MatrixOptimizer::MatrixOptimizer;

 protected:
  DType direction_dtype(const Backend& ops, DType dtype) const override {
    return ops.direction_dtype(dtype);
  }
  void direct(Backend& ops, Tensor updates, std::span<const UpdateTarget>, DType dtype,
              Tensor workspace) const override {
    const float share = static_cast<float>(updates.dim(2)) / static_cast<float>(updates.dim(1));
    ops.orthogonalize(updates, std::sqrt(std::max(1.0f, share)), dtype, workspace);
  }
  int64_t direct_workspace_bytes(const Backend& ops, int64_t n, int64_t rows, int64_t columns,
                                 DType dtype) const override {
    return ops.orthogonalize_workspace_bytes(n, rows, columns, dtype);
  }
};

}  // namespace

OptimizerEntry muon_entry() {
  return {"muon",
          "momentum made orthogonal by Newton-Schulz; AdamW for embeddings, heads, biases, norms",
          "M = momentum M + g;  U = g + momentum M;  "
          "w -= l (sqrt(max(1, outputs / inputs)) orthogonal(U) + d w)",
          matrix_options(),
          "Jordan et al. 2024, kellerjordan.github.io/posts/muon",
          [](const OptimizerConfig& config) -> std::unique_ptr<Optimizer> {
            return std::make_unique<Muon>(config);
          }};
}

}  // namespace strobe
