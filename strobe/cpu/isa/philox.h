// The Philox of dropout masks (strobe/ops/dropout_mask.h) on kLanes counters at a time.
#pragma once

#include <immintrin.h>

#include "strobe/cpu/isa/simd.h"

namespace strobe::cpu::STROBE_ISA {

/// kDropoutRounds, which no file compiled for one instruction set may include.
constexpr int kPhiloxRounds = 7;

/// Four words of kLanes blocks: word w of block i is lane i of words[w].
struct PhiloxBlocks {
  U32 words[4];
};

/// The 64-bit products of the even 32-bit lanes.
STROBE_INLINE U32 multiply_even(U32 a, U32 b) {
#if defined(__AVX512F__)
  return reinterpret_cast<U32>(
      _mm512_mul_epu32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<U32>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#else
  return reinterpret_cast<U32>(
      _mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#endif
}

/// The high and low halves of the products of all lanes with `factor`.
STROBE_INLINE void multiply_wide(U32 x, uint32_t factor, U32& high, U32& low) {
  using U64 = uint64_t __attribute__((vector_size(kVectorBytes)));
  const U32 factors = U32{} + factor;
  const U64 even = reinterpret_cast<U64>(multiply_even(x, factors));
  const U64 odd = reinterpret_cast<U64>(
      multiply_even(reinterpret_cast<U32>(reinterpret_cast<U64>(x) >> 32), factors));
  const uint64_t lower = 0xffffffffu;
  high = reinterpret_cast<U32>((even >> 32) | (odd & ~lower));
  low = reinterpret_cast<U32>((even & lower) | (odd << 32));
}

STROBE_INLINE PhiloxBlocks philox(PhiloxBlocks counters, uint64_t key) {
  uint32_t key0 = static_cast<uint32_t>(key), key1 = static_cast<uint32_t>(key >> 32);
  U32* c = counters.words;
  for (int round = 0; round < kPhiloxRounds; ++round) {
    U32 high_a, low_a, high_b, low_b;
    multiply_wide(c[0], 0xD2511F53u, high_a, low_a);
    multiply_wide(c[2], 0xCD9E8D57u, high_b, low_b);
    const U32 next0 = high_b ^ c[1] ^ key0, next2 = high_a ^ c[3] ^ key1;
    c[0] = next0, c[1] = low_b, c[2] = next2, c[3] = low_a;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counters;
}

}  // namespace strobe::cpu::STROBE_ISA
