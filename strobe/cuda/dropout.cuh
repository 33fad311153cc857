// The dropout mask of ops/dropout_mask.h, eight elements of a flat tensor at a time.
#pragma once

#include "strobe/cuda/device.h"
#include "strobe/cuda/vector.cuh"
#include "strobe/ops/dropout_mask.h"

namespace strobe::cuda {

/// One dropout as a kernel's parameter.
struct DropoutSite {
  const StepState* state;  // whose seed and steps key the mask
  uint32_t site;
  int keep;  // of 256; 256 switches it off
  float scale;

  DropoutSite(const Device& device, Dropout dropout)
      : state(device.state),
        site(dropout.site),
        keep(dropout.keep_of_256()),
        scale(dropout.scale()) {}
};

/// The mask in a kernel.
class DropoutMask {
 public:
  /// Called by all threads of the block, before any of them returns: one computes the key.
  __device__ explicit DropoutMask(const DropoutSite& dropout)
      : keep_(dropout.keep), scale_(dropout.scale) {
    if (keep_ == 256) return;
    __shared__ uint64_t key;
    if (threadIdx.x == 0)
      key = dropout_key(dropout.state->seed, dropout.state->step, dropout.state->micro_step,
                        dropout.site);
    __syncthreads();
    key_ = key;
  }

  __device__ bool drops() const { return keep_ < 256; }
  /// The bytes of elements [8 i, 8 i + 8): half of a patch.
  __device__ uint2 bytes(int64_t i) const {
    if (keep_ == 256) return {0, 0};
    const Philox::Block patch = dropout_patch(key_, static_cast<uint64_t>(i) / 2);
    return i % 2 != 0 ? uint2{patch[2], patch[3]} : uint2{patch[0], patch[1]};
  }
  __device__ Floats apply(const Floats& x, uint2 bytes) const {
    Floats y;
#pragma unroll
    for (int j = 0; j < kLanes; ++j)
      y[j] = kept((j < 4 ? bytes.x : bytes.y) >> 8 * (j % 4)) ? x[j] * scale_ : 0.0f;
    return y;
  }
  __device__ Floats apply(const Floats& x, int64_t i) const {
    return keep_ == 256 ? x : apply(x, bytes(i));
  }
  /// Element i alone.
  __device__ float apply_one(float x, int64_t i) const {
    if (keep_ == 256) return x;
    const Philox::Block patch = dropout_patch(key_, static_cast<uint64_t>(i) / 16);
    const int word = static_cast<int>(i / 4 % 4);
    const uint32_t low = word & 1 ? patch[1] : patch[0], high = word & 1 ? patch[3] : patch[2];
    return kept((word & 2 ? high : low) >> 8 * (i % 4)) ? x * scale_ : 0.0f;
  }

 private:
  __device__ bool kept(uint32_t word) const { return static_cast<int>(word & 255u) < keep_; }

  uint64_t key_ = 0;
  int keep_;
  float scale_;
};

}  // namespace strobe::cuda
