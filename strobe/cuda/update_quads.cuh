// Four elements of a parameter: what a thread of an update loads, computes and stores at a time.
#pragma once

#include "strobe/core/check.h"
#include "strobe/cuda/vector.cuh"
#include "strobe/ops/backend.h"

namespace strobe::cuda {

inline constexpr int kUpdateThreads = 256;
inline constexpr int kUpdateTile = 4096;  // elements of a block
inline constexpr int kQuad = 4;           // elements of a thread at a time; f32 ones are 16 bytes

struct Quad {
  float at[kQuad];
};
__device__ inline Quad load_quad(const float* from) {
  const float4 x = *reinterpret_cast<const float4*>(from);
  return {x.x, x.y, x.z, x.w};
}
__device__ inline Quad load_quad(const bf16* from) {
  const uint2 x = *reinterpret_cast<const uint2*>(from);
  return {low_half(x.x), high_half(x.x), low_half(x.y), high_half(x.y)};
}
__device__ inline void store_quad(float* to, const Quad& x) {
  *reinterpret_cast<float4*>(to) = make_float4(x.at[0], x.at[1], x.at[2], x.at[3]);
}
__device__ inline void store_quad(bf16* to, const Quad& x) {
  *reinterpret_cast<uint2*>(to) =
      make_uint2(pack_pair(x.at[0], x.at[1]), pack_pair(x.at[2], x.at[3]));
}

/// The compute copy that an update refreshes; null where it is the value itself.
inline bf16* compute_copy(const UpdateTarget& target) {
  if (!target.compute || target.compute.data == target.value.data) return nullptr;
  check(target.compute.dtype == DType::bf16, "update: a compute copy apart from the value is bf16");
  return target.compute.as<bf16>();
}

}  // namespace strobe::cuda
