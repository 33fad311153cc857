// The one place that knows which backends exist.
#pragma once

#include <memory>
#include <string>

#include "strobe/ops/backend.h"

namespace strobe {

/// "cpu", or "auto" for the best that this machine has. Throws Error for another name, listing
/// what is known.
std::unique_ptr<Backend> make_backend(const std::string& name);

}  // namespace strobe
