#include "strobe/cpu/isa_select.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "strobe/core/error.h"

namespace strobe::cpu {

namespace {

const std::string kNames[] = {"baseline", "avx2", "avx512", "avx512_bf16", "amx"};
constexpr int kCount = 5;

// AMX's tile registers are 8 KB that Linux saves only for processes that ask
// (Documentation/arch/x86/xstate.rst).
bool request_tiles() {
  constexpr int kArchReqXcompPerm = 0x1023, kXfeatureXtiledata = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
}

Isa detect() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("x86-64-v3")) return Isa::baseline;
  if (!__builtin_cpu_supports("x86-64-v4")) return Isa::avx2;
  if (!__builtin_cpu_supports("avx512bf16")) return Isa::avx512;
  unsigned a = 7, b = 0, c = 0, d = 0;
  __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  const bool amx = (d >> 22 & 1) && (d >> 24 & 1);  // AMX-BF16, AMX-TILE
  return amx && request_tiles() ? Isa::amx : Isa::avx512_bf16;
}

Isa from_environment() {
  const char* asked = std::getenv("STROBE_CPU_ISA");
  if (!asked || !*asked) return widest_isa();
  for (int i = 0; i < kCount; ++i) {
    if (kNames[i] != asked) continue;
    if (i <= static_cast<int>(widest_isa())) return static_cast<Isa>(i);
    fail("STROBE_CPU_ISA: this machine lacks {}; the widest it has is {}", asked,
         name_of(widest_isa()));
  }
  fail("STROBE_CPU_ISA: unknown instruction set '{}'; known are {}", asked,
       fmt::join(kNames, ", "));
}

std::atomic<Isa>& in_use() {
  static std::atomic<Isa> isa{from_environment()};
  return isa;
}

}  // namespace

std::string_view name_of(Isa isa) { return kNames[static_cast<int>(isa)]; }

Isa widest_isa() {
  static const Isa widest = detect();
  return widest;
}

Isa isa() { return in_use().load(std::memory_order_relaxed); }

void set_isa(Isa isa) {
  if (isa > widest_isa())
    fail("cpu: this machine lacks {}; the widest it has is {}", name_of(isa),
         name_of(widest_isa()));
  in_use().store(isa, std::memory_order_relaxed);
}

}  // namespace strobe::cpu
