// The CUDA backend: products through cuBLASLt (gemm.h), own kernels for everything else, one
// stream.
//
// Each family of ops is a header of plain functions, to which this class forwards. What all of them
// share (stream, StepState, scratch memory) is the Device.
#pragma once

#include <memory>
#include <string>

#include "strobe/cuda/device.h"
#include "strobe/cuda/gemm.h"
#include "strobe/cuda/replay.h"
#include "strobe/cuda/staging.h"

namespace strobe {

class CudaBackend final : public Backend {
 public:
  /// Takes the GPU that the CUDA runtime calls the first. Throws Error where it cannot be used.
  /// `architectures`: what machine code the library holds, for people.
  CudaBackend(const BackendOptions& options, std::string architectures);
  ~CudaBackend() override;

  DeviceInfo info() const override;
  void* allocate(int64_t bytes) override;
  void release(void* memory) override;
  void upload(Tensor dst, const void* src) override;
  void download(void* dst, Tensor src) override;
  int64_t start_download(Tensor src) override;
  StepState finish_download(int64_t ticket, void* dst) override;
  void set_step_state(const StepState& state) override;
  void set_step_input(const StepInput& input) override;
  StepState step_state() override;

  void replay(std::string_view key, const std::function<void()>& body) override;
  double seconds(std::string_view name, const std::function<void()>& body) override;
  double busy_share(const std::function<void()>& body) override;
  void synchronize() override;
  std::string gemm_plans() const override { return gemm_.plans(); }
  void set_gemm_plans(const std::string& plans) override { gemm_.set_plans(plans); }

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
  int64_t logit_rows() const override { return 4096; }
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
  DType direction_dtype(DType dtype) const override { return dtype; }
  void momenta(Tensor u, std::span<const UpdateTarget> targets, float beta, bool nesterov) override;
  void scale_each_by_moments(Tensor u, std::span<const UpdateTarget> targets,
                             const MomentScaling& op) override;
  void apply_updates(std::span<const UpdateTarget> targets, Tensor u) override;

 private:
  std::string architectures_;
  bool graphs_;
  cuda::Device device_;
  cuda::Gemm gemm_;
  cuda::Staging staging_;
  cuda::Replays replays_;
};

}  // namespace strobe
