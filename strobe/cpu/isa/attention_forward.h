// FlashAttention's forward on tiles of 64 keys x 64 queries.
//
//   flash1  Dao, Fu, Ermon, Rudra, Re, "FlashAttention: Fast and Memory-Efficient Exact Attention
//           with IO-Awareness", 2022, Algorithm 1. The outer loop runs over key blocks, the inner
//           over query blocks, so O and the statistics (m, l) of every query block are read,
//           rescaled and written back at each key block: O(T^2 D / 64) bytes of traffic.
//   flash2  Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work
//           Partitioning", 2023, Algorithm 1. The outer loop runs over query blocks: O and (m, l)
//           of one stay in the core's cache, O is rescaled only when a maximum moved and divided by
//           l once, at the end, and query blocks are tasks of their own.
//
// Both skip key blocks above the diagonal and compare indices only in tiles that it crosses. A
// tile: S^T = K Q^T, P^T = 2^(c S^T - m) with c = scale log2(e), O^T += V^T P^T. Memory: q, k, v
// are read once into packed blocks; k's and v's come back from the cache once a query block.
#pragma once

#include "strobe/cpu/isa/attention_dropout.h"
#include "strobe/cpu/isa/attention_layout.h"

namespace strobe::cpu::STROBE_ISA {

inline constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;
inline constexpr int kGroup = 4;  // vectors of queries that go through the softmax together

/// The first key that each query of a vector may not see.
STROBE_INLINE I32 key_limit(const AttentionHead& head, int64_t first_query) {
  const int32_t keys = static_cast<int32_t>(head.keys);
  if (!head.causal) return broadcast_i32(keys);
  const I32 limit = lane_index() + static_cast<int32_t>(first_query + 1 + head.keys - head.queries);
  return limit < keys ? limit : broadcast_i32(keys);
}

/// Keys that some query, or that every query, of [first, last) sees.
STROBE_INLINE int64_t keys_of_query(const AttentionHead& head, int64_t query) {
  if (!head.causal) return head.keys;
  const int64_t limit = query + 1 + head.keys - head.queries;
  return limit < 0 ? 0 : limit < head.keys ? limit : head.keys;
}

/// The running state of one query block.
struct SoftmaxState {
  float *m, *l;  // (64): maximum of c S, sum of 2^(c S - m)
};

/// Scores to probabilities for kGroup vectors of queries: updates (m, l) and writes P^T as an
/// operand. Returns in `alpha` what earlier results must be multiplied by.
template <class Math, bool kMasked, bool kDropout>
static inline void softmax_group(typename Math::Packed* p, const float* s, const uint8_t* bytes,
                                 const AttentionHead& head, int64_t first_query, int64_t first_key,
                                 int64_t keys, int64_t column, SoftmaxState state, float* alpha) {
  const float c = head.scale * kLog2E;
  I32 limit[kGroup];
  F32 m[kGroup], sum[kGroup];
#pragma GCC unroll 4
  for (int g = 0; g < kGroup; ++g) {
    if (kMasked)
      limit[g] =
          key_limit(head, first_query + column + g * kLanes) - static_cast<int32_t>(first_key);
    m[g] = broadcast(-__builtin_inff());
    sum[g] = F32{};
  }
  const auto score = [&](int64_t j, int g) __attribute__((always_inline)) {
    const F32 x = load(s + j * kAttentionBlock + column + g * kLanes);
    if (!kMasked) return x;
    return select(limit[g] > static_cast<int32_t>(j), x, broadcast(-__builtin_inff()));
  };
  for (int64_t j = 0; j < keys; ++j)
#pragma GCC unroll 4
    for (int g = 0; g < kGroup; ++g) m[g] = max(score(j, g), m[g]);
#pragma GCC unroll 4
  for (int g = 0; g < kGroup; ++g) {
    const int64_t at = column + g * kLanes;
    const F32 before = load(state.m + at);
    const F32 after = max(before, m[g] * c);
    // A query that has seen no key has m = -inf; 0 in its place makes 2^(-inf - m) = 0.
    m[g] = select(after == -__builtin_inff(), F32{}, after);
    store(state.m + at, after);
    store(alpha + at, Math::exp2(before - m[g]));
  }
  for (int64_t j = 0; j < keys; j += 2)
#pragma GCC unroll 4
    for (int g = 0; g < kGroup; ++g) {
      F32 even = Math::exp2(score(j, g) * c - m[g]), odd = Math::exp2(score(j + 1, g) * c - m[g]);
      sum[g] += even + odd;
      const int64_t at = column + g * kLanes;
      if (kDropout) {
        even = drop(even, bytes + j * kAttentionBlock + at, head.keep);
        odd = drop(odd, bytes + (j + 1) * kAttentionBlock + at, head.keep);
      }
      Math::store_b(p, j, at, even, odd);
    }
#pragma GCC unroll 4
  for (int g = 0; g < kGroup; ++g) {
    const int64_t at = column + g * kLanes;
    store(state.l + at, load(state.l + at) * load(alpha + at) + sum[g]);
  }
}

/// The same for the whole tile; returns whether any alpha differs from 1.
template <class Math>
static bool softmax_tile(typename Math::Packed* p, const float* s, uint8_t* bytes,
                         const AttentionHead& head, int64_t first_query, int64_t first_key,
                         int64_t keys, SoftmaxState state, float* alpha) {
  const bool masked = first_key + keys > keys_of_query(head, first_query);
  const bool dropout = head.keep < 256;
  if (dropout) dropout_tile(bytes, head, first_query, first_key, keys);
  const auto run = [&](auto group) {
    for (int64_t column = 0; column < kAttentionBlock; column += kGroup * kLanes)
      group(p, s, bytes, head, first_query, first_key, keys, column, state, alpha);
  };
  if (masked)
    dropout ? run(softmax_group<Math, true, true>) : run(softmax_group<Math, true, false>);
  else
    dropout ? run(softmax_group<Math, false, true>) : run(softmax_group<Math, false, false>);
  bool moved = false;
  for (int64_t i = 0; i < kAttentionBlock; ++i) moved |= alpha[i] != 1.0f;
  return moved;
}

/// Memory of one tile, on the stack.
template <class Math>
struct TileScratch {
  static constexpr int64_t kBlock = kAttentionBlock;
  alignas(64) float s[kBlock * kBlock];
  alignas(64) typename Math::Packed p[Math::kParts * kBlock * kBlock];
  alignas(64) uint8_t bytes[kBlock * kBlock];
  alignas(64) float alpha[kBlock];
};

/// One tile: (o, m, l) of a query block go on by one key block. `first` says that o holds nothing.
template <class Math>
static void forward_tile(float* o, SoftmaxState state, TileScratch<Math>& scratch,
                         const AttentionForward& task, const typename Math::Packed* qt,
                         int64_t padded, int64_t first_query, int64_t key_block, bool first) {
  using Packed = typename Math::Packed;
  constexpr int64_t kBlock = kAttentionBlock;
  const AttentionHead& head = task.head;
  const int64_t first_key = key_block * kBlock, last_query = first_query + kBlock - 1;
  const int64_t seen = keys_of_query(head, last_query) - first_key;
  const int64_t keys = seen >= kBlock ? kBlock : round_up(seen, Math::kKeyMultiple);
  const auto* k = reinterpret_cast<const Packed*>(static_cast<const char*>(task.packed_k) +
                                                  key_block * task.packed_block);
  const auto* v = reinterpret_cast<const Packed*>(static_cast<const char*>(task.packed_v) +
                                                  key_block * task.packed_block);
  Math::product(scratch.s, kBlock, {k, padded, kBlock * padded}, {qt, kBlock, kBlock * padded},
                keys, kBlock, padded, false);
  const bool moved = softmax_tile<Math>(scratch.p, scratch.s, scratch.bytes, head, first_query,
                                        first_key, keys, state, scratch.alpha);
  if (moved && !first)
    for (int64_t d = 0; d < padded; ++d)
      for (int64_t i = 0; i < kBlock; i += kLanes) {
        float* at = o + d * kBlock + i;
        store(at, load(at) * load(scratch.alpha + i));
      }
  Math::product(o, kBlock, {v, kBlock, kBlock * padded}, {scratch.p, kBlock, kBlock * kBlock},
                padded, kBlock, keys, !first);
}

/// o = O^T transposed, divided by l; lse = ln(2) (m + log2(l)).
template <class T>
static void finish_queries(const AttentionForward& task, const float* o, SoftmaxState state,
                           int64_t first_query, bool any) {
  constexpr int64_t kBlock = kAttentionBlock;
  const AttentionHead& head = task.head;
  const int64_t left = head.queries - first_query, rows = left < kBlock ? left : kBlock;
  alignas(64) float transposed[kBlock * kLanes];
  for (int64_t d = 0; d < head.dim; d += kLanes) {
    const int64_t width = head.dim - d < kLanes ? head.dim - d : kLanes;
    if (any)
      transpose32(reinterpret_cast<uint32_t*>(transposed), kLanes,
                  reinterpret_cast<const uint32_t*>(o + d * kBlock), kBlock, kLanes, kBlock);
    for (int64_t i = 0; i < rows; ++i) {
      const bool sees = any && state.l[i] != 0;
      const F32 x = sees ? load(transposed + i * kLanes) * (head.keep_scale / state.l[i]) : F32{};
      T* row = static_cast<T*>(task.o.data) + (first_query + i) * task.o.stride + d;
      if (width == kLanes)
        store(row, x);
      else
        store_part(row, x, width);
    }
  }
  for (int64_t i = 0; i < rows; ++i)
    task.lse[first_query + i] =
        state.l[i] != 0 ? kLn2 * state.m[i] + __builtin_logf(state.l[i]) : -__builtin_inff();
}

/// bt of a query block.
template <class Math, class T>
static void pack_query_block(typename Math::Packed* qt, typename Math::Packed* staging,
                             AttentionRows q, int64_t queries, int64_t dim, int64_t padded,
                             int64_t first_query) {
  const int64_t left = queries - first_query;
  Math::pack_rows(staging, static_cast<const T*>(q.data) + first_query * q.stride, q.stride,
                  left < kAttentionBlock ? left : kAttentionBlock, dim, padded);
  Math::bt_of(qt, staging, padded);
}

STROBE_INLINE void reset(SoftmaxState state) {
  for (int64_t i = 0; i < kAttentionBlock; ++i) state.m[i] = -__builtin_inff(), state.l[i] = 0;
}

inline constexpr int64_t kMostDim = 256;

template <class Math, class T>
static void flash2_forward(const AttentionForward& task, int64_t block) {
  using Packed = typename Math::Packed;
  constexpr int64_t kBlock = kAttentionBlock;
  const typename Math::Session session;
  const int64_t padded = round_up(task.head.dim, Math::kDimMultiple);
  const int64_t first_query = block * kBlock;
  alignas(64) Packed qt[Math::kParts * kBlock * kMostDim];
  alignas(64) float o[kBlock * kMostDim];
  alignas(64) float m[kBlock], l[kBlock];
  TileScratch<Math> scratch;
  {
    alignas(64) Packed staging[Math::kParts * kBlock * kMostDim];
    pack_query_block<Math, T>(qt, staging, task.q, task.head.queries, task.head.dim, padded,
                              first_query);
  }
  reset({m, l});
  const int64_t last_query =
      (first_query + kBlock < task.head.queries ? first_query + kBlock : task.head.queries) - 1;
  const int64_t keys = keys_of_query(task.head, last_query);
  for (int64_t j = 0; j * kBlock < keys; ++j)
    forward_tile<Math>(o, {m, l}, scratch, task, qt, padded, first_query, j, j == 0);
  finish_queries<T>(task, o, {m, l}, first_query, keys > 0);
}

template <class Math, class T>
static void flash1_forward(const AttentionForward& task) {
  using Packed = typename Math::Packed;
  constexpr int64_t kBlock = kAttentionBlock;
  const typename Math::Session session;
  const int64_t padded = round_up(task.head.dim, Math::kDimMultiple);
  const int64_t blocks = (task.head.queries + kBlock - 1) / kBlock;
  alignas(64) Packed qt[Math::kParts * kBlock * kMostDim];
  alignas(64) Packed staging[Math::kParts * kBlock * kMostDim];
  TileScratch<Math> scratch;
  const auto state_of = [&](int64_t i) {
    return SoftmaxState{task.statistics + i * 2 * kBlock, task.statistics + (i * 2 + 1) * kBlock};
  };
  for (int64_t i = 0; i < blocks; ++i) reset(state_of(i));
  for (int64_t j = 0; j * kBlock < task.head.keys; ++j)
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t last =
          (i + 1) * kBlock < task.head.queries ? (i + 1) * kBlock : task.head.queries;
      if (keys_of_query(task.head, last - 1) <= j * kBlock) continue;
      pack_query_block<Math, T>(qt, staging, task.q, task.head.queries, task.head.dim, padded,
                                i * kBlock);
      forward_tile<Math>(task.o_accumulator + i * kBlock * padded, state_of(i), scratch, task, qt,
                         padded, i * kBlock, j, j == 0);
    }
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t last =
        (i + 1) * kBlock < task.head.queries ? (i + 1) * kBlock : task.head.queries;
    finish_queries<T>(task, task.o_accumulator + i * kBlock * padded, state_of(i), i * kBlock,
                      keys_of_query(task.head, last - 1) > 0);
  }
}

template <class Math, class T>
static void pack_keys(AttentionRows k, AttentionRows v, int64_t keys, int64_t dim, int64_t block,
                      void* packed_k, void* packed_v) {
  using Packed = typename Math::Packed;
  const int64_t padded = round_up(dim, Math::kDimMultiple), first = block * kAttentionBlock;
  const int64_t rows = keys - first < kAttentionBlock ? keys - first : kAttentionBlock;
  alignas(64) Packed staging[Math::kParts * kAttentionBlock * kMostDim];
  Math::pack_rows(static_cast<Packed*>(packed_k), static_cast<const T*>(k.data) + first * k.stride,
                  k.stride, rows, dim, padded);
  Math::pack_rows(staging, static_cast<const T*>(v.data) + first * v.stride, v.stride, rows, dim,
                  padded);
  Math::columns_of(static_cast<Packed*>(packed_v), staging, padded);
}

}  // namespace strobe::cpu::STROBE_ISA
