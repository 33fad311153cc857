// Multiply-adds that wait for nothing: what the units of one thread can do at most. Compiled once
// per instruction set.
#pragma once

namespace strobe::cpu {

struct PeakKernels {
  /// Each runs for about a tenth of a millisecond and returns the floating-point operations done.
  double (*f32)();
  double (*bf16)();  // null where no instruction multiplies bf16
};

namespace baseline {
PeakKernels peak_kernels();
}
namespace avx2 {
PeakKernels peak_kernels();
}
namespace avx512 {
PeakKernels peak_kernels();
}
namespace avx512_bf16 {
PeakKernels peak_kernels();
}
namespace amx {
PeakKernels peak_kernels();
}

}  // namespace strobe::cpu
