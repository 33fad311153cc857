// Standard attention: the products are oneDNN's, single-threaded, a task a head; the softmax is a
// pass over rows between them.
//
// Memory traffic: S, P (and in the backward dP, dS) are written and read whole, O(T^2) bytes a
// head, masked half included. What flash1 takes away.
#include "strobe/cpu/attention_naive.h"

#include <cstring>
#include <dnnl.hpp>
#include <map>

#include "strobe/core/error.h"
#include "strobe/core/round_up.h"
#include "strobe/core/threads.h"
#include "strobe/cpu/attention_dropout.h"
#include "strobe/cpu/gemm.h"
#include "strobe/cpu/isa/attention_softmax.h"
#include "strobe/cpu/isa_select.h"

namespace strobe::cpu {

namespace {

const SoftmaxKernels& kernels(DType dtype) {
  const SoftmaxVariants variants = pick(baseline::softmax_kernels, avx2::softmax_kernels,
                                        avx512::softmax_kernels, avx512_bf16::softmax_kernels)();
  return dtype == DType::f32 ? *variants.f32 : *variants.bf16;
}

dnnl::memory::desc describe(const Tensor& x) {
  return {{x.dim(0), x.dim(1)},
          x.dtype == DType::f32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16,
          dnnl::memory::dims{x.strides[0], x.strides[1]}};
}

/// c = a b, or c += a b, on the calling thread. Primitives are made inside a parallel region, where
/// oneDNN takes one thread, and kept by thread and shape.
void multiply(const Tensor& c, const Tensor& a, const Tensor& b, bool accumulate = false) {
  if (c.numel() == 0) return;
  if (a.dim(1) == 0) {  // an empty sum
    for (int64_t i = 0; i < c.dim(0) && !accumulate; ++i)
      std::memset(c.as<char>() + i * c.strides[0] * size_of(c.dtype), 0,
                  c.dim(1) * size_of(c.dtype));
    return;
  }
  struct Product {
    dnnl::matmul primitive;
    dnnl::memory::desc a, b, c;
  };
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  thread_local dnnl::stream stream(engine);
  thread_local std::map<std::array<int64_t, 12>, Product> products;
  const std::array<int64_t, 12> key = {
      c.dim(0),     c.dim(1),     a.dim(1),     c.strides[0],     c.strides[1],     a.strides[0],
      a.strides[1], b.strides[0], b.strides[1], int64_t(a.dtype), int64_t(c.dtype), accumulate};
  auto found = products.find(key);
  if (found == products.end()) {
    if (products.size() > 256) products.clear();  // lengths vary without end
    dnnl::primitive_attr attributes;
    if (accumulate) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attributes.set_post_ops(sum);
    }
    const dnnl::matmul::desc op(describe(a), describe(b), describe(c));
    const dnnl::matmul::primitive_desc choice(op, attributes, engine, /*allow_empty=*/true);
    if (!choice) return gemm_in_f32(c, a, b, {}, accumulate);
    found =
        products.emplace(key, Product{dnnl::matmul(choice), describe(a), describe(b), describe(c)})
            .first;
  }
  const Product& p = found->second;
  found->second.primitive.execute(stream, {{DNNL_ARG_SRC, dnnl::memory(p.a, engine, a.data)},
                                           {DNNL_ARG_WEIGHTS, dnnl::memory(p.b, engine, b.data)},
                                           {DNNL_ARG_DST, dnnl::memory(p.c, engine, c.data)}});
  stream.wait();
}

/// Elements from row to row of a (T, T) matrix.
int64_t pitch(const AttentionShape& shape) { return round_up(shape.max_k, 32); }

/// Matrices of all heads of all sequences.
int64_t matrix_elements(const AttentionShape& shape) {
  return shape.sequences * shape.heads * shape.max_q * pitch(shape);
}

/// One head of one sequence: its operands as matrices.
struct Head {
  int64_t sequence, head, kv_head, first_q, first_k;
  AttentionHead shape;

  Tensor of(const Tensor& x, bool key_side) const {
    const int64_t first = key_side ? first_k : first_q;
    Tensor y = x.narrow(0, first, key_side ? shape.keys : shape.queries)
                   .narrow(1, key_side ? kv_head : head, 1);
    y.rank = 2;
    y.shape = {y.shape[0], y.shape[2]};
    y.strides = {y.strides[0], y.strides[2]};
    return y;
  }
};

Head head_of(const AttentionShape& shape, const AttentionOp& op, const AttentionDropout& dropout,
             int64_t sequence, int64_t h) {
  const int32_t *cu_q = op.cu_q.as<int32_t>() + sequence, *cu_k = op.cu_k.as<int32_t>() + sequence;
  return {sequence,
          h,
          h / (shape.heads / shape.kv_heads),
          cu_q[0],
          cu_k[0],
          {cu_q[1] - cu_q[0], cu_k[1] - cu_k[0], shape.head_dim, op.causal, op.scale,
           dropout.head(sequence * shape.heads + h)}};
}

/// The head's matrix in `memory`, (queries, keys) of `dtype` with rows `bytes` apart.
Tensor matrix(char* memory, const AttentionShape& shape, const Head& head, DType dtype,
              int64_t row_bytes) {
  const int64_t index = head.sequence * shape.heads + head.head;
  Tensor x(memory + index * shape.max_q * row_bytes, dtype, {head.shape.queries, head.shape.keys});
  x.strides[0] = row_bytes / size_of(dtype);
  return x;
}

/// At least two tasks, so that the region is a parallel one and oneDNN takes one thread.
template <class Body>
void for_each_head(int64_t tasks, const Body& body) {
  parallel_for(std::max<int64_t>(tasks, 2), [&](int64_t i) {
    if (i < tasks) body(i);
  });
}

}  // namespace

