#include "strobe/cuda/device_info.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "strobe/core/arena.h"
#include "strobe/core/error.h"
#include "strobe/cuda/device.h"
#include "strobe/cuda/gemm.h"

namespace strobe::cuda {

namespace {

constexpr int kOldest = 80;  // compute capability: mma.sync of bf16, cp.async

int attribute(cudaDeviceAttr which, int ordinal) {
  int value = 0;
  check_cuda(cudaDeviceGetAttribute(&value, which, ordinal), "cuda");
  return value;
}

// Dense bf16 products with f32 sums, a second: as published, or counted from the hardware.
double peak_flops(const std::string& name, int ordinal) {
  struct Published {
    const char* part;
    double tera;
  };
  constexpr Published kPublished[] = {
      {"H100 PCIe", 756.5}, {"H100 NVL", 835.5}, {"H100", 989.4}, {"H200", 989.4}, {"A100", 312}};
  for (const auto& [part, tera] : kPublished)
    if (name.find(part) != std::string::npos) return tera * 1e12;
  const int capability = compute_capability(ordinal);
  const double per_cycle = capability == 80                       ? 2048
                           : capability >= 90 && capability < 120 ? 4096
                                                                  : 512;
  return per_cycle * attribute(cudaDevAttrMultiProcessorCount, ordinal) *
         attribute(cudaDevAttrClockRate, ordinal) * 1e3;
}

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

// "580.65.06", of the kernel module; "" where the system does not tell.
std::string driver_version() {
  std::ifstream file("/proc/driver/nvidia/version");
  for (std::string word; file >> word;)
    if (word.find_first_not_of("0123456789.") == std::string::npos &&
        word.find('.') != std::string::npos)
      return word;
  return "";
}

// Other processes that compute on the GPU, by the driver's management library; 0 where it is not
// there. (Declared here: its header comes with some toolkits only.)
int other_processes(int ordinal) {
  struct Process {
    unsigned int pid;
    unsigned long long memory;
    unsigned int gpu_instance, compute_instance;
  };
  std::array<char, 32> bus{};
  if (cudaDeviceGetPCIBusId(bus.data(), bus.size(), ordinal) != cudaSuccess) return 0;
  void* const library = ::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) return 0;
  const auto init = reinterpret_cast<int (*)()>(::dlsym(library, "nvmlInit_v2"));
  const auto find = reinterpret_cast<int (*)(const char*, void**)>(
      ::dlsym(library, "nvmlDeviceGetHandleByPciBusId_v2"));
  const auto list = reinterpret_cast<int (*)(void*, unsigned int*, Process*)>(
      ::dlsym(library, "nvmlDeviceGetComputeRunningProcesses_v3"));
  int others = 0;
  void* device = nullptr;
  std::array<Process, 64> processes;
  auto count = static_cast<unsigned int>(processes.size());
  if (init && find && list && init() == 0 && find(bus.data(), &device) == 0 &&
      list(device, &count, processes.data()) == 0)
    others =
        std::max(0, static_cast<int>(count) - 1);  // this one aside: in a container its id differs
  ::dlclose(library);
  return others;
}

}  // namespace

int compute_capability(int ordinal) {
  return 10 * attribute(cudaDevAttrComputeCapabilityMajor, ordinal) +
         attribute(cudaDevAttrComputeCapabilityMinor, ordinal);
}

std::string why_no_device() {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result == cudaErrorInsufficientDriver) {
    int supported = 0;
    cudaDriverGetVersion(&supported);
    return fmt::format(
        "the NVIDIA driver {} is too old: it supports CUDA {}, this library was built with {}",
        driver_version(), supported ? version_text(supported) : "none of this kind",
        version_text(CUDART_VERSION));
  }
  if (result == cudaErrorNoDevice || (result == cudaSuccess && count == 0))
    return "the NVIDIA driver finds no GPU (is CUDA_VISIBLE_DEVICES set?)";
  if (result != cudaSuccess)
    return fmt::format("the CUDA runtime reports: {}", cudaGetErrorString(result));
  int ordinal = 0;
  cudaGetDevice(&ordinal);
  if (const int capability = compute_capability(ordinal); capability < kOldest)
    return fmt::format("the GPU's compute capability is {}.{}; {}.{} or newer is needed",
                       capability / 10, capability % 10, kOldest / 10, kOldest % 10);
  return "";
}

DeviceInfo describe_device(const std::string& architectures) {
  int ordinal = 0, runtime = 0, supported = 0;
  check_cuda(cudaGetDevice(&ordinal), "cuda");
  cudaDeviceProp properties;
  check_cuda(cudaGetDeviceProperties(&properties, ordinal), "cuda");
  size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "cuda");
  cudaRuntimeGetVersion(&runtime);
  cudaDriverGetVersion(&supported);
  DeviceInfo info;
  info.name = properties.name;
  info.kind = "cuda";
  info.fast_bf16 = true;
  info.asynchronous = true;
  info.peak_flops = peak_flops(properties.name, ordinal);
  info.memory_bytes = static_cast<int64_t>(total);
  info.free_bytes = static_cast<int64_t>(free);
  const int capability = compute_capability(ordinal);
  info.details = {
      {"gpu", properties.name},
      {"gpu memory",
       fmt::format("{}, {} free", format_bytes(info.memory_bytes), format_bytes(info.free_bytes))},
      {"compute capability", fmt::format("{}.{}", capability / 10, capability % 10)},
      {"multiprocessors", fmt::format("{}", properties.multiProcessorCount)},
      {"driver", fmt::format("{} (CUDA {})", driver_version(), version_text(supported))},
      {"CUDA runtime", version_text(runtime)},
      {"cuBLASLt", Gemm::library_version()},
      {"GPU code", architectures}};
  const auto warn = [&](const std::string& text) { info.details.emplace_back("warning", text); };
  static const int others = other_processes(ordinal);
  if (others > 0)
    warn(fmt::format("{} other processes compute on the GPU and share its time", others));
  if (supported < runtime)
    warn(fmt::format("the driver supports CUDA {}, older than the runtime's {}: update it",
                     version_text(supported), version_text(runtime)));
  if (architectures.find(fmt::format("sm_{}", capability)) == std::string::npos)
    warn(
        fmt::format("there is no code for this GPU's sm_{}, only PTX that is compiled at every "
                    "start: build with -DSTROBE_CUDA_ARCHITECTURES=\"80;90;{}\"",
                    capability, capability));
  return info;
}

}  // namespace strobe::cuda
