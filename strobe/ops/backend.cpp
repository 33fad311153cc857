// The compositions behind the fused ops, and the choice of attention.
#include "strobe/ops/backend.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "strobe/core/arena.h"
#include "strobe/core/error.h"
#include "strobe/core/round_up.h"
#include "strobe/ops/newton_schulz.h"

namespace strobe {

void Backend::replay(std::string_view, const std::function<void()>& body) { body(); }

double Backend::seconds(std::string_view, const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double Backend::busy_share(const std::function<void()>&) {
  return std::numeric_limits<double>::quiet_NaN();
}

void Backend::linear_forward(Tensor y, Tensor x, Tensor w, Tensor bias) {
  matmul(y, x, w);
  if (bias) bias_forward(y, bias);
}

void Backend::linear_backward(Tensor dx, Tensor dw, Tensor dbias, Tensor dy, Tensor x, Tensor w) {
  if (dbias) bias_backward(dbias, dy);
  if (dw) matmul(dw, x.transposed(), dy, /*accumulate=*/true);
  if (dx) matmul(dx, dy, w.transposed());
}

void Backend::linear_gelu_forward(Tensor y, Tensor pre, Tensor x, Tensor w, Tensor bias,
                                  Gelu kind) {
  linear_forward(pre, x, w, bias);
  gelu_forward(y, pre, kind);
}

void Backend::gelu_linear_backward(Tensor dpre, Tensor dw, Tensor dbias, Tensor dpre_bias,
                                   Tensor dy, Tensor x, Tensor pre, Tensor w, Gelu kind,
                                   bool recompute) {
  if (recompute) gelu_forward(x, pre, kind);
  linear_backward(dpre, dw, dbias, dy, x, w);
  gelu_backward(dpre, dpre, pre, kind);
  if (dpre_bias) bias_backward(dpre_bias, dpre);
}

void Backend::add_layernorm_forward(Tensor sum, Tensor y, Tensor mean, Tensor rstd, Tensor residual,
                                    Tensor branch, Tensor weight, Tensor bias, float eps,
                                    Dropout dropout) {
  add_dropout(sum, residual, branch, dropout);
  layernorm_forward(y, mean, rstd, sum, weight, bias, eps);
}

void Backend::add_layernorm_backward(Tensor dresidual, Tensor dbranch, Tensor dweight, Tensor dbias,
                                     Tensor branch_bias, Tensor dy, Tensor dsum, Tensor sum,
                                     Tensor weight, Tensor mean, Tensor rstd, Dropout drop,
                                     NormPlace place, const NormAgain& again) {
  if (place == NormPlace::post && dsum) {
    add_dropout(dresidual, dy, dsum, {});
    dy = dresidual, dsum = Tensor{};
  }
  layernorm_backward(dresidual, dweight, dbias, dy, sum, weight, mean, rstd, dsum, again);
  if (drop.p > 0)
    dropout(dbranch, dresidual, drop);
  else if (dbranch.data != dresidual.data)
    copy(dbranch, dresidual);
  if (branch_bias) bias_backward(branch_bias, dbranch);
}

AttentionAlgorithm Backend::choose_attention(AttentionAlgorithm asked, const AttentionShape& shape,
                                             DType dtype) const {
  using enum AttentionAlgorithm;
  if (asked == automatic && shape.fp8) asked = flash3;  // no other has it
  if (asked != automatic) {
    const std::string reason = attention_unsupported(asked, shape, dtype);
    if (!reason.empty()) fail("attention: {}", reason);
    return asked;
  }
  for (const AttentionAlgorithm algorithm : {flash3, flash2, flash1})
    if (attention_unsupported(algorithm, shape, dtype).empty()) return algorithm;
  return naive;
}

int64_t Backend::linear_cross_entropy_workspace_bytes(int64_t rows, int64_t, int64_t vocab,
                                                      DType dtype) const {
  return std::min(rows, logit_rows()) * vocab * size_of(dtype);
}

void Backend::linear_cross_entropy(Tensor losses, Tensor dx, Tensor dw, Tensor dbias, Tensor x,
                                   Tensor w, Tensor bias, Tensor targets, const CrossEntropy& op,
                                   Tensor workspace) {
  const int64_t rows = logit_rows();
  for (int64_t begin = 0; begin < x.dim(0); begin += rows) {
    const int64_t end = std::min(begin + rows, x.dim(0));
    const Tensor logits(workspace.data, x.dtype, {end - begin, w.dim(0)});
    matmul(logits, x.rows(begin, end), w.transposed());
    if (bias) bias_forward(logits, bias);
    cross_entropy(losses.rows(begin, end), dx ? logits : Tensor{}, logits, targets.rows(begin, end),
                  op);
    if (!dx) continue;
    if (dbias) bias_backward(dbias, logits);
    matmul(dw, logits.transposed(), x.rows(begin, end), /*accumulate=*/true);
    matmul(dx.rows(begin, end), logits, w);
  }
}

namespace {

Tensor matrix_of(Tensor all, size_t i) {
  const auto at = static_cast<int64_t>(i);
  return all.rows(at, at + 1).reshape({all.dim(1), all.dim(2)});
}

}  // namespace

void Backend::momenta(Tensor u, std::span<const UpdateTarget> targets, float beta, bool nesterov) {
  for (size_t i = 0; i < targets.size(); ++i)
    momentum(matrix_of(u, i), targets[i].state0, targets[i].grad, beta, nesterov);
}

void Backend::scale_each_by_moments(Tensor u, std::span<const UpdateTarget> targets,
                                    const MomentScaling& op) {
  for (size_t i = 0; i < targets.size(); ++i)
    scale_by_moments(matrix_of(u, i), {}, targets[i].state1, matrix_of(u, i), op);
}

void Backend::apply_updates(std::span<const UpdateTarget> targets, Tensor u) {
  for (size_t i = 0; i < targets.size(); ++i) apply_update(targets[i], matrix_of(u, i));
}

namespace {

using namespace newton_schulz;

// Copies that products read and may not overwrite, over a workspace.
struct NewtonSchulz {
  Tensor a, b, x_read, a_read, b_read;
  int64_t bytes = 0;

  NewtonSchulz(char* memory, int64_t rows, int64_t columns, DType dtype) {
    const int64_t side = std::min(rows, columns);
    const auto take = [&](DType type, int64_t m, int64_t n) {
      const Tensor out(memory ? memory + bytes : nullptr, type, {m, n});
      bytes += round_up(out.bytes(), Arena::kAlignment);
      return out;
    };
    a = take(DType::f32, side, side), b = take(DType::f32, side, side);
    x_read = take(dtype, rows, columns);
    a_read = take(dtype, side, side), b_read = take(dtype, side, side);
  }
};

}  // namespace

int64_t Backend::orthogonalize_workspace_bytes(int64_t, int64_t rows, int64_t columns,
                                               DType dtype) const {
  return NewtonSchulz(nullptr, rows, columns, dtype).bytes;
}

void Backend::orthogonalize(Tensor all, float scale, DType dtype, Tensor workspace) {
  const int64_t rows = all.dim(1), columns = all.dim(2);
  const NewtonSchulz t(workspace.as<char>(), rows, columns, dtype);
  for (int64_t i = 0; i < all.dim(0); ++i) {
    const Tensor x(all.as<float>() + i * rows * columns, DType::f32, {rows, columns});
    normalize(x, x, kNormEps);
    for (int k = 0; k < kIterations; ++k) {
      copy(t.x_read, x);
      if (rows <= columns)
        matmul(t.a, t.x_read, t.x_read.transposed());
      else
        matmul(t.a, t.x_read.transposed(), t.x_read);
      copy(t.a_read, t.a);
      matmul(t.b, t.a_read, t.a_read);
      axpby(t.b, kB, t.a, kC);
      copy(t.b_read, t.b);
      axpby(x, 0, x, kA);
      if (rows <= columns)
        matmul(x, t.b_read, t.x_read, /*accumulate=*/true);
      else
        matmul(x, t.x_read, t.b_read, /*accumulate=*/true);
    }
    axpby(x, 0, x, scale);
  }
}

}  // namespace strobe
