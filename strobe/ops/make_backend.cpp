// The CUDA backend is a shared object that is opened on demand: linked in, its libraries alone
// would make a program that never computes start slowly, and not at all on a machine without them.
#include "strobe/ops/make_backend.h"

#include <dlfcn.h>
#include <unistd.h>

#include <filesystem>

#include "strobe/core/error.h"
#include "strobe/cpu/cpu_backend.h"

namespace strobe {

namespace {

constexpr const char* kLibrary = "libstrobe_cuda.so";

// What the library exports. The first names the contract it was built for: objects of another one
// would be misread. The second returns null, and says why in `reason`, where it cannot run.
using Contract = const char* (*)();
using Make = Backend* (*)(const BackendOptions&, std::string& reason);

// Costs microseconds: no library is opened that is not there.
bool has_driver() {
  return ::access("/dev/nvidiactl", F_OK) == 0 || ::access("/dev/dxg", F_OK) == 0;
}

struct Library {
  Make make = nullptr;
  std::string reason;  // why there is none
};

Library open_library() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string beside = (program.parent_path() / kLibrary).string();
  const bool there = !error && std::filesystem::exists(beside, error);
  // Never closed: its objects' code must stay.
  void* handle = ::dlopen(there ? beside.c_str() : kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* message = ::dlerror();
    return {nullptr,
            there ? fmt::format("{} cannot be opened: {}", beside, message ? message : "?")
                  : fmt::format("{} is neither beside the program ({}) nor on the loader's path: "
                                "'make build' makes it where a CUDA toolkit is installed",
                                kLibrary, program.parent_path().string())};
  }
  const auto contract = reinterpret_cast<Contract>(::dlsym(handle, "strobe_cuda_contract"));
  const auto make = reinterpret_cast<Make>(::dlsym(handle, "strobe_cuda_make_backend"));
  if (!contract || !make || std::string(contract()) != STROBE_CONTRACT)
    return {nullptr, fmt::format("{} was built with another version of strobe", kLibrary)};
  return {make, ""};
}

const Library& library() {
  static const Library opened = open_library();
  return opened;
}

// Null, with the reason, where there is no such backend.
std::unique_ptr<Backend> make_cuda(const BackendOptions& options, std::string& reason) {
  if (!has_driver()) {
    reason = "this machine has no NVIDIA driver (there is no /dev/nvidiactl)";
    return nullptr;
  }
  reason = library().reason;
  return library().make ? std::unique_ptr<Backend>(library().make(options, reason)) : nullptr;
}

}  // namespace

std::string cuda_missing() {
  std::string reason;
  make_cuda({}, reason);
  return reason;
}

std::unique_ptr<Backend> make_backend(const std::string& name, const BackendOptions& options) {
  if (name == "cpu") return std::make_unique<CpuBackend>();
  if (name == "cuda" || name == "auto") {
    std::string reason;
    if (std::unique_ptr<Backend> cuda = make_cuda(options, reason)) return cuda;
    if (name == "auto") return std::make_unique<CpuBackend>();
    fail("backend: cuda cannot run here: {}; auto and cpu are accepted", reason);
  }
  fail("backend: unknown '{}'; known are auto, cpu, cuda", name);
}

}  // namespace strobe
