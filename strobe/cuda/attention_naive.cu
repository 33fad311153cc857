// Standard attention: the library's batched products, and between them a pass over S for the
// softmax. What the FlashAttention papers compare with.
//
// Operands are copied into one contiguous matrix a sequence and head, as long as the longest one.
// S, P and dS are of the operands' type, (sequences, H, Tq, Tk) each, masked half included. Heads
// that share keys lie below each other, so that a product sums their dK and dV.
//
// HBM, bytes a score in bf16   forward S written; S read twice, P written; P read: 8 to 10 (dropout
//         4 more); backward P read for dV, dP written, P and dP read twice, dS written, dS read by
//         two products: 18
// Grid    four rows a thread block
#include <cmath>
#include <utility>

#include "strobe/core/round_up.h"
#include "strobe/cuda/attention_call.h"
#include "strobe/cuda/attention_layout.h"
#include "strobe/cuda/attention_naive.h"
#include "strobe/cuda/attention_pack.h"
#include "strobe/cuda/gemm.h"
#include "strobe/ops/dropout_mask.h"

namespace strobe::cuda {

namespace {

constexpr int kThreads = 128, kRows = 4;
constexpr int64_t kAlign = 256;

/// The shape as the products see it: all sizes multiples of 8, which the library prefers.
AttentionShape padded(AttentionShape shape) {
  shape.max_q = round_up(shape.max_q, 8), shape.max_k = round_up(shape.max_k, 8);
  shape.head_dim = round_up(shape.head_dim, 8);
  return shape;
}
int64_t matrix_bytes(const AttentionShape& padded, DType dtype) {
  return round_up(padded.sequences * padded.heads * padded.max_q * padded.max_k * size_of(dtype),
                  kAlign);
}

/// The softmax's kernels, by rows of (sequence, head).
struct Rows {
  const int *cu_q, *cu_k;
  int heads, max_q;
  int64_t pitch;
  bool causal;
  float scale;
  const StepState* state;
  uint32_t site;
  const uint32_t* dropout_words;
  int keep;
  float keep_scale;
};

__device__ inline float load(const bf16* p) { return to_float(*p); }
__device__ inline float load(const float* p) { return *p; }
__device__ inline void store(bf16* p, float x) { *p = to_bf16(x); }
__device__ inline void store(float* p, float x) { *p = x; }

/// Four neighbouring elements.
template <class T>
struct alignas(4 * sizeof(T)) Four {
  T x[4];
};

template <bool Sum>
__device__ inline void reduce(float (&x)[kRows], float* shared) {
  for (int r = 0; r < kRows; ++r)
    for (int step = 16; step > 0; step /= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, x[r], step);
      x[r] = Sum ? x[r] + other : fmaxf(x[r], other);
    }
  __syncthreads();
  if (threadIdx.x % 32 == 0)
    for (int r = 0; r < kRows; ++r) shared[threadIdx.x / 32 * kRows + r] = x[r];
  __syncthreads();
  for (int r = 0; r < kRows; ++r) {
    float total = shared[r];
    for (int w = 1; w < kThreads / 32; ++w)
      total = Sum ? total + shared[w * kRows + r] : fmaxf(total, shared[w * kRows + r]);
    x[r] = total;
  }
}

/// Where this thread block's rows lie.
struct Place {
  int sequence, head, row, queries;
  int64_t at;  // of the first row, in elements
  AttentionMask mask;
  DroppedNumbers dropped;
  DropoutQuery rows[kRows];

