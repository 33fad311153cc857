// Loops over arrays of any length in whole vectors and one partial vector.
#pragma once

#include <immintrin.h>

#include "strobe/cpu/isa/simd.h"

namespace strobe::cpu::STROBE_ISA {

/// A whole vector, or its first n lanes, as the tail of an array needs.
struct Whole {
  template <class T>
  [[gnu::always_inline]] F32 get(const T* p) const {
    return load(p);
  }
  template <class T>
  [[gnu::always_inline]] void put(T* p, F32 x) const {
    store(p, x);
  }
  /// x, and `other` in the lanes beyond the end.
  [[gnu::always_inline]] F32 mask_or(F32 x, F32) const { return x; }
};

struct Part {
  int64_t n;
  template <class T>
  [[gnu::always_inline]] F32 get(const T* p) const {
    return load_part(p, n);
  }
  template <class T>
  [[gnu::always_inline]] void put(T* p, F32 x) const {
    store_part(p, x, n);
  }
  [[gnu::always_inline]] F32 mask_or(F32 x, F32 other) const {
    return select(lane_index() < static_cast<int32_t>(n), x, other);
  }
};

/// 1 / x for finite x of normal size, to 2 units in the last place: the machine's estimate and one
/// step of Newton's, several times the rate of a division.
STROBE_INLINE F32 reciprocal(F32 x) {
#if defined(__AVX512F__)
  const F32 y = reinterpret_cast<F32>(_mm512_maskz_rcp14_ps(0xffff, reinterpret_cast<__m512>(x)));
#elif defined(__AVX2__)
  const F32 y = reinterpret_cast<F32>(_mm256_rcp_ps(reinterpret_cast<__m256>(x)));
#else
  return 1.0f / x;
#endif
#if defined(__AVX2__)
  return y * (2.0f - x * y);
#endif
}

/// e^x for x <= 0, to 2 units in the last place; below -87 it stays at e^-87 (1.6e-38).
STROBE_INLINE F32 exp_nonpositive(F32 x) {
  const F32 clamped = x < -87.0f ? broadcast(-87.0f) : x;
  const F32 n = nearest(clamped * 1.44269504088896341f);
  const F32 r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts
  const I32 exponent = (__builtin_convertvector(n, I32) + 127) << 23;
  return exp2_fraction(r * 1.44269504088896341f) * as_f32(exponent);
}

/// Calls body(i, part) for i = 0, kLanes, ...: `part` loads and stores what there is at i.
template <class Body>
STROBE_INLINE void for_lanes(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, Whole{});
  if (i < n) body(i, Part{n - i});
}

}  // namespace strobe::cpu::STROBE_ISA
