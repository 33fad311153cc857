// What the library exports to ops/make_backend.cpp, which opens it.
#include "strobe/core/error.h"
#include "strobe/cuda/cuda_backend.h"
#include "strobe/cuda/device_info.h"

extern "C" const char* strobe_cuda_contract() { return STROBE_CONTRACT; }

/// Null, with the reason, where there is no GPU that it can use.
extern "C" strobe::Backend* strobe_cuda_make_backend(const strobe::BackendOptions& options,
                                                     std::string& reason) {
  reason = strobe::cuda::why_no_device();
  if (!reason.empty()) return nullptr;
  try {
    return new strobe::CudaBackend(options, STROBE_CUDA_ARCHITECTURES);
  } catch (const strobe::Error& error) {
    reason = error.what();
    return nullptr;
  }
}
