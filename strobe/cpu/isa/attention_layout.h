// Vectors rearranged: transposes of 32-bit elements and the interleaving of pairs of rows.
#pragma once

#include "strobe/cpu/isa/simd.h"

namespace strobe::cpu::STROBE_ISA {

STROBE_INLINE constexpr int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// A packed operand of a product: rows are `stride` elements apart (of B in pairs of rows: `stride`
/// pairs), and the parts of a split element `plane` elements apart.
template <class Packed>
struct Operand {
  const Packed* data;
  int64_t stride, plane;
};

STROBE_INLINE U32 load_u32(const void* p) {
  U32 x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
STROBE_INLINE void store_u32(void* p, U32 x) { std::memcpy(p, &x, sizeof x); }

/// Exchanges rows and columns of a kLanes x kLanes matrix of 32-bit elements: log2(kLanes) rounds,
/// each of which exchanges the off-diagonal blocks of half the size.
STROBE_INLINE void transpose_lanes(U32 (&x)[kLanes]) {
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2) {
    U32 low{}, high{};
    for (int i = 0; i < kLanes; ++i) {
      const bool second = i & half;
      low[i] = second ? kLanes + (i ^ half) : i;
      high[i] = second ? kLanes + i : (i ^ half);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if (i & half) continue;
      const U32 a = x[i], b = x[i + half];
      x[i] = __builtin_shuffle(a, b, low);
      x[i + half] = __builtin_shuffle(a, b, high);
    }
  }
}

/// dst (columns, rows) = src (rows, columns) of 32-bit elements; both multiples of kLanes.
static inline void transpose32(uint32_t* dst, int64_t dst_stride, const uint32_t* src,
                               int64_t src_stride, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r += kLanes)
    for (int64_t c = 0; c < columns; c += kLanes) {
      U32 x[kLanes];
      for (int i = 0; i < kLanes; ++i) x[i] = load_u32(src + (r + i) * src_stride + c);
      transpose_lanes(x);
      for (int i = 0; i < kLanes; ++i) store_u32(dst + (c + i) * dst_stride + r, x[i]);
    }
}

/// dst (rows / 2, columns) pairs (src[2 r][c], src[2 r + 1][c]) of 16-bit elements.
static inline void interleave_rows(uint32_t* dst, const uint16_t* src, int64_t rows,
                                   int64_t columns) {
  for (int64_t r = 0; r < rows; r += 2)
    for (int64_t c = 0; c < columns; c += kLanes) {
      U16 a, b;
      std::memcpy(&a, src + r * columns + c, sizeof a);
      std::memcpy(&b, src + (r + 1) * columns + c, sizeof b);
      const U32 pairs = __builtin_convertvector(a, U32) | __builtin_convertvector(b, U32) << 16;
      store_u32(dst + r / 2 * columns + c, pairs);
    }
}

/// dst (64, padded) f32 or bf16 = rows of src, zero beyond `rows` and `dim`.
template <class To, class From>
static inline void copy_rows(To* dst, const From* src, int64_t stride, int64_t rows, int64_t dim,
                             int64_t padded, int64_t block) {
  for (int64_t r = 0; r < rows; ++r) {
    int64_t c = 0;
    for (; c + kLanes <= dim; c += kLanes) store(dst + r * padded + c, load(src + r * stride + c));
    for (; c < dim; c += kLanes)
      store(dst + r * padded + c, load_part(src + r * stride + c, dim - c));
    for (; c < padded; c += kLanes) store(dst + r * padded + c, F32{});
  }
  std::memset(dst + rows * padded, 0, (block - rows) * padded * sizeof(To));
}

}  // namespace strobe::cpu::STROBE_ISA
