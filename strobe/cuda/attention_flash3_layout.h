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

/// Dropout's bits of 16 queries x `keys` keys, in words of two patches of 4 x 4 scores: patch rows
/// `row` and `row` + 2, patch column `column`. Byte 2 half + e of a word holds the columns e and
/// 2 + e of the patch in row `row` + 2 half: query i of the patch in bit 7 - i, of column 2 + e in
/// bit 3 - i. So a thread of an accumulator, queries g + 8 half and keys 8 n + 2 t + e, shifts a
/// word by mask_shift(g, t) and has its four bits in the signs of the four bytes.
struct MaskWord {
  int row, column;
};
/// Where words lie: those that a thread reads, n = 0, 1, ..., one after another from here on.
STROBE_HD constexpr int mask_slot(int row, int parity, int keys) {
  return (2 * row + parity) * (keys / 8);
}
/// The word in a slot, the inverse.
STROBE_HD constexpr MaskWord mask_word(int slot, int keys) {
  const int run = slot / (keys / 8);
  return {run / 2, 2 * (slot % (keys / 8)) + run % 2};
}
STROBE_HD constexpr int mask_shift(int g, int t) { return g % 4 + 4 * (t % 2); }

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

/// The largest size not above `chunk` that cuts `pairs` into chunks of nearly equal size, so that
/// the last one also ends with many short items (forward_item).
STROBE_HD constexpr int even_chunk(int pairs, int chunk) {
  return pairs == 0 ? 1 : ceil_div(pairs, ceil_div(pairs, chunk));
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
