#include "strobe/cpu/isa/attention.h"

#include "strobe/cpu/isa/attention_backward.h"
#include "strobe/cpu/isa/attention_forward.h"
#include "strobe/cpu/isa/attention_math_bf16.h"
#include "strobe/cpu/isa/attention_math_f32.h"

namespace strobe::cpu::STROBE_ISA {

namespace {

template <class Math, class T>
constexpr AttentionKernels kKernels = {
    Math::kElementBytes,   Math::kDimMultiple,          Math::kForwardQueries,
    pack_keys<Math, T>,    flash2_forward<Math, T>,     flash1_forward<Math, T>,
    pack_queries<Math, T>, attention_backward<Math, T>, finish_dq<Math, T>};

}  // namespace

AttentionVariants attention_kernels() {
#if defined(__AMX_BF16__)
  return {&kKernels<MathTiles<3>, float>, &kKernels<MathTiles<1>, uint16_t>};
#elif defined(__AVX512BF16__)
  return {&kKernels<MathF32, float>, &kKernels<MathDot, uint16_t>};
#else
  return {&kKernels<MathF32, float>, &kKernels<MathF32, uint16_t>};
#endif
}

}  // namespace strobe::cpu::STROBE_ISA
