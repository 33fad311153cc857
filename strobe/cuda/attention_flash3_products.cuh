// The forward's two products for one warpgroup, on tiles in shared memory as TMA writes them. Each
// is begun and forms a group; its accumulators are whole when wgmma_wait_group says so.
#pragma once

#include "strobe/cuda/sm90.cuh"

namespace strobe::cuda {

/// S = Q K^T: 64 queries of the tile at `q` with Keys keys of the tile at `k`.
template <int D, int Keys>
__device__ inline void begin_scores(float (&s)[Keys / 2], uint32_t q, uint32_t k) {
  const uint64_t keys = sm90::descriptor_k_major(k), queries = sm90::descriptor_k_major(q);
  sm90::wgmma_fence();
#pragma unroll
  for (int j = 0; j < D / 16; ++j)
    sm90::wgmma_m64k16_bf16<Keys, 0, 0>(s, sm90::advance(queries, j / 4 * 64 * 128 + j % 4 * 32),
                                        sm90::advance(keys, j / 4 * Keys * 128 + j % 4 * 32),
                                        j > 0);
  sm90::wgmma_commit_group();
}

/// O (+)= P V, P in registers and the tile of V at `v`; added where `accumulate` is 1.
template <int D, int Keys>
__device__ inline void begin_output(float (&o)[D / 2], const uint32_t (&p)[Keys / 16][4],
                                    uint32_t v, int accumulate) {
  const uint64_t values = sm90::descriptor_mn_major(v, Keys * 128);
  sm90::wgmma_fence();
#pragma unroll
  for (int j = 0; j < Keys / 16; ++j)
    sm90::wgmma_m64k16_bf16<D, 1>(o, p[j], sm90::advance(values, j * 2048), j > 0 || accumulate);
  sm90::wgmma_commit_group();
}

}  // namespace strobe::cuda
