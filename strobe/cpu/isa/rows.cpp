#include "strobe/cpu/isa/rows.h"

#include "strobe/cpu/isa/loop.h"

namespace strobe::cpu::STROBE_ISA {

namespace {

template <class T>
void layernorm(T* y, float* mean, float* rstd, const T* x, const T* weight, const T* bias,
               float eps, int64_t n) {
  F32 sums{};
  for_lanes(n, [&](int64_t i, auto part) { sums += part.get(x + i); });
  const float m = sum(sums) / static_cast<float>(n);
  F32 squares{};
  for_lanes(n, [&](int64_t i, auto part) {
    const F32 centred = part.mask_or(part.get(x + i) - m, F32{});
    squares += centred * centred;
  });
  const float r = 1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(n) + eps);
  for_lanes(n, [=](int64_t i, auto part) {
    part.put(y + i, (part.get(x + i) - m) * r * part.get(weight + i) + part.get(bias + i));
  });
  *mean = m;
  *rstd = r;
}

// With xhat = (x - mean) rstd and g = dy weight:
// dx = rstd (g - mean(g) - xhat mean(g xhat)).
template <class T>
void layernorm_backward(T* dx, float* dweight, float* dbias, const T* dy, const T* x,
                        const T* weight, float mean, float rstd, const T* dresidual, int64_t n) {
  F32 sum_g{}, sum_gx{};
  for_lanes(n, [&](int64_t i, auto part) {
    const F32 d = part.get(dy + i);
    const F32 xhat = (part.get(x + i) - mean) * rstd;
    const F32 g = d * part.get(weight + i);
    sum_g += g;
    sum_gx += g * xhat;
    part.put(dweight + i, part.get(dweight + i) + d * xhat);
    part.put(dbias + i, part.get(dbias + i) + d);
  });
  const float mean_g = sum(sum_g) / static_cast<float>(n);
  const float mean_gx = sum(sum_gx) / static_cast<float>(n);
  for_lanes(n, [=](int64_t i, auto part) {
    const F32 xhat = (part.get(x + i) - mean) * rstd;
    const F32 g = part.get(dy + i) * part.get(weight + i);
    F32 out = rstd * (g - mean_g - xhat * mean_gx);
    if (dresidual) out += part.get(dresidual + i);
    part.put(dx + i, out);
  });
}

template <class T>
float cross_entropy(T* dlogits, const T* logits, int64_t target, float scale, int64_t vocab,
                    int64_t n, float smoothing, float z_loss) {
  const F32 lowest = broadcast(-3.4028235e38f);
  F32 largest = lowest;
  for_lanes(vocab, [&](int64_t i, auto part) {
    largest = max(largest, part.mask_or(part.get(logits + i), lowest));
  });
  const float top = max(largest);
  F32 total{}, centred{};
  if (smoothing > 0)
    for_lanes(vocab, [&](int64_t i, auto part) {
      centred += part.mask_or(part.get(logits + i) - top, F32{});
    });
  for_lanes(vocab, [&](int64_t i, auto part) {
    total += part.mask_or(exp_nonpositive(part.get(logits + i) - top), F32{});
  });
  const float z = sum(total);
  const float log_z = __builtin_logf(z) + top;  // of all of the softmax's denominator
  const float aimed = scalar(logits[target]) - top;
  if (dlogits) {
    // d/dx_j of the loss: softmax_j (1 + 2 z_loss log_z) - smoothing / vocab, and at the target.
    const float factor = scale * (1.0f + 2.0f * z_loss * log_z) / z;
    const float spread = scale * smoothing / static_cast<float>(vocab);
    for_lanes(vocab, [=](int64_t i, auto part) {
      part.put(dlogits + i, factor * exp_nonpositive(part.get(logits + i) - top) - spread);
    });
    Part{1}.put(dlogits + target,
                factor * exp_nonpositive(broadcast(aimed)) - (spread + scale * (1.0f - smoothing)));
    for_lanes(n - vocab, [=](int64_t i, auto part) { part.put(dlogits + vocab + i, F32{}); });
  }
  const float loss = __builtin_logf(z) - aimed;
  if (smoothing <= 0 && z_loss <= 0) return loss;
  const float mean = smoothing > 0 ? sum(centred) / static_cast<float>(vocab) : 0.0f;
  return __builtin_logf(z) - (1.0f - smoothing) * aimed - smoothing * mean + z_loss * log_z * log_z;
}

template <class T>
constexpr RowKernels<T> row_kernels() {
  return {layernorm<T>, layernorm_backward<T>, cross_entropy<T>};
}

}  // namespace

const Rows rows = {row_kernels<float>(), row_kernels<uint16_t>()};

}  // namespace strobe::cpu::STROBE_ISA
