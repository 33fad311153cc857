#include "strobe/cuda/staging.h"

#include <algorithm>
#include <cstring>

#include "strobe/core/error.h"

namespace strobe::cuda {

namespace {

constexpr const char* kUpload = "upload";
constexpr const char* kDownload = "download";

cudaEvent_t make_event() {
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "staging");
  return event;
}

char* pinned_memory(int64_t bytes) {
  void* memory = nullptr;
  check_cuda(cudaHostAlloc(&memory, static_cast<size_t>(bytes), cudaHostAllocDefault), "staging");
  return static_cast<char*>(memory);
}

}  // namespace

Staging::Staging(cudaStream_t compute) : compute_(compute) {
  check_cuda(cudaStreamCreateWithFlags(&copy_, cudaStreamNonBlocking), "staging");
  for (Slot& slot : slots_) {
    slot.pinned = pinned_memory(kSlotBytes);
    check_cuda(cudaMalloc(reinterpret_cast<void**>(&slot.device), kSlotBytes), "staging");
    slot.copied = make_event(), slot.placed = make_event();
  }
}

Staging::~Staging() {
  cudaStreamSynchronize(compute_);
  cudaStreamSynchronize(copy_);
  for (Slot& slot : slots_) {
    cudaFreeHost(slot.pinned);
    cudaFree(slot.device);
    cudaEventDestroy(slot.copied);
    cudaEventDestroy(slot.placed);
  }
  for (Pending& pending : pending_) release(pending);
  for (Pending& pending : spare_) release(pending);
  cudaStreamDestroy(copy_);
}

void Staging::release(Pending& pending) {
  cudaFreeHost(pending.pinned);
  cudaEventDestroy(pending.copied);
}

Staging::Slot& Staging::next_slot() {
  Slot& slot = slots_[static_cast<size_t>(turn_)];
  turn_ = (turn_ + 1) % kSlots;
  check_cuda(cudaEventSynchronize(slot.copied), "staging");
  return slot;
}

void Staging::upload(void* device, const void* host, int64_t bytes) {
  for (int64_t begin = 0; begin < bytes; begin += kSlotBytes) {
    const auto piece = static_cast<size_t>(std::min(kSlotBytes, bytes - begin));
    Slot& slot = next_slot();
    std::memcpy(slot.pinned, static_cast<const char*>(host) + begin, piece);
    check_cuda(cudaStreamWaitEvent(copy_, slot.placed), kUpload);
    check_cuda(cudaMemcpyAsync(slot.device, slot.pinned, piece, cudaMemcpyHostToDevice, copy_),
               kUpload);
    check_cuda(cudaEventRecord(slot.copied, copy_), kUpload);
    check_cuda(cudaStreamWaitEvent(compute_, slot.copied), kUpload);
    check_cuda(cudaMemcpyAsync(static_cast<char*>(device) + begin, slot.device, piece,
                               cudaMemcpyDeviceToDevice, compute_),
               kUpload);
    check_cuda(cudaEventRecord(slot.placed, compute_), kUpload);
  }
}

void Staging::download(void* host, const void* device, int64_t bytes) {
  // Pieces on their way while the host copies the ones before them.
  const auto finish = [&](const Slot& slot, int64_t begin) {
    check_cuda(cudaEventSynchronize(slot.copied), kDownload);
    std::memcpy(static_cast<char*>(host) + begin, slot.pinned,
                static_cast<size_t>(std::min(kSlotBytes, bytes - begin)));
  };
  std::deque<std::pair<Slot*, int64_t>> under_way;
  for (int64_t begin = 0; begin < bytes; begin += kSlotBytes) {
    if (under_way.size() == kSlots) {
      finish(*under_way.front().first, under_way.front().second);
      under_way.pop_front();
    }
    Slot& slot = next_slot();
    check_cuda(cudaMemcpyAsync(slot.pinned, static_cast<const char*>(device) + begin,
                               static_cast<size_t>(std::min(kSlotBytes, bytes - begin)),
                               cudaMemcpyDeviceToHost, compute_),
               kDownload);
    check_cuda(cudaEventRecord(slot.copied, compute_), kDownload);
    under_way.emplace_back(&slot, begin);
  }
  for (const auto& [slot, begin] : under_way) finish(*slot, begin);
}

int64_t Staging::start_download(const void* device, int64_t bytes, const StepState* state) {
  const auto header = static_cast<int64_t>(sizeof(StepState));
  Pending pending;
  if (!spare_.empty()) {
    pending = spare_.back();
    spare_.pop_back();
  } else {
    pending.copied = make_event();
  }
  if (pending.capacity < header + bytes) {
    cudaFreeHost(pending.pinned);
    pending.capacity = header + bytes;
    pending.pinned = pinned_memory(pending.capacity);
  }
  pending.ticket = ++tickets_;
  pending.bytes = bytes;
  check_cuda(
      cudaMemcpyAsync(pending.pinned, state, sizeof(StepState), cudaMemcpyDeviceToHost, compute_),
      kDownload);
  check_cuda(cudaMemcpyAsync(pending.pinned + header, device, static_cast<size_t>(bytes),
                             cudaMemcpyDeviceToHost, compute_),
             kDownload);
  check_cuda(cudaEventRecord(pending.copied, compute_), kDownload);
  pending_.push_back(pending);
  return pending.ticket;
}

StepState Staging::finish_download(int64_t ticket, void* host) {
  check(!pending_.empty() && pending_.front().ticket == ticket,
        "cuda: downloads are finished once each, the oldest first");
  Pending pending = pending_.front();
  pending_.pop_front();
  check_cuda(cudaEventSynchronize(pending.copied), kDownload);
  StepState state;
  std::memcpy(&state, pending.pinned, sizeof(StepState));
  std::memcpy(host, pending.pinned + sizeof(StepState), static_cast<size_t>(pending.bytes));
  spare_.push_back(pending);
  return state;
}

}  // namespace strobe::cuda
