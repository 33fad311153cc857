// Attention's dropout (strobe/ops/dropout_mask.h): the random numbers of queries, and which scores
// are kept, two for each product. What is kept is compared where it is needed, in no more
// instructions than a mask in memory would take to read.
#pragma once

#include "strobe/cpu/isa/attention.h"
#include "strobe/cpu/isa/attention_layout.h"
#include "strobe/cpu/isa/philox.h"

namespace strobe::cpu::STROBE_ISA {

/// The multipliers and addends of queries [first, first + n), both multiples of 32. Of a call of
/// Philox, words 0 and 1 are of runs of 8 queries, words 2 and 3 of the 8 that follow each.
static inline void dropout_queries(uint32_t* multipliers, uint32_t* addends,
                                   const HeadDropout& dropout, int64_t first, int64_t n) {
  constexpr uint32_t kUseDropout = 2;  // RandomUse::dropout
  constexpr int64_t kRun = kLanes < 8 ? kLanes : 8;
  for (int64_t block = 0; block < n / 2; block += kLanes) {
    const U32 index =
        reinterpret_cast<U32>(lane_index()) + static_cast<uint32_t>(first / 2 + block);
    PhiloxBlocks blocks =
        philox({{index, U32{}, U32{} + dropout.stream, U32{} + kUseDropout}}, dropout.key);
    for (int half = 0; half < 2; ++half) {
      blocks.words[2 * half] |= 1u;
      const char* from = reinterpret_cast<const char*>(&blocks.words[2 * half]);
      for (int64_t i = 0; i < kLanes; i += kRun) {
        const int64_t query = (block + i) / 8 * 16 + (block + i) % 8 + 8 * half;
        std::memcpy(multipliers + query, from + 4 * i, 4 * kRun);
        std::memcpy(addends + query, from + sizeof(U32) + 4 * i, 4 * kRun);
      }
    }
  }
}

#if defined(__AVX512F__)
using Kept = __mmask16;  // a bit a score
STROBE_INLINE F32 drop(F32 x, Kept kept) {
  return reinterpret_cast<F32>(_mm512_maskz_mov_ps(kept, x));
}
#else
using Kept = I32;  // 0 or -1
STROBE_INLINE F32 drop(F32 x, Kept kept) { return as_f32(as_i32(x) & kept); }
#endif

/// DroppedNumbers for numbers in the upper halves of lanes. The second range, from -nans to -1, is
/// one comparison: x + nans - 2^15, modulo 2^16, is below nans - 2^15.
struct DropoutLimits {
  I32 first;
  U32 nans;
};
STROBE_INLINE DropoutLimits dropout_limits(const HeadDropout& dropout) {
  return {I32{} + static_cast<int32_t>(static_cast<uint32_t>(dropout.first) << 16),
          U32{} + ((static_cast<uint32_t>(dropout.nans) << 16) ^ 0x80000000u)};
}

/// Which scores are kept by the numbers in the upper halves of x, whatever is in the lower halves.
STROBE_INLINE Kept kept_by(U32 x, const DropoutLimits& limits) {
#if defined(__AVX512F__)
  const __m512i nans = reinterpret_cast<__m512i>(limits.nans);
  const Kept below = _mm512_cmplt_epi32_mask(reinterpret_cast<__m512i>(x),
                                             reinterpret_cast<__m512i>(limits.first));
  return _mm512_mask_cmpge_epi32_mask(below, reinterpret_cast<__m512i>(x + limits.nans), nans);
#else
  return (reinterpret_cast<I32>(x) < limits.first) &
         (reinterpret_cast<I32>(x + limits.nans) >= reinterpret_cast<I32>(limits.nans));
#endif
}

/// Of a vector of queries and a pair of keys.
struct KeptPair {
  Kept even, odd;
};
STROBE_INLINE KeptPair kept_pair(U32 multiplier, U32 addend, uint32_t word,
                                 const DropoutLimits& limits) {
  const U32 x = multiplier * word + addend;
  return {kept_by(x << 16, limits), kept_by(x, limits)};
}

}  // namespace strobe::cpu::STROBE_ISA
