// Where a producer or consumer is in a ring of stages of shared memory. Index arithmetic, for any
// machine (tests/cuda_flash3_layout_test.cpp).
#pragma once

#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe::cuda {

/// The stage that is next and the phase of its "full" barrier, by how many have been passed.
template <int Stages>
class Ring {
 public:
  STROBE_HD constexpr int stage() const { return passed_ % Stages; }
  STROBE_HD constexpr uint32_t phase() const { return passed_ / Stages & 1; }
  STROBE_HD constexpr void next() { ++passed_; }
  STROBE_HD constexpr void skip(int stages) { passed_ += stages; }

 private:
  uint32_t passed_ = 0;
};

/// A number of stages that is no power of two would be a division each time.
template <int Stages>
requires((Stages & (Stages - 1)) != 0) class Ring<Stages> {
 public:
  STROBE_HD constexpr int stage() const { return stage_; }
  STROBE_HD constexpr uint32_t phase() const { return phase_; }
  STROBE_HD constexpr void next() {
    if (++stage_ == Stages) stage_ = 0, phase_ ^= 1;
  }

 private:
  int stage_ = 0;
  uint32_t phase_ = 0;
};

}  // namespace strobe::cuda
