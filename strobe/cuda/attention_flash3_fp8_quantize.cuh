// The quantisation pass before FlashAttention-3's FP8 forward: q, k and v, bf16, to tiles of e4m3
// as wgmma reads them (attention_fp8_layout.h), each with a scale. A thread block does one tile of
// one head; a thread holds 32 elements from reading to writing.
//
// HBM     2 bytes an element read, 1 written
// Shared  a float a warp
#pragma once

#include "strobe/cuda/attention_call.h"
#include "strobe/cuda/attention_fp8_layout.h"
#include "strobe/cuda/ptx.cuh"
#include "strobe/cuda/sm90.cuh"

namespace strobe::cuda {

/// Which tile a thread block does.
struct Fp8Tile {
  int first, rows;  // the sequence's rows from `first` on; not above 0: no such tile
  int64_t index;    // among all tiles

  __device__ Fp8Tile(const int* cu, int tile_rows, int blocks, int64_t head_tiles) {
    const int sequence = blockIdx.x / blocks, block = blockIdx.x % blocks;
    first = cu[sequence] + block * tile_rows;
    rows = cu[sequence + 1] - first;
    index = blockIdx.y * head_tiles + first_block(cu[sequence], sequence, tile_rows) + block;
  }
};

/// Eight bf16 as floats.
__device__ inline void widen(float* x, uint4 y) {
  const uint32_t words[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = __uint_as_float(words[i] << 16);
    x[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}

/// Of all threads' 32. NaN is the largest.
template <int Threads>
__device__ inline float block_largest(const float (&x)[32]) {
  __shared__ uint32_t warps[Threads / 32];
  uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < 32; ++i) largest = max(largest, __float_as_uint(x[i]) & 0x7fffffffu);
  largest = __reduce_max_sync(0xffffffffu, largest);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = largest;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Threads / 32; ++i) largest = max(largest, warps[i]);
  return __uint_as_float(largest);
}

/// A row of 128 on four lanes t times diag(signs) H.
__device__ inline void rotate(float (&x)[32], int t, uint4 signs) {
  const uint32_t words[4] = {signs.x, signs.y, signs.z, signs.w};
#pragma unroll
  for (int i = 0; i < 32; ++i) x[i] = with_sign(x[i], words[i / 8], 8 * t + i % 8);
  rotate_in_lane(x);
#pragma unroll
  for (int bit = 0; bit < 2; ++bit) {
    const int step = 8 << bit;
    const bool upper = t >> bit & 1;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int pair = exchange_index(i, step);
      const float y = __shfl_xor_sync(0xffffffffu, exchange_sent(x, pair, step, upper), 1 << bit);
      exchange_received(x, pair, step, upper, y);
    }
  }
}

/// Queries or keys. `scales`: of all tiles, `stride` apart.
template <int Rows>
__global__ void __launch_bounds__(4 * Rows)
    quantize_rows_kernel(HeadRows x, const int* cu, int blocks, int64_t head_tiles, int head_dim,
                         bool rotated, uint4 signs, uint8_t* tiles, float* scales, int stride) {
  const Fp8Tile tile(cu, Rows, blocks, head_tiles);
  if (tile.rows <= 0) return;
  const int row = threadIdx.x / 4, t = threadIdx.x % 4;
  float y[32];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int chunk = rotated ? 4 * j + t : 4 * t + j;  // of 8 elements
    uint4 bits = {};
    if (row < tile.rows && 8 * chunk < head_dim)
      bits = __ldg(reinterpret_cast<const uint4*>(x.at(tile.first + row, blockIdx.y) + 8 * chunk));
    widen(&y[8 * j], bits);
  }
  if (rotated) rotate(y, t, signs);
  const float scale = fp8_scale(block_largest<4 * Rows>(y)), inverse = 1 / scale;
  uint8_t* to = tiles + tile.index * (Rows * kFp8HeadDim);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* a = &y[16 * half + 4 * i];
      words[i] = sm90::cvt_rn_satfinite_e4m3x4(a[0] * inverse, a[1] * inverse, a[2] * inverse,
                                               a[3] * inverse);
    }
    *reinterpret_cast<uint4*>(to + panel_chunk_byte(row, 2 * t + half, Rows)) =
        uint4{words[0], words[1], words[2], words[3]};
  }
  // H / sqrt(128) is a rotation; the root is left to the scale.
  if (threadIdx.x == 0)
    scales[stride * tile.index] = rotated ? scale * 0.08838834764831845f : scale;
}

/// Values, transposed. `log2_scales`: as above.
template <int Keys>
__global__ void __launch_bounds__(4 * Keys)
    quantize_values_kernel(HeadRows x, const int* cu, int blocks, int64_t head_tiles, int head_dim,
                           uint8_t* tiles, float* log2_scales, int stride) {
  const Fp8Tile tile(cu, Keys, blocks, head_tiles);
  if (tile.rows <= 0) return;
  // Four keys and 8 elements a thread. Two lanes read 32 bytes of a key, and 16 write 64 of an
  // element.
  constexpr int kWords = Keys / 4;
  const int word = threadIdx.x / 2 % kWords;
  const int chunk = threadIdx.x / (2 * kWords) * 2 + threadIdx.x % 2;
  float y[32];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int key = column_slot(4 * word + i);
    uint4 bits = {};
    if (key < tile.rows && 8 * chunk < head_dim)
      bits = __ldg(reinterpret_cast<const uint4*>(x.at(tile.first + key, blockIdx.y) + 8 * chunk));
    widen(&y[8 * i], bits);
  }
  const float scale = fp8_scale(block_largest<4 * Keys>(y)), inverse = 1 / scale;
  uint8_t* to = tiles + tile.index * value_tile_bytes(Keys);
#pragma unroll
  for (int d = 0; d < 8; ++d)
    *reinterpret_cast<uint32_t*>(to + value_word_byte(8 * chunk + d, word)) =
        sm90::cvt_rn_satfinite_e4m3x4(y[d] * inverse, y[8 + d] * inverse, y[16 + d] * inverse,
                                      y[24 + d] * inverse);
  if (threadIdx.x == 0) log2_scales[stride * tile.index] = log2f(scale);
}

}  // namespace strobe::cuda
