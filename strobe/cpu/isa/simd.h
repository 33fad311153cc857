// Vectors of floats, as wide as the instruction set this file is compiled for (CMakeLists.txt
// compiles every file of this folder once per set, into the namespace STROBE_ISA).
//
// GCC's vector extensions give the arithmetic; what they lack is here: loads and stores of f32 and
// bf16 (raw uint16_t), whole and partial, reductions in a fixed order, exp.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace strobe::cpu::STROBE_ISA {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

inline constexpr int kLanes = kVectorBytes / 4;

using F32 = float __attribute__((vector_size(kVectorBytes)));
using I32 = int32_t __attribute__((vector_size(kVectorBytes)));
using U32 = uint32_t __attribute__((vector_size(kVectorBytes)));
using U16 = uint16_t __attribute__((vector_size(kVectorBytes / 2)));

#define STROBE_INLINE static inline __attribute__((always_inline))

STROBE_INLINE F32 broadcast(float x) { return F32{} + x; }
STROBE_INLINE I32 broadcast_i32(int32_t x) { return I32{} + x; }
STROBE_INLINE F32 as_f32(I32 x) { return reinterpret_cast<F32>(x); }
STROBE_INLINE I32 as_i32(F32 x) { return reinterpret_cast<I32>(x); }

/// 0, 1, 2, ...
STROBE_INLINE I32 lane_index() {
  I32 x{};
  for (int i = 0; i < kLanes; ++i) x[i] = i;
  return x;
}

/// condition ? a : b by lane; a lane of the condition is 0 or -1, as comparisons give.
STROBE_INLINE F32 select(I32 condition, F32 a, F32 b) { return condition ? a : b; }
STROBE_INLINE F32 max(F32 a, F32 b) { return a > b ? a : b; }
STROBE_INLINE F32 min(F32 a, F32 b) { return a < b ? a : b; }

// ---- memory ------------------------------------------------------------------------------------

STROBE_INLINE F32 load(const float* p) {
  F32 x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
STROBE_INLINE void store(float* p, F32 x) { std::memcpy(p, &x, sizeof x); }

/// bf16 to f32.
STROBE_INLINE F32 load(const uint16_t* p) {
  U16 x;
  std::memcpy(&x, p, sizeof x);
  return as_f32(reinterpret_cast<I32>(__builtin_convertvector(x, U32) << 16));
}

/// f32 to bf16, rounded to nearest, ties to even; NaN stays NaN.
STROBE_INLINE U16 to_bf16(F32 x) {
  const U32 u = reinterpret_cast<U32>(x);
  const U32 rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const U32 nan = (u >> 16) | 0x40u;
  return __builtin_convertvector((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded, U16);
}
STROBE_INLINE void store(uint16_t* p, F32 x) {
  const U16 y = to_bf16(x);
  std::memcpy(p, &y, sizeof y);
}

/// The first n < kLanes elements; the other lanes are 0.
template <class T>
STROBE_INLINE F32 load_part(const T* p, int64_t n) {
  T whole[kLanes] = {};
  std::memcpy(whole, p, n * sizeof(T));
  return load(whole);
}
template <class T>
STROBE_INLINE void store_part(T* p, F32 x, int64_t n) {
  T whole[kLanes];
  store(whole, x);
  std::memcpy(p, whole, n * sizeof(T));
}

STROBE_INLINE float scalar(float x) { return x; }
STROBE_INLINE float scalar(uint16_t x) {
  const uint32_t u = uint32_t{x} << 16;
  float y;
  std::memcpy(&y, &u, sizeof y);
  return y;
}

// ---- reductions, halving: the order is fixed ---------------------------------------------------

STROBE_INLINE float sum(F32 x) {
  float lanes[kLanes];
  store(lanes, x);
  for (int n = kLanes / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) lanes[i] += lanes[i + n];
  return lanes[0];
}
STROBE_INLINE float max(F32 x) {
  float lanes[kLanes];
  store(lanes, x);
  for (int n = kLanes / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) lanes[i] = lanes[i] > lanes[i + n] ? lanes[i] : lanes[i + n];
  return lanes[0];
}

// ---- functions ---------------------------------------------------------------------------------

/// 2^f for |f| <= 1/2, relative error 8e-8: a polynomial fitted for relative error (Remez).
STROBE_INLINE F32 exp2_fraction(F32 f) {
  F32 p = broadcast(1.535336188319500e-4f);
  p = p * f + 1.339887440266574e-3f;
  p = p * f + 9.618437357674640e-3f;
  p = p * f + 5.550332471162809e-2f;
  p = p * f + 2.402264791363012e-1f;
  p = p * f + 6.931472028550421e-1f;
  return p * f + 1.0f;
}

/// The nearest integer, for |x| < 2^22.
STROBE_INLINE F32 nearest(F32 x) {
  const float magic = 12582912.0f;  // 1.5 * 2^23
  return (x + magic) - magic;
}

/// y 2^n for an integer n in [-252, 254], in two exact steps so that neither overflows.
STROBE_INLINE F32 scale_by_power(F32 y, F32 n) {
  const I32 whole = __builtin_convertvector(n, I32);
  const I32 half = whole >> 1;
  return y * as_f32((half + 127) << 23) * as_f32((whole - half + 127) << 23);
}

#if defined(__AVX512F__)
/// x - floor(x), and y 2^floor(x) with overflow to inf and underflow to 0.
STROBE_INLINE F32 fraction(F32 x) { return reinterpret_cast<F32>(_mm512_reduce_ps(x, 1)); }
STROBE_INLINE F32 scale_by_floor(F32 y, F32 x) {
  return reinterpret_cast<F32>(_mm512_scalef_ps(y, x));
}
#endif

/// 2^x to 2 units in the last place: 0 for -inf, inf beyond 128, NaN for NaN.
STROBE_INLINE F32 exp2(F32 x) {
#if defined(__AVX512F__)
  const F32 f = fraction(x);
  F32 p = broadcast(1.877576673523e-3f);  // Remez on [0, 1), relative error 7.5e-8
  p = p * f + 8.989340094534e-3f;
  p = p * f + 5.582631804991e-2f;
  p = p * f + 2.401536170455e-1f;
  p = p * f + 6.931530732000e-1f;
  p = p * f + 9.999999250635e-1f;
  return scale_by_floor(p, x);
#else
  const F32 lower = x < -160.0f ? broadcast(-160.0f) : x;
  const F32 clamped = lower > 129.0f ? broadcast(129.0f) : lower;
  const F32 n = nearest(clamped);
  return scale_by_power(exp2_fraction(clamped - n), n);
#endif
}

/// e^x to 2 units in the last place, likewise.
STROBE_INLINE F32 exp(F32 x) {
  const F32 lower = x < -110.0f ? broadcast(-110.0f) : x;
  const F32 clamped = lower > 89.0f ? broadcast(89.0f) : lower;
  const F32 n = nearest(clamped * 1.44269504088896341f);
  const F32 r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts
  return scale_by_power(exp2_fraction(r * 1.44269504088896341f), n);
}

}  // namespace strobe::cpu::STROBE_ISA
