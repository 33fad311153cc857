#include "strobe/cuda/device.h"

#include "strobe/core/error.h"

namespace strobe::cuda {

void check_cuda(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  fail("{}: the GPU reports {} ({})", what, cudaGetErrorString(result), cudaGetErrorName(result));
}

}  // namespace strobe::cuda
