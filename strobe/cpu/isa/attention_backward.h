// FlashAttention's backward (2022, Algorithm 4; 2023, Algorithm 2) on tiles of 64 keys x 64
// queries, five products each:
//
//   S^T = K Q^T                P^T  = 2^(c S^T - lse log2(e))
//   dP^T = V dO^T              dS^T = P^T (dP^T - delta),   delta = rowsum(dO * O)
//   dV += P^T dO               dK += dS^T Q               dQ^T += K^T dS^T
//
// The outer loop runs over key blocks, whose dK and dV stay in the core's cache; dQ is added up in
// memory. A task is a range of key blocks of one key-value head. Ranges depend on the shape alone,
// each writes a dQ of its own, and finish_dq adds those up in order: the same bits for any number
// of threads. flash1 has one range a head; flash2 cuts the sequence where heads are few.
//
// Memory: q and dO are packed once, twice each (as B and as B transposed), and come back from the
// cache once a key block, as do dQ's parts.
#pragma once

#include "strobe/cpu/isa/attention_forward.h"

namespace strobe::cpu::STROBE_ISA {

template <class Math, class T>
static void pack_queries(const AttentionBackward& task, int64_t block) {
  using Packed = typename Math::Packed;
  constexpr int64_t kBlock = kAttentionBlock;
  const AttentionHead& head = task.head;
  const int64_t padded = round_up(head.dim, Math::kDimMultiple), first = block * kBlock;
  const int64_t rows = head.queries - first < kBlock ? head.queries - first : kBlock;
  alignas(64) Packed staging[Math::kParts * kBlock * kMostDim];
  const auto at = [&](const void* packed) {
    return reinterpret_cast<Packed*>(static_cast<char*>(const_cast<void*>(packed)) +
                                     block * task.packed_block);
  };
  const auto rows_of = [&](AttentionRows x) {
    return static_cast<const T*>(x.data) + first * x.stride;
  };
  Math::pack_rows(staging, rows_of(task.q), task.q.stride, rows, head.dim, padded);
  Math::b_of(at(task.packed_q), staging, padded);
  Math::bt_of(at(task.packed_qt), staging, padded);
  Math::pack_rows(staging, rows_of(task.d_o), task.d_o.stride, rows, head.dim, padded);
  Math::b_of(at(task.packed_do), staging, padded);
  Math::bt_of(at(task.packed_dot), staging, padded);

  if (head.dropout.on) {
    uint32_t* random = task.dropout_queries + 2 * first;
    dropout_queries(random, random + kBlock, head.dropout, first, kBlock);
  }
  float *lse2 = task.lse2 + first, *delta = task.delta + first;
  for (int64_t i = 0; i < kBlock; ++i) {
    // A lse of +inf makes P = 0: rows beyond the end and rows that saw no key.
    lse2[i] = __builtin_inff(), delta[i] = 0;
    if (i >= rows || task.lse[first + i] == -__builtin_inff()) continue;
    lse2[i] = task.lse[first + i] * kLog2E;
    const T *x = rows_of(task.d_o) + i * task.d_o.stride, *y = rows_of(task.o) + i * task.o.stride;
    F32 dot{};
    int64_t d = 0;
    for (; d + kLanes <= head.dim; d += kLanes) dot += load(x + d) * load(y + d);
    if (d < head.dim) dot += load_part(x + d, head.dim - d) * load_part(y + d, head.dim - d);
    delta[i] = sum(dot);
  }
}

/// P^T and dS^T of kGroup vectors of queries from S^T and dP^T.
template <class Math, bool kMasked, bool kDropout>
static inline void gradient_group(typename Math::Packed* p, typename Math::Packed* ds_a,
                                  typename Math::Packed* ds_b, const float* s, const float* dp,
                                  const uint32_t* random, const AttentionHead& head,
                                  const float* lse2, const float* delta, int64_t first_query,
                                  int64_t first_key, int64_t keys, int64_t column) {
  const float c = head.scale * kLog2E;
  F32 lse[kGroup], mean[kGroup];
  I32 limit[kGroup];
  const DropoutLimits limits = dropout_limits(head.dropout);
  U32 multiplier[kGroup], addend[kGroup];
#pragma GCC unroll 4
  for (int g = 0; g < kGroup; ++g) {
    const int64_t at = column + g * kLanes;
    lse[g] = load(lse2 + at), mean[g] = load(delta + at);
    if (kDropout)
      multiplier[g] = load_u32(random + at), addend[g] = load_u32(random + kAttentionBlock + at);
    if (kMasked) limit[g] = key_limit(head, first_query + at) - static_cast<int32_t>(first_key);
  }
  for (int64_t j = 0; j < keys; j += 2)
#pragma GCC unroll 2
    for (int pair = 0; pair < kGroup; pair += 2) {
      const int64_t at = column + pair * kLanes;
      F32 kept[2][2], ds[2][2];  // key row, vector
      KeptPair drawn[2];
      if (kDropout)
#pragma GCC unroll 2
        for (int g = 0; g < 2; ++g)
          drawn[g] = kept_pair(multiplier[pair + g], addend[pair + g],
                               head.dropout.words[(first_key + j) / 2], limits);
#pragma GCC unroll 2
      for (int r = 0; r < 2; ++r)
#pragma GCC unroll 2
        for (int g = 0; g < 2; ++g) {
          const int64_t element = (j + r) * kAttentionBlock + at + g * kLanes;
          F32 x = Math::exp2(load(s + element) * c - lse[pair + g]), dx = load(dp + element);
          if (kMasked) x = select(limit[pair + g] > static_cast<int32_t>(j + r), x, F32{});
          kept[r][g] = x;
          if (kDropout) {
            const Kept keeps = r == 0 ? drawn[g].even : drawn[g].odd;
            kept[r][g] = drop(x, keeps);
            dx = drop(dx, keeps) * head.dropout.scale;
          }
          ds[r][g] = x * (dx - mean[pair + g]);
        }
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        Math::template store_a<kAttentionBlock>(p, j + i, at, kept[i][0], kept[i][1]);
        if (!Math::kOneLayout)
          Math::template store_a<kAttentionBlock>(ds_a, j + i, at, ds[i][0], ds[i][1]);
        Math::template store_b<kAttentionBlock>(ds_b, j, at + i * kLanes, ds[0][i], ds[1][i]);
      }
    }
}

