// The one place that knows which backends exist.
#pragma once

#include <memory>
#include <string>

#include "strobe/ops/backend.h"

namespace strobe {

/// "cpu", "cuda", or "auto" for the best that this machine has. Throws Error for another name,
/// listing what is known, and for "cuda" where it cannot run, saying what is missing.
std::unique_ptr<Backend> make_backend(const std::string& name, const BackendOptions& options = {});

/// Why there is no CUDA backend here, in a sentence; "" if there is one.
std::string cuda_missing();

}  // namespace strobe
