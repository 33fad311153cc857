// Eight elements of a row or a flat tensor: what a thread loads, computes in f32 and stores at a
// time, in 16-byte transactions (one for bf16, two for f32).
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "strobe/core/check.h"
#include "strobe/core/dtype.h"

namespace strobe::cuda {

inline constexpr int kLanes = 8;  // elements of a vector

/// The elements as f32.
struct Floats {
  float at[kLanes];
  __device__ float& operator[](int i) { return at[i]; }
  __device__ float operator[](int i) const { return at[i]; }
};

/// The elements as they lie in memory; cheaper to hold than Floats while a load is under way.
template <class T>
struct Packed;
template <>
struct Packed<float> {
  float4 low, high;
};
template <>
struct Packed<bf16> {
  uint4 words;
};

__device__ inline Packed<float> load(const float* from) {
  const float4* at = reinterpret_cast<const float4*>(from);
  return {at[0], at[1]};
}
__device__ inline Packed<bf16> load(const bf16* from) {
  return {*reinterpret_cast<const uint4*>(from)};
}
__device__ inline void store(float* to, const Packed<float>& x) {
  float4* at = reinterpret_cast<float4*>(to);
  at[0] = x.low, at[1] = x.high;
}
__device__ inline void store(bf16* to, const Packed<bf16>& x) {
  *reinterpret_cast<uint4*>(to) = x.words;
}

__device__ inline Floats unpack(const Packed<float>& x) {
  return {x.low.x, x.low.y, x.low.z, x.low.w, x.high.x, x.high.y, x.high.z, x.high.w};
}
__device__ inline float low_half(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float high_half(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ inline Floats unpack(const Packed<bf16>& x) {
  const uint4 w = x.words;
  return {low_half(w.x), high_half(w.x), low_half(w.y), high_half(w.y),
          low_half(w.z), high_half(w.z), low_half(w.w), high_half(w.w)};
}

/// Sum over 8 products of bf16, in f32.
__device__ inline float dot8(const uint4& a, const uint4& b) {
  const uint32_t x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum = fmaf(low_half(x[i]), low_half(y[i]), sum);
    sum = fmaf(high_half(x[i]), high_half(y[i]), sum);
  }
  return sum;
}

/// Two floats rounded to bf16, the first in the lower half.
__device__ inline uint32_t pack_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
template <class T>
__device__ Packed<T> pack(const Floats& x);
template <>
__device__ inline Packed<float> pack<float>(const Floats& x) {
  return {make_float4(x[0], x[1], x[2], x[3]), make_float4(x[4], x[5], x[6], x[7])};
}
template <>
__device__ inline Packed<bf16> pack<bf16>(const Floats& x) {
  return {make_uint4(pack_pair(x[0], x[1]), pack_pair(x[2], x[3]), pack_pair(x[4], x[5]),
                     pack_pair(x[6], x[7]))};
}

template <class T>
__device__ T round_to(float x);
template <>
__device__ inline float round_to<float>(float x) {
  return x;
}
template <>
__device__ inline bf16 round_to<bf16>(float x) {
  return to_bf16(x);
}

/// The first `count` elements; the others are 0. `whole`: all of them, and `from` is aligned.
template <class T>
__device__ Packed<T> load_packed(const T* from, int64_t count, bool whole) {
  if (whole) return load(from);
  Floats x;
#pragma unroll
  for (int j = 0; j < kLanes; ++j) x[j] = j < count ? to_float(from[j]) : 0.0f;
  return pack<T>(x);
}
template <class T>
__device__ Floats load_some(const T* from, int64_t count, bool whole) {
  return unpack(load_packed(from, count, whole));
}
template <class T>
__device__ void store_some(T* to, const Floats& x, int64_t count, bool whole) {
  if (whole) return store(to, pack<T>(x));
#pragma unroll
  for (int j = 0; j < kLanes; ++j)
    if (j < count) to[j] = round_to<T>(x[j]);
}

// ---- on the host ---------------------------------------------------------------------------

/// Whether all of `pointers` (null ones too) allow 16-byte transactions.
template <class... Pointers>
bool aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) | ... | 0) & 15) == 0;
}

/// Vectors of rows of `columns`, as vector_place() numbers them.
inline int64_t count_vectors(int64_t rows, int64_t columns) {
  const int64_t count = rows * ((columns + kLanes - 1) / kLanes);
  check(count < INT32_MAX, "cuda: an op over rows got too many of them");
  return count;
}

/// Calls body(T{}) with T the storage type of `dtype`: float or bf16.
template <class Body>
void with_storage(DType dtype, Body body) {
  check(dtype == DType::f32 || dtype == DType::bf16, "cuda: an op over floats got another type");
  if (dtype == DType::f32)
    body(float{});
  else
    body(bf16{});
}

}  // namespace strobe::cuda
