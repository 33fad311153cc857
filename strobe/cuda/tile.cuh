// Tiles of bf16 matrices for mma.sync: in shared memory, rows of D elements swizzled by 16 bytes
// (attention_layout.h); in registers, mma's fragments. In a fragment, lane = 4 g + t.
//
//   accumulator 16x8   c[0], c[1] at row g, columns 2 t, 2 t + 1;  c[2], c[3] at row g + 8
//   A 16x16            a[0], a[1] at rows g, g + 8, columns 2 t, 2 t + 1;  a[2], a[3] at columns +
//   8 B 16x8             b0 at rows 2 t, 2 t + 1, column g;  b1 at rows + 8
//
// So two neighbouring accumulators, rounded, are an A fragment of the product that follows.
#pragma once

#include <cstdint>

#include "strobe/cuda/attention_layout.h"
#include "strobe/cuda/ptx.cuh"

namespace strobe::cuda {

struct Lane {
  int id, g, t;
  __device__ Lane() : id(threadIdx.x % 32), g(id / 4), t(id % 4) {}
};

/// How a lane addresses 16x16 pieces of a tile by ldmatrix. The four 8x8 matrices of a piece come
/// in one of two orders: down the rows first, or along the columns first.
enum class Order { rows_first, columns_first };

/// The lane's address for the first piece of a tile that begins at 0.
template <int D>
__device__ inline uint32_t lane_offset(const Lane& lane, Order order) {
  const int low = lane.id >> 3 & 1, high = lane.id >> 4;
  const int row = (lane.id & 7) + 8 * (order == Order::rows_first ? low : high);
  return 16 * swizzled_chunk(row, order == Order::rows_first ? high : low, D / 8);
}

template <int D>
struct TileReader {
  uint32_t base;

  /// `tile` is a multiple of 1024.
  __device__ TileReader(uint32_t tile, uint32_t offset) : base(tile + offset) {}
  /// The address for the piece at (16 i, 16 j), i and j known at compile time after unrolling. Rows
  /// 16 apart are swizzled alike, and the column is an exclusive-or.
  __device__ uint32_t at(int i, int j) const { return (base ^ (j * 32)) + i * 16 * D * 2; }
};

/// How a lane addresses its pairs of elements of accumulators 16x8 in a tile.
template <int D>
struct PairWriter {
  uint32_t base;

  __device__ PairWriter(uint32_t tile, const Lane& lane)
      : base(tile + 16 * swizzled_chunk(lane.g, 0, D / 8) + 4 * lane.t) {}
  /// Row 16 i + 8 half + g, columns 8 n + 2 t and the next.
  __device__ void write(int i, int half, int n, uint32_t pair) const {
    ptx::st_shared_u32((base ^ (n * 16)) + (16 * i + 8 * half) * D * 2, pair);
  }
};

/// How the rows of a tile are placed (attention_layout.h): in order, as columns of accumulators, or
/// as rows of accumulators two pieces or one piece high.
enum class Placing { in_order, columns, rows_of_2, rows_of_1 };

template <Placing P>
STROBE_HD constexpr int placed(int row) {
  return P == Placing::in_order    ? row
         : P == Placing::columns   ? column_slot(row)
         : P == Placing::rows_of_2 ? row_slot(row, 2)
                                   : row_slot(row, 1);
}

/// Copies R rows of D elements into a tile by cp.async, with Threads threads. Rows at or beyond
/// `valid` and elements at or beyond head_dim become zero.
template <int R, int D, int Threads, Placing P>
struct TileLoader {
  static constexpr int kChunks = D / 8, kStep = Threads / kChunks, kPasses = R / kStep;
  // Rows are placed alike every 32.
  static constexpr int kPeriod = kStep >= 32 ? 1 : 32 / kStep < kPasses ? 32 / kStep : kPasses;
  static_assert(R % kStep == 0 && Threads % kChunks == 0);

  const char* source;
  int64_t step_bytes;
  int row, chunk_bytes;
  uint32_t to[kPeriod];

  /// `origin` is row 0 of the sequence's operand for one head; `thread` is one of Threads.
  __device__ TileLoader(const void* origin, int64_t row_elements, int head_dim, int thread)
      : step_bytes(row_elements * 2 * kStep), row(thread / kChunks) {
    const int chunk = thread % kChunks;
    chunk_bytes = chunk * 8 < head_dim ? 16 : 0;
    source =
        static_cast<const char*>(origin) + row * row_elements * 2 + (chunk_bytes ? chunk * 16 : 0);
#pragma unroll
    for (int i = 0; i < kPeriod; ++i)
      to[i] = 16 * swizzled_chunk(placed<P>(row + i * kStep), chunk, kChunks);
  }
  /// Rows from `first` on, a multiple of kStep, of an operand `offset` elements further on.
  __device__ void operator()(uint32_t tile, int first, int valid, int64_t offset = 0) const {
    const char* from = source + first / kStep * step_bytes + 2 * offset;
    if (valid >= R) {
#pragma unroll
      for (int i = 0; i < kPasses; ++i, from += step_bytes)
        ptx::cp_async_cg_16(tile + to[i % kPeriod] + i / kPeriod * 32 * D * 2, from, chunk_bytes);
    } else {
#pragma unroll
      for (int i = 0; i < kPasses; ++i, from += step_bytes) {
        const bool inside = row + i * kStep < valid;
        ptx::cp_async_cg_16(tile + to[i % kPeriod] + i / kPeriod * 32 * D * 2,
                            inside ? from : source, inside ? chunk_bytes : 0);
      }
    }
  }
};

/// Rounds two neighbouring accumulators to an A fragment.
__device__ inline void to_a(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = ptx::cvt_rn_bf16x2(left[1], left[0]);
  a[1] = ptx::cvt_rn_bf16x2(left[3], left[2]);
  a[2] = ptx::cvt_rn_bf16x2(right[1], right[0]);
  a[3] = ptx::cvt_rn_bf16x2(right[3], right[2]);
}

/// The same, negative ones becoming zero.
__device__ inline void to_a_relu(uint32_t (&a)[4], const float (&left)[4],
                                 const float (&right)[4]) {
  a[0] = ptx::cvt_rn_relu_bf16x2(left[1], left[0]);
  a[1] = ptx::cvt_rn_relu_bf16x2(left[3], left[2]);
  a[2] = ptx::cvt_rn_relu_bf16x2(right[1], right[0]);
  a[3] = ptx::cvt_rn_relu_bf16x2(right[3], right[2]);
}

/// The sum or maximum over the four lanes that share a row of an accumulator.
__device__ inline float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ inline float row_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

}  // namespace strobe::cuda
