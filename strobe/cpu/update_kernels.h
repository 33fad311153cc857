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
  float* states[kMostStates] = {};  // null where the rule has fewer
  RuleElement element;
  float grad_scale = 1;

  /// Applies one update of `rule` to elements [begin, end).
  void run(const UpdateRule& rule, const RuleStep& step, int64_t begin, int64_t end) const;
};

}  // namespace strobe::cpu
