// The ops: each forwards to its family's function.
#include "strobe/cuda/attention.h"
#include "strobe/cuda/cuda_backend.h"
#include "strobe/cuda/elementwise.h"
#include "strobe/cuda/embedding_loss.h"
#include "strobe/cuda/linear_cross_entropy.h"
#include "strobe/cuda/normalisation.h"
#include "strobe/cuda/products.h"
#include "strobe/cuda/update.h"

namespace strobe {

void CudaBackend::fill(Tensor y, float value) { cuda::fill(device_, y, value); }

void CudaBackend::copy(Tensor y, Tensor x) { cuda::copy(device_, y, x); }

void CudaBackend::axpby(Tensor y, float a, Tensor x, float b) { cuda::axpby(device_, y, a, x, b); }

void CudaBackend::dropout(Tensor y, Tensor x, Dropout dropout) {
  cuda::dropout(device_, y, x, dropout);
}

void CudaBackend::add_dropout(Tensor y, Tensor a, Tensor b, Dropout dropout) {
  cuda::add_dropout(device_, y, a, b, dropout);
}

void CudaBackend::gelu_forward(Tensor y, Tensor x, Gelu kind) {
  cuda::gelu_forward(device_, y, x, kind);
}

void CudaBackend::gelu_backward(Tensor dx, Tensor dy, Tensor x, Gelu kind) {
  cuda::gelu_backward(device_, dx, dy, x, kind);
}

void CudaBackend::tanh_forward(Tensor y, Tensor x) { cuda::tanh_forward(device_, y, x); }

void CudaBackend::tanh_backward(Tensor dx, Tensor dy, Tensor y) {
  cuda::tanh_backward(device_, dx, dy, y);
}

void CudaBackend::matmul(Tensor c, Tensor a, Tensor b, bool accumulate) {
  cuda::matmul(device_, c, a, b, accumulate);
}

void CudaBackend::bias_forward(Tensor y, Tensor bias) { cuda::bias_forward(device_, y, bias); }

void CudaBackend::bias_backward(Tensor dbias, Tensor dy) {
  cuda::bias_backward(device_, dbias, dy);
}

void CudaBackend::linear_forward(Tensor y, Tensor x, Tensor w, Tensor bias) {
  cuda::linear_forward(device_, y, x, w, bias);
}

void CudaBackend::linear_backward(Tensor dx, Tensor dw, Tensor dbias, Tensor dy, Tensor x,
                                  Tensor w) {
  cuda::linear_backward(device_, dx, dw, dbias, dy, x, w);
}

void CudaBackend::linear_gelu_forward(Tensor y, Tensor pre, Tensor x, Tensor w, Tensor bias,
                                      Gelu kind) {
  cuda::linear_gelu_forward(device_, y, pre, x, w, bias, kind);
}

void CudaBackend::gelu_linear_backward(Tensor dpre, Tensor dw, Tensor dbias, Tensor dpre_bias,
                                       Tensor dy, Tensor x, Tensor pre, Tensor w, Gelu kind,
                                       bool recompute) {
  cuda::gelu_linear_backward(device_, dpre, dw, dbias, dpre_bias, dy, x, pre, w, kind, recompute);
}

void CudaBackend::layernorm_forward(Tensor y, Tensor mean, Tensor rstd, Tensor x, Tensor weight,
                                    Tensor bias, float eps) {
  cuda::layernorm_forward(device_, y, mean, rstd, x, weight, bias, eps);
}

void CudaBackend::layernorm_backward(Tensor dx, Tensor dweight, Tensor dbias, Tensor dy, Tensor x,
                                     Tensor weight, Tensor mean, Tensor rstd, Tensor dresidual,
                                     const NormAgain& again) {
  cuda::layernorm_backward(device_, dx, dweight, dbias, dy, x, weight, mean, rstd, dresidual,
                           again);
}

void CudaBackend::add_layernorm_forward(Tensor sum, Tensor y, Tensor mean, Tensor rstd,
                                        Tensor residual, Tensor branch, Tensor weight, Tensor bias,
                                        float eps, Dropout dropout) {
  cuda::add_layernorm_forward(device_, sum, y, mean, rstd, residual, branch, weight, bias, eps,
                              dropout);
}

void CudaBackend::add_layernorm_backward(Tensor dresidual, Tensor dbranch, Tensor dweight,
                                         Tensor dbias, Tensor branch_bias, Tensor dy, Tensor dsum,
                                         Tensor sum, Tensor weight, Tensor mean, Tensor rstd,
                                         Dropout dropout, const NormAgain& again, NormPlace place) {
  cuda::add_layernorm_backward(device_, dresidual, dbranch, dweight, dbias, branch_bias, dy, dsum,
                               sum, weight, mean, rstd, dropout, again, place);
}

void CudaBackend::embedding_forward(Tensor y, std::span<const EmbeddingTable> tables) {
  cuda::embedding_forward(device_, y, tables);
}

void CudaBackend::embedding_backward(Tensor dtable, Tensor dy, Tensor ids) {
  cuda::embedding_backward(device_, dtable, dy, ids);
}

std::string CudaBackend::attention_unsupported(AttentionAlgorithm algorithm,
                                               const AttentionShape& shape, DType dtype) const {
  return cuda::attention_unsupported(device_, algorithm, shape, dtype);
}

int64_t CudaBackend::attention_saved_bytes(AttentionAlgorithm algorithm,
                                           const AttentionShape& shape, DType dtype) const {
  return cuda::attention_saved_bytes(device_, algorithm, shape, dtype);
}

int64_t CudaBackend::attention_workspace_bytes(AttentionAlgorithm algorithm,
                                               const AttentionShape& shape, DType dtype,
                                               bool backward) const {
  return cuda::attention_workspace_bytes(device_, algorithm, shape, dtype, backward);
}

void CudaBackend::attention_forward(Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k,
                                    Tensor v, const AttentionOp& op, Tensor workspace) {
  cuda::attention_forward(device_, o, lse, saved, q, k, v, op, workspace);
}

void CudaBackend::attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q,
                                     Tensor k, Tensor v, Tensor o, Tensor lse, Tensor saved,
                                     const AttentionOp& op, Tensor workspace) {
  cuda::attention_backward(device_, dq, dk, dv, d_o, q, k, v, o, lse, saved, op, workspace);
}

