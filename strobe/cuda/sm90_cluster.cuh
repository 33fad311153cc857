// What clusters of thread blocks add to sm90.cuh, for products whose thread blocks share a tile.
// One function an instruction, named as it.
//
// The thread blocks of a cluster have the same layout of shared memory: a multicast copy writes to
// the same place of each, and counts its bytes at the same barrier of each. A producer therefore
// waits on "empty" for the consumers of all of them.
#pragma once

#include "strobe/cuda/sm90.cuh"

namespace strobe::cuda::sm90 {

__device__ inline uint32_t cluster_ctarank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
/// The address of what lies at `address` here in thread block `rank` of the cluster.
__device__ inline uint32_t mapa(uint32_t address, uint32_t rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}
/// Arrives at a barrier of any thread block of the cluster. Releases no writes to the others: that
/// would be a fence of the whole GPU each time, and what is told is that reads are done.
__device__ inline void mbarrier_arrive_cluster(uint32_t bar) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(bar) : "memory");
}
__device__ inline void barrier_cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ inline void barrier_cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
/// The box at (x, y, z) to the thread blocks in `mask`.
__device__ inline void cp_async_bulk_tensor_3d_multicast(uint32_t to, const CUtensorMap* map, int x,
                                                         int y, int z, uint32_t bar,
                                                         uint16_t mask) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(to),
      "l"(map), "r"(bar), "r"(x), "r"(y), "r"(z), "h"(mask)
      : "memory");
}
/// The box at (0, 0, 0) of the three middle dimensions, to the thread blocks in `mask`.
__device__ inline void cp_async_bulk_tensor_5d_multicast(uint32_t to, const CUtensorMap* map, int x,
                                                         int w, uint32_t bar, uint16_t mask) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%3, %5, %5, %5, %4}], [%2], %6;" ::"r"(to),
      "l"(map), "r"(bar), "r"(x), "r"(w), "r"(0), "h"(mask)
      : "memory");
}

/// The box at (x, y, z) to L2.
__device__ inline void cp_async_bulk_prefetch_tensor_3d(const CUtensorMap* map, int x, int y,
                                                        int z) {
  asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global [%0, {%1, %2, %3}];" ::"l"(map), "r"(x),
               "r"(y), "r"(z)
               : "memory");
}

}  // namespace strobe::cuda::sm90
