// Index arithmetic of the attention kernels: where elements lie in shared memory, which keys a row
// sees, in which order blocks run. No CUDA here, so that a machine without a GPU can test it
// (tests/cuda_attention_layout_test.cpp).
#pragma once

#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe::cuda {

STROBE_HD constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
STROBE_HD constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
STROBE_HD constexpr int least(int a, int b) { return a < b ? a : b; }
STROBE_HD constexpr int most(int a, int b) { return a > b ? a : b; }

// ---- shared memory -----------------------------------------------------------------------------

/// The 16-byte chunk of shared memory that holds chunk `chunk` of row `row`, for rows of `chunks`
/// chunks (a power of two, at least 4). Exclusive-or by the row, so that 8 rows' equal chunks lie
/// in 8 different groups of banks.
STROBE_HD constexpr int swizzled_chunk(int row, int chunk, int chunks) {
  return row * chunks + (chunks == 4 ? chunk ^ (row >> 1 & 3) : chunk ^ (row & 7));
}

/// Where row i of a tile lies. Dropout decides two keys by one number; rows are placed so that the
/// accumulators of one thread hold both, whichever of rows and columns the keys are.
///
/// Columns of accumulators: a thread holds columns 2 t, 2 t + 1 of every 8. With the tile's rows
/// placed so, those of two neighbouring 8s are four consecutive ones, 4 t ... 4 t + 3.
STROBE_HD constexpr int column_slot(int i) {
  return (i & ~15) | (i >> 1 & 1) << 3 | (i >> 2 & 3) << 1 | (i & 1);
}
STROBE_HD constexpr int row_of_column_slot(int slot) {
  return (slot & ~15) | (slot >> 1 & 3) << 2 | (slot >> 3 & 1) << 1 | (slot & 1);
}
/// Rows of accumulators: a thread holds rows g and g + 8 of each of `pieces` 16s. With two pieces
/// they are 4 g ... 4 g + 3; with one, 2 g and 2 g + 1.
STROBE_HD constexpr int row_slot(int i, int pieces) {
  return pieces == 2 ? (i & ~31) | (i & 3) << 3 | (i >> 2 & 7)
                     : (i & ~15) | (i & 1) << 3 | (i >> 1 & 7);
}
STROBE_HD constexpr int row_of_row_slot(int slot, int pieces) {
  return pieces == 2 ? (slot & ~31) | (slot & 7) << 2 | (slot >> 3 & 3)
                     : (slot & ~15) | (slot & 7) << 1 | (slot >> 3 & 1);
}

/// Of columns that are keys a thread has a pair in each 8: where the words of these lie among those
/// of a tile (attention_dropout_slot).
STROBE_HD constexpr int pair_slot(int n, int t) {
  return 8 * (t % 2) + t / 2 + n / 4 * 16 + n % 2 * 4 + n / 2 % 2 * 2;
}

// ---- masks -------------------------------------------------------------------------------------

/// Which keys a query sees, in one sequence. Causal aligns bottom-right.
struct AttentionMask {
  int queries, keys;
  bool causal;

  /// Query i sees keys [0, keys_seen(i)). Never decreases with i.
  STROBE_HD constexpr int keys_seen(int i) const {
    return causal ? most(0, least(keys, i + 1 + keys - queries)) : keys;
  }
  /// The first query that sees key j.
  STROBE_HD constexpr int first_query(int j) const {
    return causal ? most(0, j - (keys - queries)) : 0;
  }
};

// ---- schedules ---------------------------------------------------------------------------------

struct AttentionItem {
  int pair, block;  // sequence * heads + head; a block of its queries or keys
};

/// The forward's order of work. Pairs go in chunks, whose keys and values stay in L2 together; in a
/// chunk the last query blocks of all pairs come first, since under a causal mask they are the
/// longest and the short ones then fill the gaps at the end.
STROBE_HD constexpr AttentionItem forward_item(int index, int pairs, int blocks, int chunk) {
  const int first = index / (chunk * blocks) * chunk;
  const int size = least(chunk, pairs - first), rest = index - first * blocks;
  return {first + rest % size, blocks - 1 - rest / size};
}

