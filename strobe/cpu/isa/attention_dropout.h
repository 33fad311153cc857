// The random bytes of a tile of scores (strobe/ops/dropout_mask.h), kLanes patches of 4 x 4 at a
// time.
#pragma once

#include "strobe/cpu/isa/attention.h"
#include "strobe/cpu/isa/philox.h"

namespace strobe::cpu::STROBE_ISA {

/// bytes (keys, kQueries) of the tile at (first_key, first_query), both multiples of 4. The patches
/// of the tile are counted with queries running fastest, and lane i of a Philox call holds the i-th
/// from where the call begins. Byte b of word w is query w, key b of the patch, so the bytes of one
/// key come out of a 4 x 4 transpose within each lane.
template <int64_t kQueries>
static inline void dropout_tile(uint8_t* bytes, const AttentionHead& head, int64_t first_query,
                                int64_t first_key, int64_t keys) {
  constexpr uint32_t kUseDropout = 2;  // RandomUse::dropout
  constexpr int64_t kAcross = kQueries / 4, kRun = kLanes < kAcross ? kLanes : kAcross;
  const U32 lane = reinterpret_cast<U32>(lane_index());
  for (int64_t patch = 0; patch < keys / 4 * kAcross; patch += kLanes) {
    const U32 row_patch = ((lane + static_cast<uint32_t>(patch)) & uint32_t{kAcross - 1}) +
                          static_cast<uint32_t>(first_query / 4);
    const U32 column_patch = (lane + static_cast<uint32_t>(patch)) / uint32_t{kAcross} +
                             static_cast<uint32_t>(first_key / 4);
    const PhiloxBlocks blocks =
        philox({{column_patch, row_patch, U32{} + head.dropout_stream, U32{} + kUseDropout}},
               head.dropout_key);
    for (int b = 0; b < 4; ++b) {
      U32 column{};
      for (int w = 0; w < 4; ++w) column |= (blocks.words[w] >> (8 * b) & 255u) << (8 * w);
      for (int64_t i = 0; i < kLanes; i += kRun) {
        const int64_t key = (patch + i) / kAcross * 4 + b, query = (patch + i) % kAcross * 4;
        std::memcpy(bytes + key * kQueries + query, reinterpret_cast<const char*>(&column) + 4 * i,
                    4 * kRun);
      }
    }
  }
}

/// x where its byte is below `keep`, else 0.
STROBE_INLINE F32 drop(F32 x, const uint8_t* bytes, int32_t keep) {
#if defined(__AVX512F__)
  const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  const __mmask16 kept = _mm_cmplt_epu8_mask(b, _mm_set1_epi8(static_cast<char>(keep)));
  return reinterpret_cast<F32>(_mm512_maskz_mov_ps(kept, x));
#else
  I32 wide;
#if defined(__AVX2__)
  wide = reinterpret_cast<I32>(
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes))));
#else
  int32_t four;
  std::memcpy(&four, bytes, sizeof four);
  wide = reinterpret_cast<I32>(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)));
#endif
  return select(wide < keep, x, F32{});
#endif
}

}  // namespace strobe::cpu::STROBE_ISA
