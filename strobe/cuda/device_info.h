// What there is to say about the GPU.
#pragma once

#include <string>

#include "strobe/ops/backend.h"

namespace strobe::cuda {

/// 10 * major + minor.
int compute_capability(int ordinal);

/// "" if the CUDA runtime finds a GPU that the library has code for; else what is missing.
std::string why_no_device();

/// The current device, as it is now.
DeviceInfo describe_device(const std::string& architectures);

}  // namespace strobe::cuda
