// The gate of erf GELU, Phi(x) = 0.5 (1 + erf(x / sqrt(2))), at the price of tanh GELU's. No CUDA
// here, so that a machine without a GPU can test it (tests/cuda_op_plans_test.cpp).
//
// log(Phi(x) / Phi(-x)) is odd and smooth, so Phi(x) = 1 / (1 + 2^p(x)) with p a polynomial, which
// was fitted for the least |x| |error| on [-5, 5]: Phi is off by 1.5e-5 at most, gelu by 7e-6, a
// 500th of what bf16 loses at 1. Beyond, the polynomial's slope stays what it is at 5.
#pragma once

#include "strobe/core/dtype.h"

namespace strobe::cuda {

STROBE_HD constexpr float erf_gate_power(float x) {
  constexpr float kMinusLog2e = -1.4426950408889634f, kMost = 25.0f;
  constexpr float kTerms[] = {kMinusLog2e * 1.595539141e0f, kMinusLog2e * 7.316416468e-2f,
                              kMinusLog2e * -3.644364431e-4f, kMinusLog2e * -4.147655145e-5f,
                              kMinusLog2e * 1.221945421e-6f};
  const float square = x * x, s = square < kMost ? square : kMost;
  return x * ((((kTerms[4] * s + kTerms[3]) * s + kTerms[2]) * s + kTerms[1]) * s + kTerms[0]);
}

}  // namespace strobe::cuda
