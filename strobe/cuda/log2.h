// Between natural logarithms and those of base 2, which are what the special functions compute.
#pragma once

namespace strobe::cuda {

constexpr float kLog2e = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

}  // namespace strobe::cuda
