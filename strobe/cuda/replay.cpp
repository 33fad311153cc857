#include "strobe/cuda/replay.h"

namespace strobe::cuda {

namespace {

constexpr const char* kReplay = "replay";

cudaGraphExec_t record(cudaStream_t stream, const std::function<void()>& body) {
  // Other threads may go on using the device.
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), kReplay);
  cudaGraph_t graph = nullptr;
  try {
    body();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  check_cuda(cudaStreamEndCapture(stream, &graph), kReplay);
  cudaGraphExec_t executable = nullptr;
  const cudaError_t result = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda(result, kReplay);
  return executable;
}

}  // namespace

void Replays::run(std::string_view key, const std::function<void()>& body) {
  const auto found = records_.find(key);
  if (found == records_.end()) {
    body();
    records_.emplace(key, nullptr);
    return;
  }
  if (!found->second) found->second = record(stream_, body);
  check_cuda(cudaGraphLaunch(found->second, stream_), kReplay);
}

void Replays::forget() {
  for (auto& [key, executable] : records_)
    if (executable) cudaGraphExecDestroy(executable);
  records_.clear();
}

}  // namespace strobe::cuda
