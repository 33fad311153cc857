// How O of the flash3 forward leaves a consumer's warp: divided by l, by way of shared memory, and
// with it the log-sum-exp (Algorithm 1, lines 24 and 25; Algorithm 2, line 20).
#pragma once

#include "strobe/cuda/attention_flash3_pipeline.cuh"
#include "strobe/cuda/attention_flash3_softmax.cuh"
#include "strobe/cuda/log2.h"

namespace strobe::cuda {

/// The warp's 16 rows of one item after another.
template <class Sizes>
class Flash3Output {
 public:
  static constexpr int D = Sizes::kHeadDim, kChunks = D / 8;
  using Item = Flash3Item<Sizes>;

  __device__ Flash3Output(const Flash3Context<Sizes>& x, int warpgroup, int warp)
      : x_(x), warpgroup_(warpgroup), warp_(warp) {}

  /// The next item, whose rows begin at `row`.
  __device__ void begin(const Item& item, int row) {
    if (lane_.id == 0)
      record() = {x_.c.o.at(item.first_q + row, item.head),
                  x_.c.lse + item.head * x_.c.lse_stride + item.first_q + row, item.queries - row,
                  x_.operands.item_scale(x_.c.scale, item, row)};
    __syncwarp();
  }
  /// Of its scores.
  __device__ float scale() const { return record().scale; }

  /// Its log-sum-exp, and the inverse of l: its softmax is done, its O may not be.
  __device__ void finish_softmax(Flash3Rows<D>& rows) const {
    const Record& out = record();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Flash3Softmax& x = rows.softmax;
      const int row = lane_.g + 8 * half;
      const float l = row_sum(x.l[half]);
      const bool nothing = x.m[half] == -INFINITY;
      rows.inverse[half] = nothing ? 0 : __fdividef(x_.c.keep_scale, l);
      if (lane_.t == 0 && row < out.rows)
        out.lse[row] = nothing ? -INFINITY : (x.m[half] + __log2f(l)) * kLn2;
    }
  }
  /// O / l. Shared memory makes 16-byte pieces of 4-byte ones.
  __device__ void store(const Flash3Rows<D>& rows) const {
    const Record& out = record();
    const uint32_t to = x_.tiles.o(warpgroup_) + warp_ * 16 * D * 2;
    __syncwarp();
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        const float* o = &rows.o[4 * n + 2 * half];
        const float y = rows.inverse[half];
        ptx::st_shared_u32(to + panel_chunk_byte(lane_.g + 8 * half, n, 16) + 4 * lane_.t,
                           ptx::cvt_rn_bf16x2(o[1] * y, o[0] * y));
      }
    __syncwarp();
#pragma unroll
    for (int i = lane_.id; i < 16 * kChunks; i += 32) {
      const int slot = i / kChunks, chunk = i % kChunks;
      const uint4 y = ptx::ld_shared_u32x4(to + panel_chunk_byte(slot, chunk, 16));
      if (slot < out.rows && chunk * 8 < x_.c.head_dim)
        *reinterpret_cast<uint4*>(out.o + slot * x_.c.o.row + chunk * 8) = y;
    }
    __syncwarp();  // the next item's O comes here
  }

  /// Queries that see no key: O = 0.
  __device__ void store_nothing(const Item& item, int row) const {
    for (int i = lane_.id; i < 16 * kChunks; i += 32) {
      const int r = row + i / kChunks, chunk = i % kChunks;
      if (r >= item.queries || chunk * 8 >= x_.c.head_dim) continue;
      *reinterpret_cast<uint4*>(x_.c.o.at(item.first_q + r, item.head) + chunk * 8) = uint4{};
      if (chunk == 0) x_.c.lse[item.head * x_.c.lse_stride + item.first_q + r] = -INFINITY;
    }
  }

 private:
  using Record = typename Flash3Shared<Sizes>::Output;

  __device__ Record& record() const { return x_.shared.outputs[4 * warpgroup_ + warp_]; }

  const Flash3Context<Sizes>& x_;
  const int warpgroup_, warp_;
  const Lane lane_;
};

}  // namespace strobe::cuda
