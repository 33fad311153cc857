// The random bytes of a tile of scores (strobe/ops/dropout_mask.h), kLanes patches of 4 x 4 at a
// time.
#pragma once

#include "strobe/cpu/isa/attention.h"
#include "strobe/cpu/isa/philox.h"

namespace strobe::cpu::STROBE_ISA {

/// bytes (64 keys, 64 queries) of the tile at (first_key, first_query), both multiples of 64.
/// Lane i of a Philox call holds query patch i; byte b of word w is query w, key b of the patch, so
/// the words of one key come out of a 4 x 4 transpose of bytes within each lane.
static inline void dropout_tile(uint8_t* bytes, const AttentionHead& head, int64_t first_query,
                                int64_t first_key, int64_t keys) {
  constexpr uint32_t kUseDropout = 2;  // RandomUse::dropout
  for (int64_t key = 0; key < keys; key += 4)
    for (int64_t query = 0; query < kAttentionBlock; query += 4 * kLanes) {
      const uint32_t row_patch = static_cast<uint32_t>((first_query + query) / 4);
      const uint32_t column_patch = static_cast<uint32_t>((first_key + key) / 4);
      const PhiloxBlocks blocks =
          philox({{U32{} + column_patch, reinterpret_cast<U32>(lane_index()) + row_patch,
                   U32{} + head.dropout_stream, U32{} + kUseDropout}},
                 head.dropout_key);
      for (int b = 0; b < 4; ++b) {
        U32 column{};
        for (int w = 0; w < 4; ++w) column |= (blocks.words[w] >> (8 * b) & 255u) << (8 * w);
        std::memcpy(bytes + (key + b) * kAttentionBlock + query, &column, sizeof column);
      }
    }
}

/// x where its byte is below `keep`, else 0.
STROBE_INLINE F32 drop(F32 x, const uint8_t* bytes, int32_t keep) {
  using U8 = uint8_t __attribute__((vector_size(kLanes)));
  U8 b;
  std::memcpy(&b, bytes, sizeof b);
  return select(__builtin_convertvector(b, I32) < keep, x, F32{});
}

}  // namespace strobe::cpu::STROBE_ISA
