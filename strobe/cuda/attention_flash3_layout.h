// Index arithmetic of the flash3 kernels: sizes, where elements lie in the tiles that TMA writes,
// the order of work. No CUDA here, so that a machine without a GPU can test it
// (tests/cuda_flash3_layout_test.cpp).
#pragma once

#include <cstdint>

#include "strobe/cuda/attention_layout.h"

namespace strobe::cuda {

/// A tile in shared memory as TMA writes it: panels of 64 elements (128 bytes) of all its rows, one
/// panel after another, 16-byte chunks swizzled by the row. The byte of chunk `chunk` (8 elements)
/// of row `row`, for tiles of `rows` rows that begin at multiples of 1024.
STROBE_HD constexpr int panel_chunk_byte(int row, int chunk, int rows) {
  return chunk / 8 * rows * 128 + row * 128 + ((chunk ^ row) & 7) * 16;
}

/// Which keys the 16 queries from `row` on, a warp's, see: query i of them [0, keys_seen(i)).
struct WarpMask {
  int keys, diagonal;
  int whole;  // tiles that end beyond are masked, and each row's maximum followed by itself

  STROBE_HD constexpr WarpMask(const AttentionMask& mask, int row)
      : keys(mask.keys),
        diagonal(mask.causal ? row + 1 + mask.keys - mask.queries : mask.keys),
        whole(keys_seen(0)) {
    // Rows of the next sequence would have a vote on whether the maximum is followed.
    if (row + 16 > mask.queries) whole = 0;
  }
  STROBE_HD constexpr int keys_seen(int i) const { return most(0, least(keys, diagonal + i)); }
};

/// The first query of block `block` of a sequence, whose blocks are `warpgroups` times 64 queries
/// each; not below mask.queries if it has no such block. Where the number of 64s is no multiple,
/// the block that is not full is the last, or under a causal mask the first: its first 64s then lie
/// before the sequence, and it is the shortest block instead of the longest that leaves warpgroups
/// without work.
STROBE_HD constexpr int first_row(const AttentionMask& mask, int block, int warpgroups) {
  const int pieces = ceil_div(mask.queries, 64), blocks = ceil_div(pieces, warpgroups);
  if (block >= blocks || !mask.causal) return 64 * warpgroups * block;
  return 64 * (pieces - warpgroups * (blocks - block));
}

/// Tiles of `tile_keys` keys that some of the `count` queries from `row` on see.
STROBE_HD constexpr int tiles_seen(const AttentionMask& mask, int row, int count, int tile_keys) {
  if (row >= mask.queries) return 0;
  return ceil_div(mask.keys_seen(least(row + count, mask.queries) - 1), tile_keys);
}

/// Of a block that begins at `block_row`, those that the 64 queries of warpgroup w see.
STROBE_HD constexpr int warpgroup_tiles(const AttentionMask& mask, int block_row, int w,
                                        int tile_keys) {
  const int row = block_row + 64 * w;
  return row < 0 ? 0 : tiles_seen(mask, row, 64, tile_keys);
}

/// How the forward is cut. Four warpgroups with small tiles are 3 % faster where items are short,
/// three with large ones up to 20 % where they are long. Dropout's registers leave room for three.
/// Turns pay where the start and the end of an item weigh.
enum class Flash3Plan { three_warpgroups, four_warpgroups, wide_heads, wide_heads_in_turns };

STROBE_HD constexpr Flash3Plan flash3_forward_plan(int head_dim, int max_k, bool dropout) {
  if (head_dim > 64)
    return max_k <= 2048 && !dropout ? Flash3Plan::wide_heads_in_turns : Flash3Plan::wide_heads;
  return max_k <= 512 && !dropout ? Flash3Plan::four_warpgroups : Flash3Plan::three_warpgroups;
}

}  // namespace strobe::cuda
