// The peak rate of this machine's multiply-adds, against which MFU is counted.
#pragma once

#include "strobe/core/dtype.h"

namespace strobe::cpu {

/// Floating-point operations a second of products of `dtype` (f32 or bf16) with the instruction set
/// and the threads in use, if no unit ever waited. Measured, in some milliseconds, when first
/// asked: how many units there are and how fast they are clocked is written nowhere. Products of
/// bf16 without instructions for them are computed, and counted, in f32.
double peak_flops(DType dtype);

}  // namespace strobe::cpu
