#include "strobe/ops/make_backend.h"

#include "strobe/core/error.h"
#include "strobe/cpu/cpu_backend.h"

namespace strobe {

std::unique_ptr<Backend> make_backend(const std::string& name) {
  if (name == "auto" || name == "cpu") return std::make_unique<CpuBackend>();
  fail("backend: unknown '{}'; known are auto, cpu", name);
}

}  // namespace strobe
