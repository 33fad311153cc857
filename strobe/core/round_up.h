// Whole multiples.
#pragma once

#include <cstdint>

namespace strobe {

/// The least multiple of `multiple`, which is positive, that is not below n >= 0.
constexpr int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace strobe
