// An exponential moving average of other tensors: "gradients" are the values to average. No
// optimizer, and not in the catalogue; it shares the fused update.
#pragma once

#include "strobe/ops/rules/rule.h"

namespace strobe {

struct EmaRule {
  static constexpr RuleInfo kInfo = {nullptr, nullptr, nullptr, nullptr};
  static constexpr int kStates = 0;
  static constexpr bool kScaled = false;  // by the clipping factor
  float decay = 0.999f;

  struct Prepared {};
  STROBE_HD Prepared prepare(const RuleStep&) const { return {}; }
  STROBE_HD void operator()(float g, float& w, RuleStates&, const RuleElement&,
                            const Prepared&) const {
    w += (1.0f - decay) * (g - w);
  }
};

}  // namespace strobe
