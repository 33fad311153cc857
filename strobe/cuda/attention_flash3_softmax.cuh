// The forward's arithmetic between its two products, on accumulators of wgmma: mask, online
// softmax, and the conversion of P to the left operand of the second product. A thread holds rows
// `half` = 0, 1 and columns 8 n + 2 t + e of a tile as s[4 n + 2 half + e].
#pragma once

#include <climits>
#include <cmath>

#include "strobe/cuda/attention_flash3_layout.h"
#include "strobe/cuda/log2.h"
#include "strobe/cuda/ptx.cuh"
#include "strobe/cuda/tile.cuh"

namespace strobe::cuda {

/// What the online softmax of a thread's two rows carries from one tile of keys to the next: the
/// maximum that the exponentials are relative to, in log2 units; the thread's share of l.
struct Flash3Softmax {
  float m[2], l[2];
  int bound[2];  // scores whose bits are less leave m as it is

  __device__ void clear() {
    m[0] = m[1] = -INFINITY, l[0] = l[1] = 0;
    bound[0] = bound[1] = INT_MIN;
  }
};

/// What makes a score of an element of S, in log2 units; that of bf16 is the same for all tiles. P
/// is at most 2^kLag, and 2^kOffset where the maximum has just been brought up to date.
struct Flash3Scale {
  static constexpr float kOffset = 0, kLag = 32, bias = 0;
  float scale2;

  __device__ void of_tile(float, uint32_t) {}
  __device__ float weight() const { return 1; }
  /// Scores whose bits are less leave m as it is. INT_MIN: there are none, so the first tile asks.
  __device__ int bound(const Flash3Softmax& x, int half) const { return x.bound[half]; }
  __device__ void keep_bound(Flash3Softmax& x, int half) const {
    const float bound = __fdividef(x.m[half] + kLag, scale2);
    x.bound[half] = bound >= 0 ? __float_as_int(bound) : INT_MIN;
  }
};

/// And O, not yet divided by l.
template <int D>
struct Flash3Rows {
  Flash3Softmax softmax;
  float o[D / 2];
  float inverse[2];  // of l, once the item's last tile is through the softmax

  __device__ void rescale(const float (&factor)[2]) {
#pragma unroll
    for (int i = 0; i < D / 2; ++i) o[i] *= factor[i / 2 % 2];
  }
};

__device__ inline float row_max_nan(float x) {
  x = ptx::max_nan_f32(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return ptx::max_nan_f32(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/// P = 2^(scale2 S + bias - m) in place of S, and l grows by `weight` times its sums. done(i): the
/// thread's eight elements of the keys [16 i, 16 i + 16) are not needed here any more; what it does
/// runs where the special functions are busy and little else is.
template <int Keys, class Scale, class Done>
__device__ inline void exponentials(float (&s)[Keys / 2], const float (&m)[2], float (&l)[2],
                                    const Scale& scale, const Done& done) {
  const float shift[2] = {m[0] - scale.bias, m[1] - scale.bias};
  float sum[4] = {0, 0, 0, 0};
#pragma unroll
  for (int i = 0; i < Keys / 2; ++i) {
    s[i] = ptx::ex2_approx_ftz(fmaf(s[i], scale.scale2, -shift[i / 2 % 2]));
    sum[i % 4] += s[i];
    if (i % 8 == 7) done(i / 8);
  }
  l[0] += scale.weight() * (sum[0] + sum[1]), l[1] += scale.weight() * (sum[2] + sum[3]);
}

/// Whether a row's scores ask for a greater maximum: some are not below `bound`. Floats of which
/// the greatest is positive are compared as integers, three at a time; NaN is the greatest.
template <int Keys>
__device__ inline bool grows(const float (&s)[Keys / 2], const int (&bound)[2]) {
  constexpr int kLast = Keys / 2 - 4;
  int most[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    most[j] = __float_as_int(s[j]);
#pragma unroll
    for (int i = 4; i < kLast; i += 8)
      most[j] = __vimax3_s32(most[j], __float_as_int(s[i + j]), __float_as_int(s[i + 4 + j]));
    most[j] = max(most[j], __float_as_int(s[kLast + j]));
  }
  // (0, 1) are of row 0 and (2, 3) of row 1 in each 4.
  return most[0] >= bound[0] || most[1] >= bound[0] || most[2] >= bound[1] || most[3] >= bound[1];
}

/// S becomes P = 2^(scale2 S + bias - m), by finish(m), which calls `exponentials`. The maximum m
/// is that of the first tiles and may lag by kLag, since P, l and O are floats: only where some row
/// of the warp would have it lag by more, or does not see all of the tile, it is brought up to
/// date, and l with it. Then the result is true and O must be multiplied by `factor`. Row `half`
/// sees columns below in_tile(half), counted from the thread's first.
template <int Keys, class Scale, class InTile, class Finish>
__device__ inline bool online_softmax(float (&s)[Keys / 2], Flash3Softmax& x, float (&factor)[2],
                                      const Scale& scale, bool masked, const InTile& in_tile,
                                      const Finish& finish) {
  const int bounds[2] = {scale.bound(x, 0), scale.bound(x, 1)};
  if (!masked && !__any_sync(0xffffffffu, grows<Keys>(s, bounds))) {
    finish(x.m);
    return false;
  }
  if (masked) {
    const int end[2] = {in_tile(0), in_tile(1)};
#pragma unroll
    for (int i = 0; i < Keys / 2; ++i)
      if (i / 4 * 8 + i % 2 >= end[i / 2 % 2]) s[i] = -INFINITY;
  }
  float most[4] = {s[0], s[1], s[2], s[3]};
#pragma unroll
  for (int i = 4; i < Keys / 2; ++i) most[i % 4] = ptx::max_nan_f32(most[i % 4], s[i]);
  most[0] = ptx::max_nan_f32(most[0], most[1]), most[1] = ptx::max_nan_f32(most[2], most[3]);
  float shift[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float top = row_max_nan(most[half]) * scale.scale2 + (scale.bias - Scale::kOffset);
    const bool grown = !(top <= x.m[half]);  // or NaN, which then is all of the row
    factor[half] = grown ? ptx::ex2_approx_ftz(x.m[half] - top) : 1;
    x.m[half] = grown ? top : x.m[half];
    scale.keep_bound(x, half);
    x.l[half] *= factor[half];
    shift[half] = x.m[half] == -INFINITY ? 0 : x.m[half];
  }
  finish(shift);
  return true;
}
template <int Keys, class Scale, class InTile>
__device__ inline bool online_softmax(float (&s)[Keys / 2], Flash3Softmax& x, float (&factor)[2],
                                      const Scale& scale, bool masked, const InTile& in_tile) {
  return online_softmax<Keys>(s, x, factor, scale, masked, in_tile, [&](const float(&m)[2]) {
    exponentials<Keys>(s, m, x.l, scale, [](int) {});
  });
}

/// P, rounded to bf16, as A fragments: that of the keys [16 i, 16 i + 16), or all.
template <int Keys>
__device__ inline void to_fragment(uint32_t (&p)[4], const float (&s)[Keys / 2], int i) {
#pragma unroll
  for (int k = 0; k < 4; ++k) p[k] = ptx::cvt_rn_bf16x2(s[8 * i + 2 * k + 1], s[8 * i + 2 * k]);
}
template <int Keys>
__device__ inline void to_fragments(uint32_t (&p)[Keys / 16][4], const float (&s)[Keys / 2]) {
#pragma unroll
  for (int i = 0; i < Keys / 16; ++i) to_fragment<Keys>(p[i], s, i);
}

}  // namespace strobe::cuda
