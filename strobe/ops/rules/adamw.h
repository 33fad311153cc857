// AdamW. Loshchilov & Hutter 2019, arXiv:1711.05101, Algorithm 2.
#pragma once

#include "strobe/ops/rules/rule.h"

namespace strobe {

struct AdamWRule {
  static constexpr RuleInfo kInfo = {
      "adamw", "Adam with decoupled weight decay",
      "m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  "
      "w -= l (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + d w)",
      "Loshchilov & Hutter 2019, arXiv:1711.05101"};
  static constexpr int kStates = 2;
  float beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f;

  struct Prepared {
    float beta1, m, v;
  };
  STROBE_HD Prepared prepare(const RuleStep& step) const {
    const float b1 = scheduled_beta(beta1, step);
    return {b1, bias_correction(b1, step.t), bias_correction(beta2, step.t)};
  }
  STROBE_HD void operator()(float g, float& w, RuleStates& s, const RuleElement& e,
                            const Prepared& p) const {
    float &m = s[0], &v = s[1];
    m = p.beta1 * m + (1.0f - p.beta1) * g;
    v = beta2 * v + (1.0f - beta2) * g * g;
    descend(w, m * p.m / (std::sqrt(v * p.v) + eps), e);
  }
};

}  // namespace strobe