  __device__ explicit Place(const Rows& c)
      : sequence(blockIdx.z), head(blockIdx.y), row(blockIdx.x * kRows) {
    mask = {c.cu_q[sequence + 1] - c.cu_q[sequence], c.cu_k[sequence + 1] - c.cu_k[sequence],
            c.causal};
    at = ((int64_t{sequence} * c.heads + head) * c.max_q + row) * c.pitch;
    queries = least(kRows, c.max_q - row);
    if (c.keep == 256) return;
    dropped = DroppedNumbers::of(c.keep);
    const uint64_t key = dropout_key(c.state->seed, c.state->step, c.state->micro_step, c.site);
    for (int r = 0; r < kRows; ++r)
      rows[r] = attention_dropout_query(key, sequence * c.heads + head, row + r);
  }
  /// Rows and columns beyond the sequence see nothing and are zero.
  __device__ int seen(int r) const { return row + r < mask.queries ? mask.keys_seen(row + r) : 0; }
  /// Bit 4 r + e: whether row r keeps column `column` + e, e = 0 ... 3; `column` a multiple of 4.
  __device__ uint32_t kept(const Rows& c, int column) const {
    if (c.keep == 256) return 0xffffu;
    uint32_t bits = 0;
    for (int e = 0; e < 4; ++e) {
      const uint32_t word = c.dropout_words[attention_dropout_slot((column + e) / 2)];
      for (int r = 0; r < kRows; ++r)
        bits |= (attention_drops(dropped, rows[r], word, e) ? 0u : 1u) << (4 * r + e);
    }
    return bits;
  }
};

/// P = softmax(scale S), in place where p is s; dropped = dropout(P) where there is dropout.
template <class T>
__global__ void __launch_bounds__(kThreads)
    softmax_forward_kernel(T* p, T* dropped, float* lse, int64_t lse_stride, const T* s, Rows c) {
  __shared__ float shared[kThreads / 32 * kRows];
  const Place place(c);
  float most[kRows], sum[kRows];
  for (int r = 0; r < kRows; ++r) most[r] = -INFINITY, sum[r] = 0;
  for (int j = threadIdx.x * 4; j < c.pitch; j += kThreads * 4)
    for (int r = 0; r < place.queries; ++r) {
      const Four<T> x = *reinterpret_cast<const Four<T>*>(s + place.at + r * c.pitch + j);
      for (int e = 0; e < 4; ++e)
        if (j + e < place.seen(r)) most[r] = fmaxf(most[r], load(&x.x[e]) * c.scale);
    }
  reduce<false>(most, shared);
  for (int j = threadIdx.x * 4; j < c.pitch; j += kThreads * 4)
    for (int r = 0; r < place.queries; ++r) {
      const Four<T> x = *reinterpret_cast<const Four<T>*>(s + place.at + r * c.pitch + j);
      for (int e = 0; e < 4; ++e)
        if (j + e < place.seen(r)) sum[r] += expf(load(&x.x[e]) * c.scale - most[r]);
    }
  reduce<true>(sum, shared);
  for (int r = 0; r < place.queries; ++r)
    if (threadIdx.x == r && place.row + r < place.mask.queries)
      lse[place.head * lse_stride + c.cu_q[place.sequence] + place.row + r] =
          place.seen(r) == 0 ? -INFINITY : most[r] + logf(sum[r]);
  for (int j = threadIdx.x * 4; j < c.pitch; j += kThreads * 4) {
    const uint32_t kept = place.kept(c, j);
    for (int r = 0; r < place.queries; ++r) {
      const int64_t at = place.at + r * c.pitch + j;
      const Four<T> x = *reinterpret_cast<const Four<T>*>(s + at);
      Four<T> y, z;
      for (int e = 0; e < 4; ++e) {
        const float value =
            j + e < place.seen(r) ? expf(load(&x.x[e]) * c.scale - most[r]) / sum[r] : 0.0f;
        store(&y.x[e], value);
        if (c.keep < 256)
          store(&z.x[e], kept >> (4 * r + e) & 1 ? load(&y.x[e]) * c.keep_scale : 0.0f);
      }
      if (p) *reinterpret_cast<Four<T>*>(p + at) = y;
      if (c.keep < 256) *reinterpret_cast<Four<T>*>(dropped + at) = z;
    }
  }
}

/// dropped = dropout(P).
template <class T>
__global__ void __launch_bounds__(kThreads) drop_kernel(T* dropped, const T* p, Rows c) {
  const Place place(c);
  for (int j = threadIdx.x * 4; j < c.pitch; j += kThreads * 4) {
    const uint32_t kept = place.kept(c, j);
    for (int r = 0; r < place.queries; ++r) {
      const int64_t at = place.at + r * c.pitch + j;
      Four<T> x = *reinterpret_cast<const Four<T>*>(p + at);
      for (int e = 0; e < 4; ++e)
        store(&x.x[e], kept >> (4 * r + e) & 1 ? load(&x.x[e]) * c.keep_scale : 0.0f);
      *reinterpret_cast<Four<T>*>(dropped + at) = x;
    }
  }
}

/// dS = scale P (dropout(dP) - delta), in place of dP.
template <class T>
__global__ void __launch_bounds__(kThreads) softmax_backward_kernel(T* dp, const T* p, Rows c) {
  __shared__ float shared[kThreads / 32 * kRows];
  const Place place(c);
  float delta[kRows] = {};
  for (int pass = 0; pass < 2; ++pass) {
    for (int j = threadIdx.x * 4; j < c.pitch; j += kThreads * 4) {
      const uint32_t kept = place.kept(c, j);
      for (int r = 0; r < place.queries; ++r) {
        const int64_t at = place.at + r * c.pitch + j;
        const Four<T> x = *reinterpret_cast<const Four<T>*>(p + at);
        Four<T> y = *reinterpret_cast<const Four<T>*>(dp + at);
        for (int e = 0; e < 4; ++e) {
          const bool seen = j + e < place.seen(r);  // elsewhere dP may be anything
          float g = seen ? load(&y.x[e]) : 0.0f;
          if (c.keep < 256) g = kept >> (4 * r + e) & 1 ? g * c.keep_scale : 0.0f;
          if (pass == 0)
            delta[r] += seen ? load(&x.x[e]) * g : 0.0f;
          else
            store(&y.x[e], seen ? c.scale * load(&x.x[e]) * (g - delta[r]) : 0.0f);
        }
        if (pass == 1) *reinterpret_cast<Four<T>*>(dp + at) = y;
      }
    }
    if (pass == 0) reduce<true>(delta, shared);
  }
}

/// One call: the operands by sequence and head, and the products over all of them.
struct Call {
  Call(const Device& device, const Tensor& q, const Tensor& k, const AttentionOp& op,
       const uint32_t* dropout_words, char* workspace)
      : device(device),
        shape(padded(attention_shape(q, k, op))),
        dtype(q.dtype),
        group(shape.heads / shape.kv_heads),
        batch(shape.sequences * shape.kv_heads),
        free(workspace),
        rows{op.cu_q.as<int>(),
             op.cu_k.as<int>(),
             static_cast<int>(shape.heads),
             static_cast<int>(shape.max_q),
             shape.max_k,
             op.causal,
             op.scale,
             device.state,
             op.dropout.site,
             dropout_words,
             op.dropout.keep_of_256(),
             op.dropout.scale()},
        query_layout{rows.cu_q, shape.sequences, shape.kv_heads,
                     group,     shape.max_q,     shape.head_dim},
        key_layout{rows.cu_k, shape.sequences, shape.kv_heads, 1, shape.max_k, shape.head_dim} {}

