// Memory, state and running; the ops themselves are forwarded in cuda_ops.cpp.
#include "strobe/cuda/cuda_backend.h"

#include <nvtx3/nvToolsExt.h>

#include <algorithm>

#include "strobe/core/arena.h"
#include "strobe/core/error.h"
#include "strobe/cuda/activity.h"
#include "strobe/cuda/device_info.h"
#include "strobe/cuda/step_state.h"

namespace strobe {

using cuda::check_cuda;

namespace {

constexpr int64_t kScratchBytes = 64 << 20;

cuda::Device open_device() {
  cuda::Device device;
  int ordinal = 0;
  check_cuda(cudaGetDevice(&ordinal), "cuda");
  check_cuda(
      cudaDeviceGetAttribute(&device.multiprocessors, cudaDevAttrMultiProcessorCount, ordinal),
      "cuda");
  device.compute_capability = cuda::compute_capability(ordinal);
  check_cuda(cudaStreamCreateWithFlags(&device.stream, cudaStreamNonBlocking), "cuda");
  check_cuda(cudaMalloc(reinterpret_cast<void**>(&device.state), sizeof(StepState)), "cuda");
  check_cuda(cudaMalloc(reinterpret_cast<void**>(&device.scratch), kScratchBytes), "cuda");
  device.scratch_bytes = kScratchBytes;
  check_cuda(cudaMalloc(reinterpret_cast<void**>(&device.ticket), sizeof(unsigned)), "cuda");
  check_cuda(cudaMemset(device.ticket, 0, sizeof(unsigned)), "cuda");
  return device;
}

}  // namespace

CudaBackend::CudaBackend(const BackendOptions& options, std::string architectures)
    : architectures_(std::move(architectures)),
      graphs_(options.graphs),
      device_(open_device()),
      gemm_(options),
      staging_(device_.stream),
      replays_(device_.stream) {
  device_.gemm = &gemm_;
  set_step_state({});
}

CudaBackend::~CudaBackend() {
  cudaStreamSynchronize(device_.stream);
  replays_.forget();
  cudaFree(device_.scratch);
  cudaFree(device_.ticket);
  cudaFree(device_.state);
}

DeviceInfo CudaBackend::info() const {
  DeviceInfo info = cuda::describe_device(architectures_);
  info.fixed_bytes = kScratchBytes + cuda::Gemm::kWorkspaceBytes + cuda::Staging::kDeviceBytes;
  return info;
}

void* CudaBackend::allocate(int64_t bytes) {
  void* memory = nullptr;
  const cudaError_t result = cudaMalloc(&memory, static_cast<size_t>(std::max<int64_t>(bytes, 1)));
  if (result == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    fail("memory: {} asked for, but only {} of the GPU's {} are free", format_bytes(bytes),
         format_bytes(static_cast<int64_t>(free)), format_bytes(static_cast<int64_t>(total)));
  }
  check_cuda(result, "memory");
  return memory;  // cudaMalloc aligns to 256 bytes
}

void CudaBackend::release(void* memory) {
  synchronize();
  replays_.forget();
  check_cuda(cudaFree(memory), "memory");
}

void CudaBackend::upload(Tensor dst, const void* src) {
  check(dst.contiguous(), "cuda: upload to a strided view");
  staging_.upload(dst.data, src, dst.bytes());
}

void CudaBackend::download(void* dst, Tensor src) {
  check(src.contiguous(), "cuda: download of a strided view");
  staging_.download(dst, src.data, src.bytes());
}

int64_t CudaBackend::start_download(Tensor src) {
  check(src.contiguous(), "cuda: download of a strided view");
  return staging_.start_download(src.data, src.bytes(), device_.state);
}

StepState CudaBackend::finish_download(int64_t ticket, void* dst) {
  return staging_.finish_download(ticket, dst);
}

void CudaBackend::set_step_state(const StepState& state) { cuda::set_step_state(device_, state); }
void CudaBackend::set_step_input(const StepInput& input) { cuda::set_step_input(device_, input); }

StepState CudaBackend::step_state() {
  StepState state;
  staging_.download(&state, device_.state, sizeof(state));
  return state;
}

void CudaBackend::replay(std::string_view key, const std::function<void()>& body) {
  if (graphs_)
    replays_.run(key, body);
  else
    body();
}

double CudaBackend::seconds(std::string_view name, const std::function<void()>& body) {
  cudaEvent_t begin = nullptr, end = nullptr;
  check_cuda(cudaEventCreate(&begin), "timing");
  check_cuda(cudaEventCreate(&end), "timing");
  nvtxRangePushA(std::string(name).c_str());
  check_cuda(cudaEventRecord(begin, device_.stream), "timing");
  body();
  check_cuda(cudaEventRecord(end, device_.stream), "timing");
  nvtxRangePop();
  check_cuda(cudaEventSynchronize(end), "timing");
  float milliseconds = 0;
  check_cuda(cudaEventElapsedTime(&milliseconds, begin, end), "timing");
  cudaEventDestroy(begin), cudaEventDestroy(end);
  return milliseconds * 1e-3;
}

double CudaBackend::busy_share(const std::function<void()>& body) {
  constexpr int kTimes = 8;
  const auto times = [&](int n) {
    for (int i = 0; i < n; ++i) body();
    synchronize();
  };
  cuda::ActivityWatch watch;
  replays_.forget();  // what was recorded before is not seen
  times(3);           // until all is replayed
  watch.restart();
  times(kTimes);
  return watch.busy_share();
}

void CudaBackend::synchronize() { check_cuda(cudaStreamSynchronize(device_.stream), "cuda"); }

}  // namespace strobe