template <class Math>
static void gradient_tile(typename Math::Packed* p, typename Math::Packed* ds_a,
                          typename Math::Packed* ds_b, const float* s, const float* dp,
                          const AttentionBackward& task, int64_t first_query, int64_t first_key,
                          int64_t keys) {
  const AttentionHead& head = task.head;
  const bool masked = first_key + keys > keys_of_query(head, first_query);
  const bool dropout = head.dropout.on;
  const auto run = [&](auto group) {
    for (int64_t column = 0; column < kAttentionBlock; column += kGroup * kLanes)
      group(p, ds_a, ds_b, s, dp, task.dropout_queries + 2 * first_query, head,
            task.lse2 + first_query, task.delta + first_query, first_query, first_key, keys,
            column);
  };
  if (masked)
    dropout ? run(gradient_group<Math, true, true>) : run(gradient_group<Math, true, false>);
  else
    dropout ? run(gradient_group<Math, false, true>) : run(gradient_group<Math, false, false>);
}

/// The first query that sees `key`, or `queries` if none does.
STROBE_INLINE int64_t first_query_of_key(const AttentionHead& head, int64_t key) {
  const int64_t query = head.causal ? key + head.queries - head.keys : 0;
  return query < 0 ? 0 : query < head.queries ? query : head.queries;
}

template <class T>
static void store_rows(AttentionRows to, const float* from, int64_t padded, int64_t first,
                       int64_t rows, int64_t dim, float scale) {
  for (int64_t i = 0; i < rows; ++i) {
    T* row = static_cast<T*>(to.data) + (first + i) * to.stride;
    int64_t d = 0;
    for (; d + kLanes <= dim; d += kLanes) store(row + d, load(from + i * padded + d) * scale);
    if (d < dim) store_part(row + d, load(from + i * padded + d) * scale, dim - d);
  }
}

/// What a tile of the backward leaves for the next stage.
template <class Math>
struct GradientScratch {
  static constexpr int64_t kTile = Math::kParts * kAttentionBlock * kAttentionBlock;
  alignas(64) float s[kAttentionBlock * kAttentionBlock], dp[kAttentionBlock * kAttentionBlock];
  alignas(64) typename Math::Packed p[kTile], ds_a[Math::kOneLayout ? 1 : kTile], ds_b[kTile];
};

