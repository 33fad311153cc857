// What every kernel launch needs: the stream, where the StepState lies, and scratch memory.
//
// A family of ops is one header of plain functions, `void op(const Device&, outputs, inputs)`, with
// the operands and rules of ops/backend.h; CudaBackend (cuda_backend.h) forwards to them. Nothing
// here waits for the device and nothing allocates, so every op may be captured into a graph.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "strobe/ops/backend.h"

namespace strobe::cuda {

class Gemm;  // gemm.h

struct Device {
  cudaStream_t stream = nullptr;
  StepState* state = nullptr;  // in device memory; kernels read lr, seed, halt ... from here
  char* scratch = nullptr;     // for partial sums within one op; its contents do not outlive it
  int64_t scratch_bytes = 0;
  unsigned* ticket = nullptr;  // 0 between ops: thread blocks of one op draw from it
  int multiprocessors = 1;
  int compute_capability = 80;  // 10 * major + minor
  Gemm* gemm = nullptr;         // products by the library
};

/// Throws Error, beginning with `what`, unless `result` is cudaSuccess.
void check_cuda(cudaError_t result, const char* what);

/// Call after a launch: throws Error when it was refused.
inline void check_launch(const char* what) { check_cuda(cudaGetLastError(), what); }

}  // namespace strobe::cuda
