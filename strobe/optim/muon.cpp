// Muon: momentum whose matrices are made orthogonal. Jordan et al. 2024,
// kellerjordan.github.io/posts/muon.
//
//   M = beta M + G,   U = G + beta M               (Nesterov)
//   X = U / ||U||_F
//   five times:  A = X X^T,  B = b A + c A A,  X = a X + B X      (Newton-Schulz; X wide, not tall)
//   W -= lr (max(1, rows / columns)^0.5 X + weight_decay W)
//
// (The paper's weights are (out, in); strobe's (in, out), so rows and columns swap in the factor.)
// A fused c_attn is three matrices and is treated as three. Embeddings, biases and norms are
// AdamW's, with a learning rate of their own.
#include <algorithm>
#include <cmath>
#include <vector>

#include "strobe/core/arena.h"
#include "strobe/core/error.h"
#include "strobe/optim/entries.h"

namespace strobe {

namespace {

constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
constexpr int kIterations = 5;
constexpr float kEps = 1e-7f;
constexpr double kDefaultMomentum = 0.95, kDefaultEmbeddingLr = 6e-4;

class Muon : public Optimizer {
 public:
  explicit Muon(const OptimizerConfig& config)
      : config_(config), momentum_(static_cast<float>(config.momentum.value_or(kDefaultMomentum))) {
    if (!(config.lr > 0)) fail("optimizer.lr: muon needs a rate above 0, found {}", config.lr);
    adamw_.beta1 = static_cast<float>(config.beta1.value_or(0.9));
    adamw_.beta2 = static_cast<float>(config.beta2.value_or(0.95));
    adamw_.eps = static_cast<float>(config.eps.value_or(1e-8));
    embedding_lr_scale_ =
        static_cast<float>(config.embedding_lr.value_or(kDefaultEmbeddingLr) / config.lr);
  }

  int states(const Param& param) const override {
    return param.kind == ParamKind::matrix ? 1 : AdamWRule::kStates;
  }
  int64_t workspace_bytes(std::span<Param* const> params) const override;
  void step(Backend& ops, std::span<Param* const> params, Tensor workspace) override;

 private:
  void update_matrix(Backend& ops, const Param& param, Arena& arena) const;
  static Tensor orthogonalise(Backend& ops, Tensor update, DType dtype, Arena& arena);

  OptimizerConfig config_;
  float momentum_, embedding_lr_scale_;
  AdamWRule adamw_;
};

// Projections for queries, keys and values share one (C, 3 C) weight but are separate maps.
int64_t parts_of(const Param& param) {
  const bool fused = param.name.ends_with("attn.c_attn.weight");
  return fused && param.value.dim(1) == 3 * param.value.dim(0) ? 3 : 1;
}

// Largest matrix that is made orthogonal at once: elements, and its shorter side squared.
struct Largest {
  int64_t whole = 0, part = 0, square = 0;
};

Largest largest_of(std::span<Param* const> params) {
  Largest out;
  for (const Param* param : params) {
    if (param->kind != ParamKind::matrix) continue;
    const int64_t rows = param->value.dim(0), columns = param->value.dim(1) / parts_of(*param);
    out.whole = std::max(out.whole, param->value.numel());
    out.part = std::max(out.part, rows * columns);
    out.square = std::max(out.square, std::min(rows, columns) * std::min(rows, columns));
  }
  return out;
}

int64_t Muon::workspace_bytes(std::span<Param* const> params) const {
  // U; then X in f32 and in the compute type; then A and B in both.
  const Largest n = largest_of(params);
  return (n.whole + 2 * n.part + 4 * n.square) * size_of(DType::f32) + 8 * Arena::kAlignment;
}

void Muon::step(Backend& ops, std::span<Param* const> params, Tensor workspace) {
  std::vector<UpdateTarget> rest;
  for (const Param* param : params) {
    if (param->kind == ParamKind::matrix) {
      Arena arena(workspace.data, workspace.bytes());
      update_matrix(ops, *param, arena);
    } else {
      rest.push_back(update_target(*param, embedding_lr_scale_, weight_decay_of(*param, config_)));
    }
  }
  ops.update(adamw_, rest);
}

void Muon::update_matrix(Backend& ops, const Param& param, Arena& arena) const {
  const int64_t rows = param.value.dim(0), columns = param.value.dim(1);
  const Tensor u = arena.allocate("muon update", DType::f32, {rows, columns});
  ops.momentum(u, param.state[0], param.grad, momentum_, /*nesterov=*/true);
  const int64_t parts = parts_of(param), width = columns / parts;
  const float scale =
      std::sqrt(std::max(1.0f, static_cast<float>(width) / static_cast<float>(rows)));
  for (int64_t i = 0; i < parts; ++i) {
    ArenaScope scope(arena);
    const Tensor part = u.narrow(1, i * width, width);
    const Tensor x = orthogonalise(ops, part, param.compute.dtype, arena);
    ops.axpby(x, 0, x, scale);
    ops.copy(part, x);
  }
  ops.apply_update(update_target(param, 1.0f, weight_decay_of(param, config_)), u);
}

Tensor Muon::orthogonalise(Backend& ops, Tensor update, DType dtype, Arena& arena) {
  const int64_t rows = update.dim(0), columns = update.dim(1), side = std::min(rows, columns);
  // Sums are made in f32; products read copies, which they may not overwrite.
  const Tensor x = arena.allocate("muon", DType::f32, {rows, columns});
  const Tensor a = arena.allocate("muon", DType::f32, {side, side});
  const Tensor b = arena.allocate("muon", DType::f32, {side, side});
  const Tensor x_read = arena.allocate("muon", dtype, {rows, columns});
  const Tensor a_read = arena.allocate("muon", dtype, {side, side});
  const Tensor b_read = arena.allocate("muon", dtype, {side, side});
  ops.copy(x, update);
  ops.normalize(x, x, kEps);
  for (int i = 0; i < kIterations; ++i) {
    ops.copy(x_read, x);
    if (rows <= columns)
      ops.matmul(a, x_read, x_read.transposed());
    else
      ops.matmul(a, x_read.transposed(), x_read);
    ops.copy(a_read, a);
    ops.matmul(b, a_read, a_read);
    ops.axpby(b, kB, a, kC);
    ops.copy(b_read, b);
    ops.axpby(x, 0, x, kA);
    if (rows <= columns)
      ops.matmul(x, b_read, x_read, /*accumulate=*/true);
    else
      ops.matmul(x, x_read, b_read, /*accumulate=*/true);
  }
  return x;
}

}  // namespace

OptimizerEntry muon_entry() {
  return {"muon", "momentum made orthogonal by Newton-Schulz; AdamW for embeddings, biases, norms",
          "Jordan et al. 2024, kellerjordan.github.io/posts/muon",
          [](const OptimizerConfig& config) -> std::unique_ptr<Optimizer> {
            return std::make_unique<Muon>(config);
          }};
}

}  // namespace strobe