  char* take(int64_t bytes) { return std::exchange(free, free + round_up(bytes, kAlign)); }
  /// Matrices of all batches, contiguous: queries or keys by D, or scores.
  Tensor queries() {
    return {take(batch * group * shape.max_q * shape.head_dim * size_of(dtype)),
            dtype,
            {group * shape.max_q, shape.head_dim}};
  }
  Tensor keys() {
    return {take(batch * shape.max_k * shape.head_dim * size_of(dtype)),
            dtype,
            {shape.max_k, shape.head_dim}};
  }
  Tensor scores(void* data) const { return {data, dtype, {group * shape.max_q, shape.max_k}}; }
  Tensor queries(const Tensor& x) {
    const Tensor y = queries();
    to_sequences(device, y.data, x, query_layout);
    return y;
  }
  Tensor keys(const Tensor& x) {
    const Tensor y = keys();
    to_sequences(device, y.data, x, key_layout);
    return y;
  }
  void multiply(const Tensor& c, const Tensor& a, const Tensor& b) const {
    const auto stride = [](const Tensor& x) {  // from one matrix to the next
      return x.strides[1] == 1 ? x.dim(0) * x.strides[0] : x.dim(1) * x.strides[1];
    };
    Product product{.c = c, .a = a, .b = b};
    product.batch = batch, product.c_stride = stride(c);
    product.a_stride = stride(a), product.b_stride = stride(b);
    device.gemm->run(device, product);
  }
  dim3 grid() const {
    return dim3(static_cast<unsigned>(ceil_div(shape.max_q, int64_t{kRows})),
                static_cast<unsigned>(shape.heads), static_cast<unsigned>(shape.sequences));
  }
  bool nothing() const { return batch == 0 || shape.max_q == 0; }

