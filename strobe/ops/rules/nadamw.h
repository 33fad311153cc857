// NAdamW: AdamW whose first moment looks one step ahead. Dozat 2016, "Incorporating Nesterov
// momentum into Adam", Algorithm 2 with a constant beta1.
#pragma once

#include "strobe/ops/rules/rule.h"

namespace strobe {

struct NAdamWRule {
  static constexpr RuleInfo kInfo = {
      "nadamw", "AdamW with Nesterov momentum",
      "m, v as adamw's;  u = beta1 m / (1 - beta1^(t+1)) + (1 - beta1) g / (1 - beta1^t);  "
      "w -= l (u / (sqrt(v / (1 - beta2^t)) + eps) + d w)",
      "Dozat 2016, openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ"};
  static constexpr int kStates = 2;
  float beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f;

  struct Prepared {
    float beta1, m, g, v;
  };
  STROBE_HD Prepared prepare(const RuleStep& step) const {
    const float b1 = scheduled_beta(beta1, step);
    return {b1, b1 * bias_correction(b1, step.t + 1), (1.0f - b1) * bias_correction(b1, step.t),
            bias_correction(beta2, step.t)};
  }
  STROBE_HD void operator()(float g, float& w, RuleStates& s, const RuleElement& e,
                            const Prepared& p) const {
    float &m = s[0], &v = s[1];
    m = p.beta1 * m + (1.0f - p.beta1) * g;
    v = beta2 * v + (1.0f - beta2) * g * g;
    descend(w, (p.m * m + p.g * g) / (std::sqrt(v * p.v) + eps), e);
  }
};

}  // namespace strobe
