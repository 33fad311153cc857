// The loop of an elementwise optimizer update, compiled for several instruction sets.
#pragma once

#include <cstdint>

#include "strobe/core/dtype.h"
#include "strobe/ops/update_rules.h"

namespace strobe::cpu {

struct UpdateKernel {
  float* value = nullptr;
  bf16* compute = nullptr;  // refreshed, unless null
  const float* grad = nullptr;
  float *state0 = nullptr, *state1 = nullptr;  // null where the rule has fewer
  float lr = 0, weight_decay = 0, grad_scale = 1;

  /// Applies update number `t` (from 1) of `rule` to elements [begin, end).
  void run(const UpdateRule& rule, int64_t t, int64_t begin, int64_t end) const;
};

}  // namespace strobe::cpu
