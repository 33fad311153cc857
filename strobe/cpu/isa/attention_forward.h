// FlashAttention's forward on tiles of 64 keys x 32 or 64 queries.
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
/// m follows the maximum only when it lags by more than this (in log2): P stays below 2^8, which
/// costs no precision, and O is hardly ever rescaled.
inline constexpr float kSlack = 8;
inline constexpr int kGroup = 2;  // vectors of queries that go through the softmax together

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
  float *m, *l;  // (kForwardQueries): about the maximum of c S, sum of 2^(c S - m)
};

/// Scores to probabilities for kGroup vectors of queries: updates (m, l) and writes P^T as an
/// operand. Returns in `alpha` what earlier results must be multiplied by. `random`, read with
/// dropout only: the multipliers of the tile's queries, then their addends.
template <class Math, bool kMasked, bool kDropout>
static inline void softmax_group(typename Math::Packed* p, const float* s, const uint32_t* random,
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
    const F32 x = load(s + j * Math::kForwardQueries + column + g * kLanes);
    if (!kMasked) return x;
    return select(limit[g] > static_cast<int32_t>(j), x, broadcast(-__builtin_inff()));
  };
  F32 other[kGroup];  // a second chain of maxima hides the latency
#pragma GCC unroll 4
  for (int g = 0; g < kGroup; ++g) other[g] = m[g];
  for (int64_t j = 0; j < keys; j += 2)
#pragma GCC unroll 4
    for (int g = 0; g < kGroup; ++g) {
      m[g] = max(score(j, g), m[g]);
      other[g] = max(score(j + 1, g), other[g]);
    }
#pragma GCC unroll 4
  for (int g = 0; g < kGroup; ++g) {
    const int64_t at = column + g * kLanes;
    const F32 before = load(state.m + at);
    const F32 most = max(m[g], other[g]) * c;
    const F32 after = select(most > before + kSlack, most, before);
    // A query that has seen no key has m = -inf; 0 in its place makes 2^(-inf - m) = 0.
    m[g] = select(after == -__builtin_inff(), F32{}, after);
    store(state.m + at, after);
    // Exactly 1 where nothing moved, which the approximation is not.
    store(alpha + at, select(before == after, broadcast(1.0f), exp2(before - m[g])));
  }
  const DropoutLimits limits = dropout_limits(head.dropout);
  U32 multiplier[kGroup], addend[kGroup];
#pragma GCC unroll 4
  for (int g = 0; kDropout && g < kGroup; ++g) {
    multiplier[g] = load_u32(random + column + g * kLanes);
    addend[g] = load_u32(random + Math::kForwardQueries + column + g * kLanes);
  }
  for (int64_t j = 0; j < keys; j += 2)
#pragma GCC unroll 4
    for (int g = 0; g < kGroup; ++g) {
      F32 even = Math::exp2(score(j, g) * c - m[g]), odd = Math::exp2(score(j + 1, g) * c - m[g]);
      sum[g] += even + odd;
      if (kDropout) {
        const KeptPair kept =
            kept_pair(multiplier[g], addend[g], head.dropout.words[(first_key + j) / 2], limits);
        even = drop(even, kept.even), odd = drop(odd, kept.odd);
      }
      Math::template store_b<Math::kForwardQueries>(p, j, column + g * kLanes, even, odd);
    }
#pragma GCC unroll 4
  for (int g = 0; g < kGroup; ++g) {
    const int64_t at = column + g * kLanes;
    store(state.l + at, load(state.l + at) * load(alpha + at) + sum[g]);
  }
}

/// The same for the whole tile; returns whether any alpha differs from 1.
template <class Math>
static bool softmax_tile(typename Math::Packed* p, const float* s, const uint32_t* random,
                         const AttentionHead& head, int64_t first_query, int64_t first_key,
                         int64_t keys, SoftmaxState state, float* alpha) {
  const bool masked = first_key + keys > keys_of_query(head, first_query);
  const bool dropout = head.dropout.on;
  const auto run = [&](auto group) {
    for (int64_t column = 0; column < Math::kForwardQueries; column += kGroup * kLanes)
      group(p, s, random, head, first_query, first_key, keys, column, state, alpha);
  };
  if (masked)
    dropout ? run(softmax_group<Math, true, true>) : run(softmax_group<Math, true, false>);
  else
    dropout ? run(softmax_group<Math, false, true>) : run(softmax_group<Math, false, false>);
  bool moved = false;
  for (int64_t i = 0; i < Math::kForwardQueries; ++i) moved |= alpha[i] != 1.0f;
  return moved;
}

