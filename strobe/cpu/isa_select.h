// The instruction set that kernels run with: the widest one that this machine and its operating
// system support, or a narrower one named by the environment variable STROBE_CPU_ISA.
#pragma once

#include <string>
#include <string_view>

namespace strobe::cpu {

/// Each includes those before it. `amx` has no compilation of its own of most kernels: pick()
/// then gives the one of avx512_bf16.
enum class Isa { baseline, avx2, avx512, avx512_bf16, amx };

std::string_view name_of(Isa isa);

/// The widest set that runs here.
Isa widest_isa();

/// The set in use. The first call reads STROBE_CPU_ISA (baseline, avx2, avx512, avx512_bf16 or amx)
/// and throws Error for an unknown name or a set that this machine lacks.
Isa isa();

/// Replaces the set in use, for tests; throws Error if this machine lacks it.
void set_isa(Isa isa);

/// The variant of a kernel table for the set in use.
template <class T>
const T& pick(const T& baseline, const T& avx2, const T& avx512, const T& avx512_bf16) {
  switch (isa()) {
    case Isa::baseline: return baseline;
    case Isa::avx2: return avx2;
    case Isa::avx512: return avx512;
    default: return avx512_bf16;
  }
}

}  // namespace strobe::cpu