  const Device& device;
  AttentionShape shape;
  DType dtype;
  int64_t group, batch;
  char* free;
  Rows rows;
  SequenceLayout query_layout, key_layout;
};

template <class T>
void forward(Call& call, Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k, Tensor v) {
  const Tensor qs = call.queries(q), ks = call.keys(k), vs = call.keys(v), os = call.queries();
  void* const matrix = call.take(matrix_bytes(call.shape, call.dtype));
  const Tensor s = call.scores(saved ? saved.data : matrix);
  const bool drop = call.rows.keep < 256;
  const Tensor p = drop ? call.scores(matrix) : s;
  if (call.shape.max_k > 0) call.multiply(s, qs, ks.transposed());
  softmax_forward_kernel<T><<<call.grid(), kThreads, 0, call.device.stream>>>(
      drop && !saved ? nullptr : s.as<T>(), p.as<T>(), lse.as<float>(), lse.strides[0], s.as<T>(),
      call.rows);
  check_launch("attention forward");
  if (call.shape.max_k > 0)
    call.multiply(os, p, vs);
  else
    check_cuda(cudaMemsetAsync(os.data, 0, call.batch * os.numel() * sizeof(T), call.device.stream),
               "attention forward");
  from_sequences(call.device, o, os.data, call.query_layout);
}

template <class T>
void backward(Call& call, Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q, Tensor k, Tensor v,
              Tensor saved) {
  const Device& device = call.device;
  const Tensor qs = call.queries(q), ks = call.keys(k), vs = call.keys(v), dos = call.queries(d_o);
  const Tensor dqs = call.queries(), dks = call.keys(), dvs = call.keys();
  const Tensor p = call.scores(saved.data);
  const Tensor matrix = call.scores(call.take(matrix_bytes(call.shape, call.dtype)));
  if (call.rows.keep < 256) {
    drop_kernel<T>
        <<<call.grid(), kThreads, 0, device.stream>>>(matrix.as<T>(), p.as<T>(), call.rows);
    check_launch("attention backward");
    call.multiply(dvs, matrix.transposed(), dos);
  } else {
    call.multiply(dvs, p.transposed(), dos);
  }
  call.multiply(matrix, dos, vs.transposed());
  softmax_backward_kernel<T>
      <<<call.grid(), kThreads, 0, device.stream>>>(matrix.as<T>(), p.as<T>(), call.rows);
  check_launch("attention backward");
  call.multiply(dqs, matrix, ks);
  call.multiply(dks, matrix.transposed(), qs);
  from_sequences(device, dq, dqs.data, call.query_layout);
  from_sequences(device, dk, dks.data, call.key_layout);
  from_sequences(device, dv, dvs.data, call.key_layout);
}

/// Gradients of sequences without queries or without keys.
void clear(const Device& device, const Tensor& x) {
  if (x.numel() == 0) return;
  check_cuda(cudaMemset2DAsync(x.data, x.strides[0] * size_of(x.dtype), 0,
                               x.dim(1) * x.dim(2) * size_of(x.dtype), x.dim(0), device.stream),
             "attention backward");
}

}  // namespace

int64_t naive_saved_bytes(const AttentionShape& shape, DType dtype) {
  return matrix_bytes(padded(shape), dtype);
}

int64_t naive_workspace_bytes(const AttentionShape& asked, DType dtype, bool backward) {
  const AttentionShape shape = padded(asked);
  const int64_t row = shape.head_dim * size_of(dtype);
  const int64_t queries = round_up(shape.sequences * shape.heads * shape.max_q * row, kAlign);
  const int64_t keys = round_up(shape.sequences * shape.kv_heads * shape.max_k * row, kAlign);
  return matrix_bytes(shape, dtype) + (backward ? 3 * queries + 4 * keys : 2 * queries + 2 * keys);
}

void naive_forward(const Device& device, Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k,
                   Tensor v, const AttentionOp& op, const uint32_t* dropout_words,
                   char* workspace) {
  Call call(device, q, k, op, dropout_words, workspace);
  if (call.nothing()) return;
  q.dtype == DType::f32 ? forward<float>(call, o, lse, saved, q, k, v)
                        : forward<bf16>(call, o, lse, saved, q, k, v);
}

void naive_backward(const Device& device, Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q,
                    Tensor k, Tensor v, Tensor saved, const AttentionOp& op,
                    const uint32_t* dropout_words, char* workspace) {
  Call call(device, q, k, op, dropout_words, workspace);
  if (call.nothing() || call.shape.max_k == 0) {
    for (const Tensor& x : {dq, dk, dv}) clear(device, x);
    return;
  }
  q.dtype == DType::f32 ? backward<float>(call, dq, dk, dv, d_o, q, k, v, saved)
                        : backward<bf16>(call, dq, dk, dv, d_o, q, k, v, saved);
}

}  // namespace strobe::cuda