/// The largest size not above `chunk` that cuts `pairs` into chunks of nearly equal size, so that
/// the last one also ends with many short items.
STROBE_HD constexpr int even_chunk(int pairs, int chunk) {
  return pairs == 0 ? 1 : ceil_div(pairs, ceil_div(pairs, chunk));
}

/// How the backward's key blocks walk over the query blocks of their sequence. Rising under a
/// causal mask, each begins at its diagonal: no two are at one query block, and none waits. But the
/// longest end the work, and where heads share keys they are as long as the group: then they come
/// first. And under no mask all begin at one query block; falling, the blocks of a head are few at
/// a time.
enum class BackwardWalk {
  rising,   // the last key blocks first, each from its diagonal on
  falling,  // the first, longest ones first, each from the last queries back
  round,    // where all run at once and are equally long: they begin apart and go round
};
STROBE_HD constexpr BackwardWalk backward_walk(bool causal, bool together, int group) {
  if (together && !causal) return BackwardWalk::round;
  return causal && group == 1 ? BackwardWalk::rising : BackwardWalk::falling;
}

/// The backward's order of work, by blocks of keys: as the forward's, or, falling, the first keys
/// first, which under a causal mask are seen by most queries.
STROBE_HD constexpr AttentionItem backward_item(int index, int pairs, int blocks, int chunk,
                                                BackwardWalk walk) {
  const AttentionItem at = forward_item(index, pairs, blocks, chunk);
  return {at.pair, walk == BackwardWalk::falling ? blocks - 1 - at.block : at.block};
}
/// The chunk of a falling walk: of pairs that fit L2, but enough to fill the GPU, which runs
/// `places` thread blocks, with their first blocks of keys. A pair's Q, dO and dQ in f32 are
/// `pair_bytes`.
STROBE_HD constexpr int backward_chunk(int pairs, int blocks, int places, int64_t pair_bytes) {
  const auto fit = static_cast<int>((int64_t{32} << 20) / (pair_bytes + 1));
  return even_chunk(pairs, most(1, most(fit, ceil_div(places, most(1, blocks)))));
}

/// The backward's blocks over one sequence: blocks of `key_rows` keys, each of which visits blocks
/// of `query_rows` queries and adds to their dQ, one after another. Rising and falling, a key block
/// waits for those that came before it (backward_item) only.
struct BackwardOrder {
  AttentionMask mask;
  int query_rows, key_rows;
  BackwardWalk walk;

  STROBE_HD constexpr int query_blocks() const { return ceil_div(mask.queries, query_rows); }
  STROBE_HD constexpr int key_blocks() const { return ceil_div(mask.keys, key_rows); }

  /// Query blocks that key block j visits: [first_visited(j), query_blocks()).
  STROBE_HD constexpr int first_visited(int j) const {
    return mask.first_query(j * key_rows) / query_rows;
  }
  STROBE_HD constexpr int visits(int j) const { return query_blocks() - first_visited(j); }
  /// The t-th of them.
  STROBE_HD constexpr int visited(int j, int t) const {
    const int n = query_blocks();
    if (walk == BackwardWalk::falling) return n - 1 - t;
    if (walk == BackwardWalk::rising) return first_visited(j) + t;
    const int i = j * n / key_blocks() + t;
    return i < n ? i : i - n;
  }
  /// How many key blocks add to query block i's dQ: the first ones, [0, contributions(i)).
  STROBE_HD constexpr int contributions(int i) const {
    const int last = least((i + 1) * query_rows, mask.queries) - 1;
    return ceil_div(mask.keys_seen(last), key_rows);
  }
  /// How many of them come before key block j.
  STROBE_HD constexpr int rank(int i, int j) const {
    if (walk == BackwardWalk::falling) return j;
    const int n = contributions(i);
    const int latest = walk == BackwardWalk::rising ? n - 1 : ((i + 1) * n - 1) / query_blocks();
    return latest >= j ? latest - j : latest - j + n;
  }
};

/// Rows of all sequences in blocks of `rows`: those of sequence s, which begins at row `first`, are
/// numbered from here. No two sequences share a block.
STROBE_HD constexpr int64_t first_block(int64_t first, int64_t s, int rows) {
  return first / rows + s;
}
STROBE_HD constexpr int64_t block_capacity(int64_t total, int64_t sequences, int rows) {
  return total / rows + sequences;
}

}  // namespace strobe::cuda
