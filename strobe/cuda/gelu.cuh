// GELU and its slope, by tanh or erf. Hendrycks & Gimpel 2016, arXiv:1606.08415.
#pragma once

#include "strobe/ops/backend.h"

namespace strobe::cuda {

/// 1 / (1 + e^-x)
__device__ inline float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

inline constexpr float kTwoRootTwoOverPi = 1.5957691216057308f;  // 2 sqrt(2 / pi)
inline constexpr float kCubic = 0.044715f;

// With 0.5 (1 + tanh(z)) = sigmoid(2 z).
template <Gelu kKind>
__device__ float gelu_value(float x) {
  if constexpr (kKind == Gelu::tanh)
    return x * sigmoid(kTwoRootTwoOverPi * (x + kCubic * x * x * x));
  else
    return 0.5f * x * (1.0f + erff(0.70710678f * x));
}

template <Gelu kKind>
__device__ float gelu_slope(float x) {
  if constexpr (kKind == Gelu::tanh) {
    const float s = sigmoid(kTwoRootTwoOverPi * (x + kCubic * x * x * x));
    return s + x * s * (1.0f - s) * (kTwoRootTwoOverPi * (1.0f + 3.0f * kCubic * x * x));
  } else {
    const float density = 0.39894228f * __expf(-0.5f * x * x);
    return 0.5f * (1.0f + erff(0.70710678f * x)) + x * density;
  }
}

}  // namespace strobe::cuda
