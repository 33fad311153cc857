// Transfers between host and device through pinned memory.
//
// An upload goes from the caller's memory to a pinned slot, from there by a stream of its own to a
// slot on the device while the compute stream is busy with earlier work, and into place by a copy
// that the compute stream makes in turn. The host waits only where all slots are on their way.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "strobe/cuda/device.h"

namespace strobe::cuda {

class Staging {
 public:
  explicit Staging(cudaStream_t compute);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// `host` may be reused when it returns.
  void upload(void* device, const void* host, int64_t bytes);
  /// Waits.
  void download(void* host, const void* device, int64_t bytes);

  /// A download to be finished later: what `device` and `state` hold once all work so far is done.
  int64_t start_download(const void* device, int64_t bytes, const StepState* state);
  StepState finish_download(int64_t ticket, void* host);

  static constexpr int kSlots = 8;
  static constexpr int64_t kSlotBytes = 1 << 20;
  /// Device memory that the slots take.
  static constexpr int64_t kDeviceBytes = kSlots * kSlotBytes;

 private:
  struct Slot {
    char *pinned = nullptr, *device = nullptr;
    cudaEvent_t copied = nullptr;  // the pinned memory may be written again
    cudaEvent_t placed = nullptr;  // the device memory may be
  };
  struct Pending {
    int64_t ticket = 0, bytes = 0, capacity = 0;
    char* pinned = nullptr;
    cudaEvent_t copied = nullptr;
  };

  Slot& next_slot();
  void release(Pending& pending);

  cudaStream_t compute_, copy_ = nullptr;
  std::array<Slot, kSlots> slots_;
  int turn_ = 0;
  std::deque<Pending> pending_;  // oldest first
  std::vector<Pending> spare_;
  int64_t tickets_ = 0;
};

}  // namespace strobe::cuda