void CudaBackend::cross_entropy(Tensor losses, Tensor dlogits, Tensor logits, Tensor targets,
                                const CrossEntropy& op) {
  cuda::cross_entropy(device_, losses, dlogits, logits, targets, op);
}

void CudaBackend::squared_error(Tensor losses, Tensor dx, Tensor x, Tensor targets) {
  cuda::squared_error(device_, losses, dx, x, targets);
}

void CudaBackend::linear_cross_entropy(Tensor losses, Tensor dx, Tensor dw, Tensor dbias, Tensor x,
                                       Tensor w, Tensor bias, Tensor targets,
                                       const CrossEntropy& op, Tensor workspace) {
  const bool plain = op.label_smoothing == 0 && op.z_loss == 0;
  if (!plain || !cuda::linear_cross_entropy(device_, losses, dx, dw, dbias, x, w, bias, targets, op,
                                            workspace, logit_rows()))
    Backend::linear_cross_entropy(losses, dx, dw, dbias, x, w, bias, targets, op, workspace);
}

void CudaBackend::sum(Tensor out, Tensor x) { cuda::sum(device_, out, x); }

void CudaBackend::grad_norm(std::span<const Tensor> grads, float max_norm) {
  cuda::grad_norm(device_, grads, max_norm);
}

void CudaBackend::update(const UpdateRule& rule, std::span<const UpdateTarget> targets) {
  cuda::update(device_, rule, targets);
}

void CudaBackend::momentum(Tensor u, Tensor m, Tensor grad, float beta, bool nesterov) {
  cuda::momentum(device_, u, m, grad, beta, nesterov);
}

void CudaBackend::normalize(Tensor y, Tensor x, float eps) { cuda::normalize(device_, y, x, eps); }

void CudaBackend::clamp(Tensor x, float limit) { cuda::clamp(device_, x, limit); }

void CudaBackend::scale_by_moments(Tensor u, Tensor rows, Tensor columns, Tensor x,
                                   const MomentScaling& op) {
  cuda::scale_by_moments(device_, u, rows, columns, x, op);
}

void CudaBackend::orthogonalize(Tensor x, float scale, DType dtype, Tensor workspace) {
  cuda::orthogonalize(device_, x, scale, dtype, workspace);
}

int64_t CudaBackend::orthogonalize_workspace_bytes(int64_t n, int64_t rows, int64_t columns,
                                                   DType dtype) const {
  return cuda::orthogonalize_workspace_bytes(n, rows, columns, dtype);
}

void CudaBackend::apply_update(const UpdateTarget& target, Tensor u) {
  cuda::apply_update(device_, target, u);
}

void CudaBackend::momenta(Tensor u, std::span<const UpdateTarget> targets, float beta,
                          bool nesterov) {
  cuda::momenta(device_, u, targets, beta, nesterov);
}

void CudaBackend::scale_each_by_moments(Tensor u, std::span<const UpdateTarget> targets,
                                        const MomentScaling& op) {
  cuda::scale_each_by_moments(device_, u, targets, op);
}

void CudaBackend::apply_updates(std::span<const UpdateTarget> targets, Tensor u) {
  cuda::apply_updates(device_, targets, u);
}

}  // namespace strobe