/// Runs before(t), middle(t), after(t) for t in [0, tiles), with before a tile ahead and after a
/// tile behind: what one stage writes is read a stage later, when it has left the store buffer, and
/// products, which other units compute, overlap the softmax.
template <class Before, class Middle, class After>
STROBE_INLINE void pipeline(int64_t tiles, const Before& before, const Middle& middle,
                            const After& after) {
  if (tiles > 0) before(0);
  for (int64_t t = 0; t < tiles; ++t) {
    if (t + 1 < tiles) before(t + 1);
    if (t > 0) after(t - 1);
    middle(t);
  }
  if (tiles > 0) after(tiles - 1);
}

/// What a tile of the forward leaves for the next stage.
template <class Math>
struct TileScratch {
  alignas(64) float s[kAttentionBlock * Math::kForwardQueries];
  alignas(64) typename Math::Packed p[Math::kParts * kAttentionBlock * Math::kForwardQueries];
  alignas(64) float alpha[Math::kForwardQueries];
  bool moved;
};

/// The three stages of one tile of a query block: S, P, O.
template <class Math>
class ForwardTile {
 public:
  using Packed = typename Math::Packed;

  ForwardTile(const AttentionForward& task, const Packed* qt, float* o, SoftmaxState state,
              int64_t padded, int64_t first_query)
      : task_(task), qt_(qt), o_(o), state_(state), padded_(padded), first_query_(first_query) {
    const int64_t queries = task.head.queries, end = first_query + kWidth;
    seen_ = keys_of_query(task.head, (end < queries ? end : queries) - 1);
  }

  /// Key blocks that some query of the block sees.
  int64_t tiles() const { return (seen_ + kBlock - 1) / kBlock; }

  void scores(int64_t j, TileScratch<Math>& x) const {
    Math::product(x.s, kWidth, {block(task_.packed_k, j), padded_, kBlock * padded_},
                  {qt_, kWidth, kWidth * padded_}, keys(j), kWidth, padded_, false);
  }
  void softmax(int64_t j, TileScratch<Math>& x, const uint32_t* random) const {
    x.moved = softmax_tile<Math>(x.p, x.s, random, task_.head, first_query_, j * kBlock, keys(j),
                                 state_, x.alpha);
  }
  void output(int64_t j, const TileScratch<Math>& x, bool first) const {
    if (x.moved && !first)
      for (int64_t d = 0; d < padded_; ++d)
        for (int64_t i = 0; i < kWidth; i += kLanes) {
          float* at = o_ + d * kWidth + i;
          store(at, load(at) * load(x.alpha + i));
        }
    Math::product(o_, kWidth, {block(task_.packed_v, j), kBlock, kBlock * padded_},
                  {x.p, kWidth, kBlock * kWidth}, padded_, kWidth, keys(j), !first);
  }

 private:
  static constexpr int64_t kBlock = kAttentionBlock, kWidth = Math::kForwardQueries;

  const Packed* block(const void* packed, int64_t j) const {
    return reinterpret_cast<const Packed*>(static_cast<const char*>(packed) +
                                           j * task_.packed_block);
  }
  int64_t keys(int64_t j) const {
    const int64_t left = seen_ - j * kBlock;
    return left >= kBlock ? kBlock : round_up(left, Math::kKeyMultiple);
  }

  const AttentionForward& task_;
  const Packed* qt_;
  float* o_;
  SoftmaxState state_;
  int64_t padded_, first_query_, seen_;
};

/// o = O^T transposed, divided by l; lse = ln(2) (m + log2(l)).
template <class Math, class T>
static void finish_queries(const AttentionForward& task, const float* o, SoftmaxState state,
                           int64_t first_query, bool any) {
  constexpr int64_t kBlock = Math::kForwardQueries;
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
      const F32 x =
          sees ? load(transposed + i * kLanes) * (head.dropout.scale / state.l[i]) : F32{};
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
                  left < Math::kForwardQueries ? left : Math::kForwardQueries, dim, padded,
                  Math::kForwardQueries);
  Math::bt_of(qt, staging, padded, Math::kForwardQueries);
}