int64_t naive_saved_bytes(const AttentionShape& shape, DType dtype) {
  return matrix_elements(shape) * size_of(dtype);
}

int64_t naive_workspace_bytes(const AttentionShape& shape, DType, bool backward) {
  const int64_t scores = matrix_elements(shape) * int64_t{sizeof(float)};
  const bool grouped = shape.heads != shape.kv_heads;
  // Grouped heads add up dK and dV in f32.
  return scores + (backward && grouped ? 2 * shape.kv_heads * shape.total_k * shape.head_dim *
                                             int64_t{sizeof(float)}
                                       : 0);
}

void naive_forward(Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k, Tensor v,
                   const AttentionOp& op, const StepState& state, Tensor workspace) {
  const AttentionShape shape = attention_shape(q, k, op);
  const AttentionDropout dropout(op.dropout, state, shape.max_k);
  const SoftmaxKernels& softmax = kernels(q.dtype);
  const int64_t scores_row = pitch(shape) * 4, p_row = pitch(shape) * size_of(q.dtype);
  for_each_head(shape.sequences * shape.heads, [&](int64_t i) {
    const Head head = head_of(shape, op, dropout, i / shape.heads, i % shape.heads);
    const Tensor s = matrix(workspace.as<char>(), shape, head, DType::f32, scores_row);
    const Tensor pv = matrix(workspace.as<char>(), shape, head, q.dtype, scores_row);
    const Tensor p = saved ? matrix(saved.as<char>(), shape, head, q.dtype, p_row) : pv;
    multiply(s, head.of(q, false), head.of(k, true).transposed());
    softmax.forward({head.shape, 0, head.shape.queries, s.as<char>(), scores_row, p.as<char>(),
                     saved ? p_row : scores_row,
                     lse.as<float>() + head.head * lse.strides[0] + head.first_q});
    multiply(head.of(o, false), head.shape.dropout.on ? pv : p, head.of(v, true));
  });
}

void naive_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q, Tensor k, Tensor v,
                    Tensor saved, const AttentionOp& op, const StepState& state, Tensor workspace) {
  const AttentionShape shape = attention_shape(q, k, op);
  const AttentionDropout dropout(op.dropout, state, shape.max_k);
  const SoftmaxKernels& softmax = kernels(q.dtype);
  const int64_t scores_row = pitch(shape) * 4, p_row = pitch(shape) * size_of(q.dtype);
  const int64_t group = shape.heads / shape.kv_heads;
  float* sums = reinterpret_cast<float*>(workspace.as<char>() +
                                         matrix_elements(shape) * int64_t{sizeof(float)});
  for_each_head(shape.sequences * shape.kv_heads, [&](int64_t i) {
    const int64_t kv = i % shape.kv_heads;
    Head head = head_of(shape, op, dropout, i / shape.kv_heads, kv * group);
    Tensor dk_head = head.of(dk, true), dv_head = head.of(dv, true);
    if (group > 1) {
      float* sum = sums + 2 * (kv * shape.total_k + head.first_k) * shape.head_dim;
      dk_head = Tensor(sum, DType::f32, {head.shape.keys, shape.head_dim});
      dv_head = Tensor(sum + dk_head.numel(), DType::f32, {head.shape.keys, shape.head_dim});
    }
    for (int64_t g = 0; g < group; ++g) {
      head = head_of(shape, op, dropout, i / shape.kv_heads, kv * group + g);
      const Tensor s = matrix(workspace.as<char>(), shape, head, DType::f32, scores_row);
      const Tensor ds = matrix(workspace.as<char>(), shape, head, q.dtype, scores_row);
      const Tensor p = matrix(saved.as<char>(), shape, head, q.dtype, p_row);
      const SoftmaxRows rows{head.shape,   0,          head.shape.queries,
                             s.as<char>(), scores_row, p.as<char>(),
                             p_row,        nullptr};
      const bool drops = head.shape.dropout.on;
      if (drops) softmax.dropped(rows);
      multiply(dv_head, (drops ? ds : p).transposed(), head.of(d_o, false), g > 0);
      multiply(s, head.of(d_o, false), head.of(v, true).transposed());
      softmax.backward(rows);
      multiply(head.of(dq, false), ds, head.of(k, true));
      multiply(dk_head, ds.transposed(), head.of(q, false), g > 0);
    }
    if (group == 1) return;
    const auto convert = [&](const Tensor& to, const Tensor& from) {
      for (int64_t r = 0; r < from.dim(0); ++r)
        for (int64_t d = 0; d < from.dim(1); ++d) {
          const float x = from.as<float>()[r * from.dim(1) + d];
          const int64_t at = r * to.strides[0] + d;
          if (to.dtype == DType::f32)
            to.as<float>()[at] = x;
          else
            to.as<bf16>()[at] = to_bf16(x);
        }
    };
    convert(head.of(dk, true), dk_head);
    convert(head.of(dv, true), dv_head);
  });
}

}  // namespace strobe::cpu