template <class Math, class T>
static void attention_backward(const AttentionBackwardKeys& task) {
  using Packed = typename Math::Packed;
  constexpr int64_t kBlock = kAttentionBlock, kTilePlane = kBlock * kBlock;
  constexpr int64_t kOperand = Math::kParts * kBlock * kMostDim;
  const typename Math::Session session;
  const AttentionHead& shape = task.head[0].head;
  const int64_t padded = round_up(shape.dim, Math::kDimMultiple), plane = kBlock * padded;
  const int64_t query_blocks = (shape.queries + kBlock - 1) / kBlock;
  alignas(64) Packed k_rows[kOperand], k_columns[kOperand], v_rows[kOperand];
  alignas(64) float dk[kBlock * kMostDim], dv[kBlock * kMostDim];
  GradientScratch<Math> scratch[2];

  for (int64_t j = task.first_block; j < task.last_block; ++j) {
    const int64_t first_key = j * kBlock, left = shape.keys - first_key;
    const int64_t rows = left < kBlock ? left : kBlock;
    const int64_t keys = round_up(rows, Math::kKeyMultiple);
    Math::pack_rows(k_rows, static_cast<const T*>(task.k.data) + first_key * task.k.stride,
                    task.k.stride, rows, shape.dim, padded);
    Math::columns_of(k_columns, k_rows, padded);
    Math::pack_rows(v_rows, static_cast<const T*>(task.v.data) + first_key * task.v.stride,
                    task.v.stride, rows, shape.dim, padded);

    // The tiles of this key block: `visible` query blocks of each head.
    const int64_t first_query = first_query_of_key(shape, first_key) / kBlock;
    const int64_t visible = query_blocks - first_query, tiles = visible * task.heads;
    const auto head_of = [&](int64_t t) -> const AttentionBackward& {
      return task.head[t / visible];
    };
    const auto block_of = [&](int64_t t) { return first_query + t % visible; };
    const auto packed = [&](int64_t t, const void* base) {
      return reinterpret_cast<const Packed*>(static_cast<const char*>(base) +
                                             block_of(t) * head_of(t).packed_block);
    };
    const auto scores = [&](int64_t t) {
      Math::product(scratch[t % 2].s, kBlock, {k_rows, padded, plane},
                    {packed(t, head_of(t).packed_qt), kBlock, plane}, keys, kBlock, padded, false);
      Math::product(scratch[t % 2].dp, kBlock, {v_rows, padded, plane},
                    {packed(t, head_of(t).packed_dot), kBlock, plane}, keys, kBlock, padded, false);
    };
    const auto gradients = [&](int64_t t) {
      GradientScratch<Math>& x = scratch[t % 2];
      gradient_tile<Math>(x.p, x.ds_a, x.ds_b, x.s, x.dp, head_of(t), block_of(t) * kBlock,
                          first_key, keys);
    };
    const auto products = [&](int64_t t) {
      const GradientScratch<Math>& x = scratch[t % 2];
      const Operand<Packed> ds{Math::kOneLayout ? x.ds_b : x.ds_a, kBlock, kTilePlane};
      Math::product(dv, padded, {x.p, kBlock, kTilePlane},
                    {packed(t, head_of(t).packed_do), padded, plane}, keys, padded, kBlock, t > 0);
      Math::product(dk, padded, ds, {packed(t, head_of(t).packed_q), padded, plane}, keys, padded,
                    kBlock, t > 0);
      Math::product(head_of(t).dq_parts + task.part * head_of(t).dq_part + block_of(t) * plane,
                    kBlock, {k_columns, kBlock, plane}, {x.ds_b, kBlock, kTilePlane}, padded,
                    kBlock, keys, j > task.first_block);
    };
    pipeline(tiles, scores, gradients, products);
    if (tiles == 0) std::memset(dk, 0, sizeof dk), std::memset(dv, 0, sizeof dv);
    store_rows<T>(task.dk, dk, padded, first_key, rows, shape.dim, shape.scale);
    store_rows<T>(task.dv, dv, padded, first_key, rows, shape.dim, shape.dropout.scale);
  }
}

template <class Math, class T>
static void finish_dq(const AttentionBackward& task, int64_t block, const int64_t* first,
                      int64_t parts) {
  constexpr int64_t kBlock = kAttentionBlock;
  const AttentionHead& head = task.head;
  const int64_t padded = round_up(head.dim, Math::kDimMultiple), at = block * kBlock * padded;
  const int64_t left = head.queries - block * kBlock, rows = left < kBlock ? left : kBlock;
  alignas(64) float columns[kBlock * kMostDim], transposed[kBlock * kMostDim];
  std::memset(columns, 0, kBlock * padded * sizeof(float));
  for (int64_t p = 0; p < parts; ++p) {
    if (block < first[p]) continue;
    const float* part = task.dq_parts + p * task.dq_part + at;
    for (int64_t i = 0; i < kBlock * padded; i += kLanes)
      store(columns + i, load(columns + i) + load(part + i));
  }
  transpose32(reinterpret_cast<uint32_t*>(transposed), padded,
              reinterpret_cast<const uint32_t*>(columns), kBlock, padded, kBlock);
  store_rows<T>(task.dq, transposed, padded, block * kBlock, rows, head.dim, head.scale);
}

}  // namespace strobe::cpu::STROBE_ISA
