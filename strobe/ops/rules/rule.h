// What every elementwise update rule is made of.
//
// A rule sees one element: its gradient g (already scaled for clipping), the master weight w and up
// to three states, and changes w and the states. It offers
//
//   kInfo       its entry in the catalogue: name, formula, defaults, source; no name: not in it
//   kStates     how many states it keeps
//   beta1 ...   members of the names of its options, with their defaults
//   prepare()   what is computed once a step, in double, from the step's number and schedules
//   operator()  the update of one element
#pragma once

#include <cmath>
#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe {

/// A line of the catalogue. `formula` uses g gradient, w weight, t the update's number from 1,
/// l learning rate, d weight decay.
struct RuleInfo {
  const char* name;
  const char* summary;
  const char* formula;
  const char* source;
};

/// What a rule may know of the step.
struct RuleStep {
  int64_t t = 1;             // number of this update, from 1
  float momentum_scale = 1;  // StepInput's
  float average = 1;
};

/// What a rule may know of the element's parameter.
struct RuleElement {
  float lr = 0, weight_decay = 0;  // schedules and parameter group included
  bool cautious = false;           // decay only what the update shrinks anyway
};

/// The most states of any rule.
inline constexpr int kMostStates = 3;

struct RuleStates {
  float of[kMostStates];
  STROBE_HD float& operator[](int i) { return of[i]; }
};

/// Decoupled weight decay, for a step that will subtract lr (this + u). Cautious: Chen et al. 2025,
/// arXiv:2510.12402, only where u has the sign of w.
STROBE_HD inline float decay_of(float w, float u, const RuleElement& e) {
  return e.cautious && u * w < 0.0f ? 0.0f : e.weight_decay * w;
}

/// w -= lr (decay + u)
STROBE_HD inline void descend(float& w, float u, const RuleElement& e) {
  w -= e.lr * (decay_of(w, u, e) + u);
}

/// A momentum that follows a schedule; 1 stays out of reach.
STROBE_HD inline float scheduled_beta(float beta, const RuleStep& step) {
  const float scaled = beta * step.momentum_scale;
  return scaled < 0.9999f || step.momentum_scale == 1.0f ? scaled : 0.9999f;
}

/// Whether a rule's gradient is multiplied by the clipping factor.
template <class Rule>
constexpr bool is_scaled(const Rule&) {
  if constexpr (requires { Rule::kScaled; })
    return Rule::kScaled;
  else
    return true;
}

/// 1 / (1 - beta^t)
STROBE_HD inline float bias_correction(float beta, int64_t t) {
  return static_cast<float>(1.0 /
                            (1.0 - std::pow(static_cast<double>(beta), static_cast<double>(t))));
}

}  // namespace strobe
