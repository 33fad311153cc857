#include "strobe/cpu/peak.h"

#include <omp.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <mutex>
#include <tuple>

#include "strobe/core/threads.h"
#include "strobe/cpu/isa/peak.h"
#include "strobe/cpu/isa_select.h"

namespace strobe::cpu {

namespace {

// Seconds this thread has had a core.
double core_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

PeakKernels kernels() {
  switch (isa()) {
    case Isa::baseline: return baseline::peak_kernels();
    case Isa::avx2: return avx2::peak_kernels();
    case Isa::avx512: return avx512::peak_kernels();
    case Isa::avx512_bf16: return avx512_bf16::peak_kernels();
    case Isa::amx: break;
  }
  return amx::peak_kernels();
}

// All threads at once, since they may share units and the clock; the best of several short tries of
// each, by the time it had a core, so that a busy machine gives the same.
double measure(double (*kernel)()) {
  constexpr int kTries = 32;
  double total = 0;
#pragma omp parallel num_threads(threads()) reduction(+ : total)
  {
    double best = 0;
    for (int i = 0; i < kTries; ++i) {
#pragma omp barrier
      const double begin = core_seconds();
      const double operations = kernel();
      best = std::max(best, operations / (core_seconds() - begin));
    }
    total += best;
  }
  return total;
}

}  // namespace

double peak_flops(DType dtype) {
  static std::mutex mutex;
  static std::map<std::tuple<Isa, int, bool>, double> known;
  const PeakKernels k = kernels();
  const bool bf16 = dtype == DType::bf16 && k.bf16;
  const std::lock_guard lock(mutex);
  double& rate = known[{isa(), threads(), bf16}];
  if (rate == 0) rate = measure(bf16 ? k.bf16 : k.f32);
  return rate;
}

}  // namespace strobe::cpu
