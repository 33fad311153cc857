// Schedule-Free AdamW. Defazio et al. 2024, arXiv:2405.15682, Algorithm 1, in the memory-saving
// form of the authors' package: w is y, where gradients are taken; z is a state; the average x,
// which is what the model is used with, is y + (1 - 1 / beta1) (z - y).
#pragma once

#include "strobe/ops/rules/rule.h"

namespace strobe {

struct ScheduleFreeRule {
  static constexpr RuleInfo kInfo = {
      "schedule_free_adamw",
      "AdamW that averages instead of decaying its learning rate; give it a constant schedule with "
      "a warm-up. Evaluated and stored at the average x",
      "v = beta2 v + (1 - beta2) g^2;  u = g / (sqrt(v / (1 - beta2^t)) + eps) + d y;  "
      "c = l^2 / (sum of l^2);  y = (1 - c) y + c z - l (1 - beta1 (1 - c)) u;  z -= l u",
      "Defazio et al. 2024, arXiv:2405.15682"};
  static constexpr int kStates = 2;
  static constexpr bool kAverages = true;  // state 0 is z, which begins as w; x is what is used
  float beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f;

  struct Prepared {
    float c, y, v;
  };
  STROBE_HD Prepared prepare(const RuleStep& step) const {
    const float c = step.average;
    return {c, 1.0f - beta1 * (1.0f - c), bias_correction(beta2, step.t)};
  }
  STROBE_HD void operator()(float g, float& w, RuleStates& s, const RuleElement& e,
                            const Prepared& p) const {
    float &z = s[0], &v = s[1];
    v = beta2 * v + (1.0f - beta2) * g * g;
    float u = g / (std::sqrt(v * p.v) + eps);
    u += decay_of(w, u, e);
    w += p.c * (z - w) - e.lr * p.y * u;
    z -= e.lr * u;
  }
};

}  // namespace strobe
