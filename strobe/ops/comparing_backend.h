// A backend that runs every op on two others and names the first one on which they differ.
//
// What the first computes is what counts: it is copied to the second after every op, so each op is
// judged by itself, on the operands of a real run.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "strobe/ops/backend.h"

namespace strobe {

class ComparingBackend final : public Backend {
 public:
  /// Both must outlive this. Results may differ by `rounding` times the largest element: with bf16
  /// operands or outputs by `rounding_bf16`.
  ComparingBackend(Backend& first, Backend& second, double rounding, double rounding_bf16)
      : first_(first), second_(second), rounding_(rounding), rounding_bf16_(rounding_bf16) {}

  /// "matmul, call 3: bf16 (4, 5): ..."; "" while there is none.
  const std::string& first_difference() const { return difference_; }
  /// The largest difference of each op so far, as a share of its result's largest element.
  const std::map<std::string, double>& largest_differences() const { return largest_; }

  DeviceInfo info() const override { return first_.info(); }
  void* allocate(int64_t bytes) override;
  void release(void* memory) override;
  void upload(Tensor dst, const void* src) override;
  void download(void* dst, Tensor src) override { first_.download(dst, src); }
  int64_t start_download(Tensor src) override { return first_.start_download(src); }
  StepState finish_download(int64_t ticket, void* dst) override {
    return first_.finish_download(ticket, dst);
  }
  void set_step_state(const StepState& state) override;
  void set_step_input(const StepInput& input) override;
  StepState step_state() override { return first_.step_state(); }

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
  void attention_forward(Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k, Tensor v,
                         const AttentionOp& op, Tensor workspace) override;
  void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q, Tensor k, Tensor v,
                          Tensor o, Tensor lse, Tensor saved, const AttentionOp& op,
                          Tensor workspace) override;
  void cross_entropy(Tensor losses, Tensor dlogits, Tensor logits, Tensor targets,
                     const CrossEntropy& op) override;
  void squared_error(Tensor losses, Tensor dx, Tensor x, Tensor targets) override;
  void sum(Tensor out, Tensor x) override;
  void grad_norm(std::span<const Tensor> grads, float max_norm) override;
  void update(const UpdateRule& rule, std::span<const UpdateTarget> targets) override;
  void momentum(Tensor u, Tensor m, Tensor grad, float beta, bool nesterov) override;
  void normalize(Tensor y, Tensor x, float eps) override;
  void clamp(Tensor x, float limit) override;
  void scale_by_moments(Tensor u, Tensor rows, Tensor columns, Tensor x,
                        const MomentScaling& op) override;
  void orthogonalize(Tensor x, float scale, DType dtype, Tensor workspace) override;
  int64_t orthogonalize_workspace_bytes(int64_t n, int64_t rows, int64_t columns,
                                        DType dtype) const override;
  void apply_update(const UpdateTarget& target, Tensor u) override;
  DType direction_dtype(DType dtype) const override;
  void momenta(Tensor u, std::span<const UpdateTarget> targets, float beta, bool nesterov) override;
  void scale_each_by_moments(Tensor u, std::span<const UpdateTarget> targets,
                             const MomentScaling& op) override;
  void apply_updates(std::span<const UpdateTarget> targets, Tensor u) override;
  std::string attention_unsupported(AttentionAlgorithm algorithm, const AttentionShape& shape,
                                    DType dtype) const override;
  int64_t attention_saved_bytes(AttentionAlgorithm algorithm, const AttentionShape& shape,
                                DType dtype) const override;
  int64_t attention_workspace_bytes(AttentionAlgorithm algorithm, const AttentionShape& shape,
                                    DType dtype, bool backward) const override;

 private:
  /// Where an operand lies in the backend at hand.
  struct Place {
    const ComparingBackend* owner;
    bool second;
    Tensor operator()(Tensor x) const { return second ? owner->moved(x) : x; }
    AttentionOp operator()(AttentionOp op) const;
    UpdateTarget operator()(UpdateTarget target) const;
    std::vector<UpdateTarget> operator()(std::span<const UpdateTarget> targets) const;
    std::vector<EmbeddingTable> operator()(std::span<const EmbeddingTable> tables) const;
  };
  template <class Op>
  void both(const std::string& name, std::initializer_list<Tensor> outputs, const Op& op);
  Tensor moved(Tensor x) const;
  void compare(const std::string& name, Tensor output);
  void compare_states(const std::string& name);

  struct Twin {
    int64_t bytes;
    void* memory;  // of the second
  };
  Backend &first_, &second_;
  double rounding_, rounding_bf16_;
  std::map<char*, Twin> twins_;  // by the first's address
  std::string difference_;
  std::map<std::string, double> largest_;
  std::map<std::string, int64_t> calls_;
};

}  // namespace strobe
