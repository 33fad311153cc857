// What the planning and the profiling backend share: a decorator that knows what each op costs.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "strobe/ops/backend.h"

namespace strobe {

/// What one call of an op is made of: the multiplications and additions of its products (attention
/// counts as ops/attention.h says; elementwise arithmetic, which memory hides, is left out), and
/// the bytes of its operands, each read or written once.
struct OpCost {
  double flops = 0, bytes = 0;
};

struct OpTotal {
  int64_t calls = 0;
  double flops = 0, bytes = 0;
  double seconds = 0;  // wall clock; only a profiling backend knows
};

using OpTotals = std::map<std::string, OpTotal>;  // by the op's name in ops/backend.h

/// The sum over all ops.
OpTotal total_of(const OpTotals& ops);

/// Forwards every question to `real`, and every op to run().
class CountingBackend : public Backend {
 public:
  explicit CountingBackend(Backend& real) : real_(real) {}

  const OpTotals& ops() const { return totals_; }
  void reset() { totals_.clear(); }

  DeviceInfo info() const override { return real_.info(); }
  void synchronize() override { real_.synchronize(); }
  std::string gemm_plans() const override { return real_.gemm_plans(); }
  void set_gemm_plans(const std::string& plans) override { real_.set_gemm_plans(plans); }
  int64_t logit_rows() const override { return real_.logit_rows(); }

  void fill(Tensor y, float value) override;
  void copy(Tensor y, Tensor x) override;
  void axpby(Tensor y, float a, Tensor x, float b) override;
  void dropout(Tensor y, Tensor x, Dropout dropout) override;
  void add_dropout(Tensor y, Tensor a, Tensor b, Dropout dropout) override;
  void gelu_forward(Tensor y, Tensor x, Gelu kind) override;
  void gelu_backward(Tensor dx, Tensor dy, Tensor x, Gelu kind) override;
  void tanh_forward(Tensor y, Tensor x) override;
  void tanh_backward(Tensor dx, Tensor dy, Tensor y) override;
  void matmul(Tensor c, Tensor a, Tensor b, bool accumulate) override;
  void bias_forward(Tensor y, Tensor bias) override;
  void bias_backward(Tensor dbias, Tensor dy) override;
  void linear_forward(Tensor y, Tensor x, Tensor w, Tensor bias) override;
  void linear_backward(Tensor dx, Tensor dw, Tensor dbias, Tensor dy, Tensor x, Tensor w) override;
  void linear_gelu_forward(Tensor y, Tensor pre, Tensor x, Tensor w, Tensor bias,
                           Gelu kind) override;
  void gelu_linear_backward(Tensor dpre, Tensor dw, Tensor dbias, Tensor dpre_bias, Tensor dy,
                            Tensor x, Tensor pre, Tensor w, Gelu kind, bool recompute) override;
  void layernorm_forward(Tensor y, Tensor mean, Tensor rstd, Tensor x, Tensor weight, Tensor bias,
                         float eps) override;
  void layernorm_backward(Tensor dx, Tensor dweight, Tensor dbias, Tensor dy, Tensor x,
                          Tensor weight, Tensor mean, Tensor rstd, Tensor dresidual,
                          const NormAgain& again) override;
  void add_layernorm_forward(Tensor sum, Tensor y, Tensor mean, Tensor rstd, Tensor residual,
                             Tensor branch, Tensor weight, Tensor bias, float eps,
                             Dropout dropout) override;
  void add_layernorm_backward(Tensor dresidual, Tensor dbranch, Tensor dweight, Tensor dbias,
                              Tensor branch_bias, Tensor dy, Tensor dsum, Tensor sum, Tensor weight,
                              Tensor mean, Tensor rstd, Dropout dropout, NormPlace place,
                              const NormAgain& again) override;
  void embedding_forward(Tensor y, std::span<const EmbeddingTable> tables) override;
  void embedding_backward(Tensor dtable, Tensor dy, Tensor ids) override;
  std::string attention_unsupported(AttentionAlgorithm algorithm, const AttentionShape& shape,
                                    DType dtype) const override;
  int64_t attention_saved_bytes(AttentionAlgorithm algorithm, const AttentionShape& shape,
                                DType dtype) const override;
  int64_t attention_workspace_bytes(AttentionAlgorithm algorithm, const AttentionShape& shape,
                                    DType dtype, bool backward) const override;
  void attention_forward(Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k, Tensor v,
                         const AttentionOp& op, Tensor workspace) override;
  void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q, Tensor k, Tensor v,
                          Tensor o, Tensor lse, Tensor saved, const AttentionOp& op,
                          Tensor workspace) override;
  void cross_entropy(Tensor losses, Tensor dlogits, Tensor logits, Tensor targets,
                     const CrossEntropy& op) override;
  void squared_error(Tensor losses, Tensor dx, Tensor x, Tensor targets) override;
  void linear_cross_entropy(Tensor losses, Tensor dx, Tensor dw, Tensor dbias, Tensor x, Tensor w,
                            Tensor bias, Tensor targets, const CrossEntropy& op,
                            Tensor workspace) override;
  int64_t linear_cross_entropy_workspace_bytes(int64_t rows, int64_t channels, int64_t vocab,
                                               DType dtype) const override;
  void sum(Tensor out, Tensor x) override;
  void clamp(Tensor x, float limit) override;
  void grad_norm(std::span<const Tensor> grads, float max_norm) override;
  void update(const UpdateRule& rule, std::span<const UpdateTarget> targets) override;
  void momentum(Tensor u, Tensor m, Tensor grad, float beta, bool nesterov) override;
  void normalize(Tensor y, Tensor x, float eps) override;
  void scale_by_moments(Tensor u, Tensor rows, Tensor columns, Tensor x,
                        const MomentScaling& op) override;
  void orthogonalize(Tensor x, float scale, DType dtype, Tensor workspace) override;
  int64_t orthogonalize_workspace_bytes(int64_t n, int64_t rows, int64_t columns,
                                        DType dtype) const override;
  void apply_update(const UpdateTarget& target, Tensor u) override;
  DType direction_dtype(DType dtype) const override { return real_.direction_dtype(dtype); }
  void momenta(Tensor u, std::span<const UpdateTarget> targets, float beta, bool nesterov) override;
  void scale_each_by_moments(Tensor u, std::span<const UpdateTarget> targets,
                             const MomentScaling& op) override;
  void apply_updates(std::span<const UpdateTarget> targets, Tensor u) override;

 protected:
  /// Does what the decorator is for: execute() runs the op on the real backend.
  virtual void run(const std::string& name, OpTotal& total,
                   const std::function<void()>& execute) = 0;

  Backend& real_;

 private:
  void count(const std::string& name, OpCost cost, const std::function<void()>& execute);

  OpTotals totals_;
};

}  // namespace strobe
