// GELU and its slope, by tanh or erf. Hendrycks & Gimpel 2016, arXiv:1606.08415.
#pragma once

#include "strobe/cuda/gelu_gate.h"
#include "strobe/cuda/log2.h"
#include "strobe/cuda/ptx.cuh"
#include "strobe/ops/backend.h"

namespace strobe::cuda {

inline constexpr float kLinear = 1.5957691216057308f;  // 2 sqrt(2 / pi)
inline constexpr float kCubic = 0.044715f * kLinear;

/// 0.5 (1 + tanh(z)) = 1 / (1 + e^-2z) of tanh GELU's z at x: gelu(x) = x tanh_gate(x).
__device__ inline float tanh_gate(float x) {
  const float power = x * fmaf(-kCubic * kLog2e, x * x, -kLinear * kLog2e);
  return ptx::rcp_approx_ftz(1.0f + ptx::ex2_approx_ftz(power));
}
/// The slope of tanh GELU at x, where its value and gate are known.
__device__ inline float tanh_gelu_slope(float x, float value, float gate) {
  return fmaf(value * (1.0f - gate), fmaf(3.0f * kCubic, x * x, kLinear), gate);
}

/// The same of erf GELU, and its slope: Phi(x) + x Phi'(x). For results of 8 bits.
__device__ inline float erf_gate(float x) {
  return ptx::rcp_approx_ftz(1.0f + ptx::ex2_approx_ftz(erf_gate_power(x)));
}
__device__ inline float erf_gelu_slope(float x, float gate) {
  constexpr float kDensity = 0.39894228f, kHalfLog2e = 0.72134752f;  // 1 / sqrt(2 pi)
  return fmaf(kDensity * x, ptx::ex2_approx_ftz(-kHalfLog2e * x * x), gate);
}

/// gelu(x) = x gelu_gate(x), and its slope where both are known, within what bf16 can hold.
template <Gelu kKind>
__device__ float gelu_gate(float x) {
  return kKind == Gelu::tanh ? tanh_gate(x) : erf_gate(x);
}
template <Gelu kKind>
__device__ float gelu_slope_at(float x, float value, float gate) {
  return kKind == Gelu::tanh ? tanh_gelu_slope(x, value, gate) : erf_gelu_slope(x, gate);
}

// To f32's precision.
template <Gelu kKind>
__device__ float gelu_value(float x) {
  if constexpr (kKind == Gelu::tanh)
    return x * tanh_gate(x);
  else
    return 0.5f * x * (1.0f + erff(0.70710678f * x));
}

template <Gelu kKind>
__device__ float gelu_slope(float x) {
  if constexpr (kKind == Gelu::tanh) {
    const float gate = tanh_gate(x);
    return tanh_gelu_slope(x, x * gate, gate);
  } else {
    const float density = 0.39894228f * __expf(-0.5f * x * x);
    return 0.5f * (1.0f + erff(0.70710678f * x)) + x * density;
  }
}

}  // namespace strobe::cuda
