// Attention by its formula, one row of scores at a time. A stand-in until the kernels of
// attention.h are in.
#include <cmath>
#include <vector>

#include "strobe/core/threads.h"
#include "strobe/cpu/attention.h"
#include "strobe/ops/dropout_mask.h"

namespace strobe::cpu {

namespace {

float get(const Tensor& x, int64_t i, int64_t h, int64_t d) {
  const int64_t at = i * x.strides[0] + h * x.strides[1] + d * x.strides[2];
  return x.dtype == DType::f32 ? x.as<float>()[at] : to_float(x.as<bf16>()[at]);
}
void put(const Tensor& x, int64_t i, int64_t h, int64_t d, float value) {
  const int64_t at = i * x.strides[0] + h * x.strides[1] + d * x.strides[2];
  if (x.dtype == DType::f32)
    x.as<float>()[at] = value;
  else
    x.as<bf16>()[at] = to_bf16(value);
}

struct Range {
  int64_t q0, nq, k0, nk;
};
Range range_of(const AttentionOp& op, int64_t s) {
  const int32_t *q = op.cu_q.as<int32_t>(), *k = op.cu_k.as<int32_t>();
  return {q[s], q[s + 1] - q[s], k[s], k[s + 1] - k[s]};
}
int64_t visible(const Range& r, bool causal, int64_t i) {
  return causal ? std::max<int64_t>(0, std::min(r.nk, i + 1 + r.nk - r.nq)) : r.nk;
}
float keep(const AttentionOp& op, uint64_t key, int64_t s, int64_t heads, int64_t h, int64_t i,
           int64_t j) {
  if (op.dropout.p <= 0) return 1;
  const auto block = attention_dropout_patch(key, s, heads, h, static_cast<uint32_t>(i / 4),
                                             static_cast<uint32_t>(j / 4));
  return dropout_byte(block, i % 4, j % 4) < op.dropout.keep_of_256() ? op.dropout.scale() : 0;
}
uint64_t key_of(const AttentionOp& op, const StepState& state) {
  return dropout_key(state.seed, state.step, state.micro_step, op.dropout.site);
}

}  // namespace

std::string attention_unsupported(AttentionAlgorithm algorithm, const AttentionShape&, DType) {
  return algorithm == AttentionAlgorithm::flash3 ? "flash3 needs an NVIDIA Hopper GPU" : "";
}
int64_t attention_saved_bytes(AttentionAlgorithm, const AttentionShape&, DType) { return 0; }
int64_t attention_workspace_bytes(AttentionAlgorithm, const AttentionShape&, DType, bool) {
  return 0;
}

void attention_forward(Tensor o, Tensor lse, Tensor, Tensor q, Tensor k, Tensor v,
                       const AttentionOp& op, const StepState& state, Tensor) {
  const int64_t sequences = op.cu_q.dim(0) - 1, heads = q.dim(1), size = q.dim(2);
  const int64_t group = heads / k.dim(1);
  const uint64_t key = key_of(op, state);
  parallel_for(sequences * heads, [&](int64_t task) {
    const int64_t s = task / heads, h = task % heads, hk = h / group;
    const Range r = range_of(op, s);
    std::vector<float> p(r.nk), out(size);
    for (int64_t i = 0; i < r.nq; ++i) {
      const int64_t n = visible(r, op.causal, i);
      float top = -INFINITY, total = 0;
      for (int64_t j = 0; j < n; ++j) {
        float dot = 0;
        for (int64_t d = 0; d < size; ++d) dot += get(q, r.q0 + i, h, d) * get(k, r.k0 + j, hk, d);
        p[j] = dot * op.scale;
        top = std::max(top, p[j]);
      }
      std::fill(out.begin(), out.end(), 0.0f);
      for (int64_t j = 0; j < n; ++j) {
        const float e = std::exp(p[j] - top), kept = e * keep(op, key, s, heads, h, i, j);
        total += e;
        for (int64_t d = 0; d < size; ++d) out[d] += kept * get(v, r.k0 + j, hk, d);
      }
      for (int64_t d = 0; d < size; ++d) put(o, r.q0 + i, h, d, n ? out[d] / total : 0);
      lse.as<float>()[h * q.dim(0) + r.q0 + i] = n ? top + std::log(total) : -INFINITY;
    }
  });
}

void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q, Tensor k, Tensor v,
                        Tensor o, Tensor lse, Tensor, const AttentionOp& op, const StepState& state,
                        Tensor) {
  const int64_t sequences = op.cu_q.dim(0) - 1, heads = q.dim(1), size = q.dim(2);
  const int64_t kv_heads = k.dim(1), group = heads / kv_heads;
  const uint64_t key = key_of(op, state);
  parallel_for(sequences * kv_heads, [&](int64_t task) {
    const int64_t s = task / kv_heads, hk = task % kv_heads;
    const Range r = range_of(op, s);
    std::vector<float> dks(r.nk * size), dvs(r.nk * size), dqs(size);
    for (int64_t h = hk * group; h < (hk + 1) * group; ++h)
      for (int64_t i = 0; i < r.nq; ++i) {
        const int64_t n = visible(r, op.causal, i), row = r.q0 + i;
        float delta = 0;
        for (int64_t d = 0; d < size; ++d) delta += get(d_o, row, h, d) * get(o, row, h, d);
        std::fill(dqs.begin(), dqs.end(), 0.0f);
        for (int64_t j = 0; j < n; ++j) {
          float dot = 0, dp = 0;
          for (int64_t d = 0; d < size; ++d) {
            dot += get(q, row, h, d) * get(k, r.k0 + j, hk, d);
            dp += get(d_o, row, h, d) * get(v, r.k0 + j, hk, d);
          }
          const float p = std::exp(dot * op.scale - lse.as<float>()[h * q.dim(0) + row]);
          const float kept = keep(op, key, s, heads, h, i, j);
          const float ds = p * (dp * kept - delta) * op.scale;
          for (int64_t d = 0; d < size; ++d) {
            dqs[d] += ds * get(k, r.k0 + j, hk, d);
            dks[j * size + d] += ds * get(q, row, h, d);
            dvs[j * size + d] += p * kept * get(d_o, row, h, d);
          }
        }
        for (int64_t d = 0; d < size; ++d) put(dq, row, h, d, dqs[d]);
      }
    for (int64_t j = 0; j < r.nk; ++j)
      for (int64_t d = 0; d < size; ++d) {
        put(dk, r.k0 + j, hk, d, dks[j * size + d]);
        put(dv, r.k0 + j, hk, d, dvs[j * size + d]);
      }
  });
}

}  // namespace strobe::cpu
