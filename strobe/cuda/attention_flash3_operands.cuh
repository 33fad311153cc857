// What the flash3 forward multiplies, in bf16: where the producer finds Q, K and V, and the
// consumers' two products. attention_flash3_fp8.cuh is the same for FP8.
#pragma once

#include "strobe/cuda/attention_flash3_pipeline.cuh"
#include "strobe/cuda/attention_flash3_products.cuh"
#include "strobe/cuda/attention_flash3_softmax.cuh"

namespace strobe::cuda {

template <int HeadDim, int TileKeys>
struct Flash3Operands {
  static constexpr int kQueryBytes = 64 * HeadDim * 2;
  static constexpr int kKeyBytes = TileKeys * HeadDim * 2, kValueBytes = kKeyBytes;
  static constexpr int kFragments = TileKeys / 16;
  static constexpr bool kCopiesTails = true;
  struct TileScales {};
  using Scale = Flash3Scale;

  CUtensorMap q, k, v;

  // ---- the producer's ----
  /// Panels of 64 elements.
  template <int Rows>
  __device__ static void copy(uint32_t to, const CUtensorMap& map, int64_t row, int head,
                              uint32_t full) {
    sm90::mbarrier_arrive_expect_tx(full, Rows * HeadDim * 2);
#pragma unroll
    for (int p = 0; p < HeadDim / 64; ++p)
      sm90::cp_async_bulk_tensor_3d(to + p * Rows * 128, &map, 64 * p, static_cast<int>(row), head,
                                    full);
  }
  template <class Item>
  __device__ void copy_queries(uint32_t to, const Item& item, int row, uint32_t full) const {
    copy<64>(to, q, item.first_q + row, item.head, full);
  }
  template <class Item>
  __device__ void copy_keys(uint32_t to, uint32_t, const Item& item, int head, int key,
                            uint32_t full) const {
    copy<TileKeys>(to, k, item.first_k + key, head, full);
  }
  template <class Item>
  __device__ void copy_values(uint32_t to, const Item& item, int head, int key,
                              uint32_t full) const {
    copy<TileKeys>(to, v, item.first_k + key, head, full);
  }

  // ---- the consumers' ----
  template <class Item>
  __device__ float item_scale(float scale, const Item&, int) const {
    return scale;
  }
  __device__ static void begin_scores(float (&s)[TileKeys / 2], uint32_t tile_q, uint32_t tile_k) {
    cuda::begin_scores<HeadDim, TileKeys>(s, tile_q, tile_k);
  }
  __device__ static void begin_output(float (&o)[HeadDim / 2], const uint32_t (&p)[kFragments][4],
                                      uint32_t tile_v, int accumulate) {
    cuda::begin_output<HeadDim, TileKeys>(o, p, tile_v, accumulate);
  }
  __device__ static void to_fragments(uint32_t (&p)[kFragments][4],
                                      const float (&s)[TileKeys / 2]) {
    cuda::to_fragments<TileKeys>(p, s);
  }
};

}  // namespace strobe::cuda
