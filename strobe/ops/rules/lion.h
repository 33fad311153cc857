// Lion: the sign of an interpolated momentum. Chen et al. 2023, arXiv:2302.06675, Algorithm 2.
#pragma once

#include "strobe/ops/rules/rule.h"

namespace strobe {

struct LionRule {
  static constexpr RuleInfo kInfo = {
      "lion", "the sign of an interpolated momentum; one state",
      "w -= l (sign(beta1 m + (1 - beta1) g) + d w);  m = beta2 m + (1 - beta2) g",
      "Chen et al. 2023, arXiv:2302.06675"};
  static constexpr int kStates = 1;
  float beta1 = 0.9f, beta2 = 0.99f;

  struct Prepared {
    float beta1;
  };
  STROBE_HD Prepared prepare(const RuleStep& step) const { return {scheduled_beta(beta1, step)}; }
  STROBE_HD void operator()(float g, float& w, RuleStates& s, const RuleElement& e,
                            const Prepared& p) const {
    float& m = s[0];
    const float c = p.beta1 * m + (1.0f - p.beta1) * g;
    descend(w, static_cast<float>((c > 0.0f) - (c < 0.0f)), e);
    m = beta2 * m + (1.0f - beta2) * g;
  }
};

}  // namespace strobe