STROBE_INLINE void reset(SoftmaxState state, int64_t queries) {
  for (int64_t i = 0; i < queries; ++i) state.m[i] = -__builtin_inff(), state.l[i] = 0;
}

inline constexpr int64_t kMostDim = 256;

template <class Math, class T>
static void flash2_forward(const AttentionForward& task, int64_t block) {
  using Packed = typename Math::Packed;
  constexpr int64_t kBlock = Math::kForwardQueries;
  const typename Math::Session session;
  const int64_t padded = round_up(task.head.dim, Math::kDimMultiple);
  const int64_t first_query = block * kBlock;
  alignas(64) Packed qt[Math::kParts * kBlock * kMostDim];
  alignas(64) Packed staging[Math::kParts * kBlock * kMostDim];
  alignas(64) float o[kBlock * kMostDim];
  alignas(64) float m[kBlock], l[kBlock];
  alignas(64) uint32_t random[2 * kBlock];
  TileScratch<Math> scratch[2];
  pack_query_block<Math, T>(qt, staging, task.q, task.head.queries, task.head.dim, padded,
                            first_query);
  const HeadDropout& dropout = task.head.dropout;
  if (dropout.on) dropout_queries(random, random + kBlock, dropout, first_query, kBlock);
  const SoftmaxState state{m, l};
  reset(state, kBlock);
  const ForwardTile<Math> tile(task, qt, o, state, padded, first_query);
  pipeline(
      tile.tiles(), [&](int64_t j) { tile.scores(j, scratch[j % 2]); },
      [&](int64_t j) { tile.softmax(j, scratch[j % 2], random); },
      [&](int64_t j) { tile.output(j, scratch[j % 2], j == 0); });
  finish_queries<Math, T>(task, o, state, first_query, tile.tiles() > 0);
}

template <class Math, class T>
static void flash1_forward(const AttentionForward& task) {
  using Packed = typename Math::Packed;
  constexpr int64_t kBlock = Math::kForwardQueries;
  const typename Math::Session session;
  const int64_t padded = round_up(task.head.dim, Math::kDimMultiple);
  const int64_t blocks = (task.head.queries + kBlock - 1) / kBlock;
  alignas(64) Packed qt[Math::kParts * kBlock * kMostDim];
  alignas(64) Packed staging[Math::kParts * kBlock * kMostDim];
  alignas(64) uint32_t random[2 * kBlock];
  TileScratch<Math> scratch;
  const HeadDropout& dropout = task.head.dropout;
  const auto tile_of = [&](int64_t i) {
    const SoftmaxState state{task.statistics + i * 2 * kBlock,
                             task.statistics + (i * 2 + 1) * kBlock};
    return ForwardTile<Math>(task, qt, task.o_accumulator + i * kBlock * padded, state, padded,
                             i * kBlock);
  };
  for (int64_t i = 0; i < 2 * blocks; i += 2)
    reset({task.statistics + i * kBlock, task.statistics + (i + 1) * kBlock}, kBlock);
  for (int64_t j = 0; j * kAttentionBlock < task.head.keys; ++j)
    for (int64_t i = 0; i < blocks; ++i) {
      const ForwardTile<Math> tile = tile_of(i);
      if (j >= tile.tiles()) continue;
      pack_query_block<Math, T>(qt, staging, task.q, task.head.queries, task.head.dim, padded,
                                i * kBlock);
      if (dropout.on) dropout_queries(random, random + kBlock, dropout, i * kBlock, kBlock);
      tile.scores(j, scratch);
      tile.softmax(j, scratch, random);
      tile.output(j, scratch, j == 0);
    }
  for (int64_t i = 0; i < blocks; ++i)
    finish_queries<Math, T>(
        task, task.o_accumulator + i * kBlock * padded,
        {task.statistics + i * 2 * kBlock, task.statistics + (i * 2 + 1) * kBlock}, i * kBlock,
        tile_of(i).tiles() > 0);
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
