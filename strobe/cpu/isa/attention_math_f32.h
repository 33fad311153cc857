// The products of attention in f32 multiply-adds.
//
// C (M, N) (+)= A (M, K) B (K, N), all row-major. A micro-tile of kRows x kColumns vectors of C
// stays in registers while k runs; B's panel (K x kColumns vectors, 8 KB at K = 64) stays in the
// L1 cache while the rows of A pass. Per k: kColumns loads, kRows broadcasts, kRows * kColumns
// multiply-adds.
#pragma once

#include "strobe/cpu/isa/attention.h"
#include "strobe/cpu/isa/attention_layout.h"

namespace strobe::cpu::STROBE_ISA {

struct MathF32 {
  using Packed = float;
  static constexpr int64_t kForwardQueries = 32;
  static constexpr int64_t kDimMultiple = kLanes;
  static constexpr int64_t kKeyMultiple = 8;  // products take keys in multiples of this
  static constexpr int kParts = 1;
  static constexpr int64_t kElementBytes = sizeof(float);

#if defined(__AVX512F__)
  static constexpr int kRows = 8, kColumns = 2;
#elif defined(__AVX__)
  static constexpr int kRows = 4, kColumns = 2;
#else
  static constexpr int kRows = 4, kColumns = 2;
#endif

  struct Session {
    Session() {}
  };  // what a thread must hold to compute products: nothing

  template <int kVectors>
  static inline void micro(float* c, int64_t ldc, const float* a, int64_t lda, const float* b,
                           int64_t ldb, int64_t k_count, bool accumulate) {
    F32 sum[kRows][kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j)
        sum[i][j] = accumulate ? load(c + i * ldc + j * kLanes) : F32{};
    for (int64_t k = 0; k < k_count; ++k) {
      F32 row[kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) row[j] = load(b + k * ldb + j * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        const F32 x = broadcast(a[i * lda + k]);
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) sum[i][j] += x * row[j];
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) store(c + i * ldc + j * kLanes, sum[i][j]);
  }

  /// m and n are multiples of 8 (kRows divides it) and of kLanes.
  static inline void product(float* c, int64_t ldc, Operand<Packed> left, Operand<Packed> right,
                             int64_t m, int64_t n, int64_t k, bool accumulate) {
    const Packed *a = left.data, *b = right.data;
    const int64_t lda = left.stride, ldb = right.stride;
    int64_t j = 0;
    for (; j + kColumns * kLanes <= n; j += kColumns * kLanes)
      for (int64_t i = 0; i < m; i += kRows)
        micro<kColumns>(c + i * ldc + j, ldc, a + i * lda, lda, b + j, ldb, k, accumulate);
    for (; j < n; j += kLanes)
      for (int64_t i = 0; i < m; i += kRows)
        micro<1>(c + i * ldc + j, ldc, a + i * lda, lda, b + j, ldb, k, accumulate);
  }

  STROBE_INLINE F32 exp2(F32 x) { return STROBE_ISA::exp2(x); }

  // ---- packing a block of 64 rows --------------------------------------------------------------
  template <class T>
  static inline void pack_rows(Packed* dst, const T* src, int64_t stride, int64_t rows, int64_t dim,
                               int64_t padded, int64_t block = kAttentionBlock) {
    copy_rows(dst, src, stride, rows, dim, padded, block);
  }
  static inline void columns_of(Packed* dst, const Packed* rows, int64_t padded,
                                int64_t block = kAttentionBlock) {
    transpose32(reinterpret_cast<uint32_t*>(dst), block, reinterpret_cast<const uint32_t*>(rows),
                padded, block, padded);
  }
  static inline void b_of(Packed* dst, const Packed* rows, int64_t padded) {
    std::memcpy(dst, rows, kAttentionBlock * padded * sizeof(Packed));
  }
  static inline void bt_of(Packed* dst, const Packed* rows, int64_t padded,
                           int64_t block = kAttentionBlock) {
    columns_of(dst, rows, padded, block);
  }

  // ---- a computed tile of keys x kWidth queries as an operand
  // ---------------------------------------
  /// Lanes [column, column + kLanes) of key rows `row` and `row + 1`.
  template <int64_t kWidth>
  STROBE_INLINE void store_b(Packed* tile, int64_t row, int64_t column, F32 even, F32 odd) {
    store(tile + row * kWidth + column, even);
    store(tile + (row + 1) * kWidth + column, odd);
  }
  /// Lanes [column, column + 2 kLanes) of one key row.
  template <int64_t kWidth>
  STROBE_INLINE void store_a(Packed* tile, int64_t row, int64_t column, F32 x, F32 next) {
    store(tile + row * kWidth + column, x);
    store(tile + row * kWidth + column + kLanes, next);
  }
  static constexpr bool kOneLayout = true;  // store_a's tile is store_b's
};

}  // namespace strobe::cpu::STROBE_ISA
