// The arithmetic of elementwise optimizers, written once and compiled for every backend.
//
// A rule sees one element: its gradient g (already scaled for clipping), the master weight w and up
// to two states. `lr` and `weight_decay` are the element's own, schedule and parameter group
// included.
#pragma once

#include <cmath>
#include <variant>

#include "strobe/core/dtype.h"

namespace strobe {

/// AdamW. Loshchilov & Hutter 2019, arXiv:1711.05101, Algorithm 2, decay coupled to the learning
/// rate. `t` is the number of this update, from 1.
struct AdamWRule {
  static constexpr int kStates = 2;
  float beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f;

  /// 1 / (1 - beta^t), computed once an update.
  struct Corrections {
    float m, v;
  };
  STROBE_HD Corrections prepare(int64_t t) const {
    const double exponent = static_cast<double>(t);
    return {static_cast<float>(1.0 / (1.0 - std::pow(static_cast<double>(beta1), exponent))),
            static_cast<float>(1.0 / (1.0 - std::pow(static_cast<double>(beta2), exponent)))};
  }
  STROBE_HD void operator()(float g, float& w, float& m, float& v, float lr, float weight_decay,
                            Corrections c) const {
    m = beta1 * m + (1.0f - beta1) * g;
    v = beta2 * v + (1.0f - beta2) * g * g;
    w -= lr * (weight_decay * w + m * c.m / (std::sqrt(v * c.v) + eps));
  }
};

/// Lion: the sign of an interpolated momentum. Chen et al. 2023, arXiv:2302.06675, Algorithm 2.
struct LionRule {
  static constexpr int kStates = 1;
  float beta1 = 0.9f, beta2 = 0.99f;

  struct Corrections {};
  STROBE_HD Corrections prepare(int64_t) const { return {}; }
  STROBE_HD void operator()(float g, float& w, float& m, float&, float lr, float weight_decay,
                            Corrections) const {
    const float c = beta1 * m + (1.0f - beta1) * g;
    w -= lr * (weight_decay * w + static_cast<float>((c > 0.0f) - (c < 0.0f)));
    m = beta2 * m + (1.0f - beta2) * g;
  }
};

using UpdateRule = std::variant<AdamWRule, LionRule>;

}  // namespace strobe
