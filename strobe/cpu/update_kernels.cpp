// The arithmetic is ops/update_rules.h's, which isa/ may not include: an inline function of a
// shared header, compiled there for a newer machine, could be the copy that the linker keeps for
// everyone. Here this file's own flags are the baseline's, and only the functions below, which are
// static and take the rule's code in (flatten), are compiled for more. Contraction into fused
// multiply-adds is off in standard C++ mode, so that every instruction set gives the same bits.
#include "strobe/cpu/update_kernels.h"

#include <type_traits>

#include "strobe/cpu/isa_select.h"

namespace strobe::cpu {

namespace {

template <class Rule, bool kCopies>
[[gnu::always_inline]] inline void loop(const Rule& rule, typename Rule::Prepared prepared,
                                        const UpdateKernel& k, int64_t begin, int64_t end) {
  constexpr int kStates = Rule::kStates;
  float* __restrict value = k.value;
  bf16* __restrict compute = k.compute;
  const float* __restrict grad = k.grad;
  float* __restrict state0 = k.states[0];
  float* __restrict state1 = k.states[1];
  float* __restrict state2 = k.states[2];
  const float scale = k.grad_scale;
  const RuleElement element = k.element;
  const Rule local = rule;
  for (int64_t i = begin; i < end; ++i) {
    float w = value[i];
    RuleStates s{};
    if constexpr (kStates > 0) s[0] = state0[i];
    if constexpr (kStates > 1) s[1] = state1[i];
    if constexpr (kStates > 2) s[2] = state2[i];
    local(scale * grad[i], w, s, element, prepared);
    value[i] = w;
    if constexpr (kStates > 0) state0[i] = s[0];
    if constexpr (kStates > 1) state1[i] = s[1];
    if constexpr (kStates > 2) state2[i] = s[2];
    if constexpr (kCopies) compute[i] = to_bf16(w);
  }
}

template <class Rule>
[[gnu::always_inline]] inline void run(const Rule& rule, typename Rule::Prepared p,
                                       const UpdateKernel& k, int64_t begin, int64_t end) {
  k.compute ? loop<Rule, true>(rule, p, k, begin, end) : loop<Rule, false>(rule, p, k, begin, end);
}

// One function an instruction set: `flatten` takes in everything that the loop calls.
template <class Rule>
[[gnu::flatten]] void run_baseline(const Rule& rule, typename Rule::Prepared p,
                                   const UpdateKernel& k, int64_t begin, int64_t end) {
  run(rule, p, k, begin, end);
}
template <class Rule>
[[gnu::flatten, gnu::target("arch=x86-64-v3")]] void run_avx2(const Rule& rule,
                                                              typename Rule::Prepared p,
                                                              const UpdateKernel& k, int64_t begin,
                                                              int64_t end) {
  run(rule, p, k, begin, end);
}
template <class Rule>
[[gnu::flatten, gnu::target("arch=x86-64-v4,prefer-vector-width=512")]] void run_avx512(
    const Rule& rule, typename Rule::Prepared p, const UpdateKernel& k, int64_t begin,
    int64_t end) {
  run(rule, p, k, begin, end);
}

}  // namespace

void UpdateKernel::run(const UpdateRule& rule, const RuleStep& step, int64_t begin,
                       int64_t end) const {
  std::visit(
      [&](const auto& r) {
        using Rule = std::remove_cvref_t<decltype(r)>;
        const auto run =
            pick(run_baseline<Rule>, run_avx2<Rule>, run_avx512<Rule>, run_avx512<Rule>);
        run(r, r.prepare(step), *this, begin, end);
      },
      rule);
}

}  // namespace strobe::cpu
