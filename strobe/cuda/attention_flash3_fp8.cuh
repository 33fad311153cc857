// What the flash3 forward multiplies, in FP8: tiles that the quantisation pass has laid out
// (attention_fp8_layout.h), a scale for each block of 64 queries and for each tile of keys and of
// values. attention_flash3_operands.cuh is the same for bf16.
//
// The scales of Q and K are part of the scale of S. That of V goes into the exponent, and so into
// the maximum: P = 2^(scale2 S + log2(v_scale) - m) multiplies quantised values, and l is the sum
// of P / v_scale. No pass over the head is needed that would know the largest scale first.
//
// e4m3 has 18 binary orders of magnitude, so P cannot lag by 2^32 as in bf16: the maximum is put at
// 2^4.75 and followed when scores exceed it by 2^4, since 2^8.75 < 448.
#pragma once

#include "strobe/cuda/attention_flash3_operands.cuh"
#include "strobe/cuda/attention_fp8_layout.h"

namespace strobe::cuda {

struct Flash3Fp8Scale {
  static constexpr float kOffset = 4.75f, kLag = 8.75f;
  float scale2, bias = 0;

  __device__ void of_tile(float item_scale, uint32_t tile_scales) {
    const float4 y = sm90::ld_shared_v4(tile_scales);  // k_scale, log2(v_scale)
    scale2 = item_scale * y.x, bias = y.y;
    __syncwarp();  // all lanes have read before one gives the stage back
  }
  __device__ float weight() const { return ptx::ex2_approx_ftz(-bias); }
  __device__ int bound(const Flash3Softmax& x, int half) const {
    const float bound = (x.m[half] + (kLag - bias)) * ptx::rcp_approx_ftz(scale2);
    return bound >= 0 ? __float_as_int(bound) : INT_MIN;
  }
  __device__ void keep_bound(Flash3Softmax&, int) const {}
};

template <int HeadDim, int TileKeys>
struct Flash3Fp8Operands {
  static_assert(HeadDim == kFp8HeadDim && TileKeys % 32 == 0);
  static constexpr int kQueryBytes = kFp8QueryRows * HeadDim, kKeyBytes = TileKeys * HeadDim;
  static constexpr int kValueBytes = value_tile_bytes(TileKeys);
  static constexpr int kFragments = TileKeys / 32;
  static constexpr bool kCopiesTails = false;  // tiles end with zeros
  using TileScales = float4;
  using Scale = Flash3Fp8Scale;

  const uint8_t *q, *k, *v;  // tiles of a head one after another
  const float* q_scales;
  const float4* kv_scales;
  int64_t q_tiles, kv_tiles;  // a head

  // ---- the producer's ----
  __device__ static void copy(uint32_t to, const void* from, uint32_t bytes, uint32_t full) {
    sm90::cp_async_bulk(to, from, bytes, full);
  }
  template <class Item>
  __device__ int64_t query_tile(const Item& item, int row) const {
    return item.head * q_tiles + first_block(item.first_q, item.sequence, kFp8QueryRows) +
           row / kFp8QueryRows;
  }
  template <class Item>
  __device__ int64_t key_tile(const Item& item, int head, int key) const {
    return head * kv_tiles + first_block(item.first_k, item.sequence, TileKeys) + key / TileKeys;
  }
  template <class Item>
  __device__ void copy_queries(uint32_t to, const Item& item, int row, uint32_t full) const {
    sm90::mbarrier_arrive_expect_tx(full, kQueryBytes);
    copy(to, q + query_tile(item, row) * kQueryBytes, kQueryBytes, full);
  }
  template <class Item>
  __device__ void copy_keys(uint32_t to, uint32_t scales, const Item& item, int head, int key,
                            uint32_t full) const {
    const int64_t tile = key_tile(item, head, key);
    sm90::mbarrier_arrive_expect_tx(full, kKeyBytes + sizeof(TileScales));
    copy(to, k + tile * kKeyBytes, kKeyBytes, full);
    copy(scales, kv_scales + tile, sizeof(TileScales), full);
  }
  template <class Item>
  __device__ void copy_values(uint32_t to, const Item& item, int head, int key,
                              uint32_t full) const {
    sm90::mbarrier_arrive_expect_tx(full, kValueBytes);
    copy(to, v + key_tile(item, head, key) * kValueBytes, kValueBytes, full);
  }

  // ---- the consumers' ----
  template <class Item>
  __device__ float item_scale(float scale, const Item& item, int row) const {
    return scale * __ldg(q_scales + query_tile(item, row));
  }
  /// S = Q K^T, a group.
  __device__ static void begin_scores(float (&s)[TileKeys / 2], uint32_t tile_q, uint32_t tile_k) {
    const uint64_t desc_k = sm90::descriptor_k_major(tile_k);
    const uint64_t desc_q = sm90::descriptor_k_major(tile_q);
    sm90::wgmma_fence();
#pragma unroll
    for (int j = 0; j < HeadDim / 32; ++j)
      sm90::wgmma_m64n128k32_e4m3(s, sm90::advance(desc_q, j * 32), sm90::advance(desc_k, j * 32),
                                  j > 0);
    sm90::wgmma_commit_group();
  }
  /// O (+)= P V, a group.
  __device__ static void begin_output(float (&o)[HeadDim / 2], const uint32_t (&p)[kFragments][4],
                                      uint32_t tile_v, int accumulate) {
    const uint64_t desc_v = sm90::descriptor_k_major(tile_v);
    sm90::wgmma_fence();
#pragma unroll
    for (int j = 0; j < kFragments; ++j)
      sm90::wgmma_m64n128k32_e4m3(
          o, p[j], sm90::advance(desc_v, j / 4 * HeadDim * 128 + j % 4 * 32), j > 0 || accumulate);
    sm90::wgmma_commit_group();
  }
  /// P, rounded to e4m3, as A fragments of 32 keys: the values' columns are placed so that nothing
  /// is exchanged.
  __device__ static void to_fragments(uint32_t (&p)[kFragments][4],
                                      const float (&s)[TileKeys / 2]) {
#pragma unroll
    for (int i = 0; i < TileKeys / 8; ++i) {
      const float* x = &s[i / 4 * 16 + i / 2 % 2 * 8 + i % 2 * 2];
      p[i / 4][i % 4] = sm90::cvt_rn_satfinite_e4m3x4(x[0], x[1], x[4], x[5]);
    }
  }
};

}  // namespace strobe::cuda
