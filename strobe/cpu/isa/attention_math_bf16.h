// The products of attention on bf16 operands, accumulated in f32: by dot products of pairs
// (AVX512-BF16) or on tiles (AMX). Operands B hold pairs of rows (VNNI), as both instructions want.
//
// An f32 operand is carried as kParts = 3 bf16 parts, x = h + m + l exactly (8 bits each, split by
// truncation, so nothing overflows), and a product as the six partial products above 2^-24 of its
// size: l h, m m, h l, m h, h m, h h, smallest first. (Henry, Tang, Heinecke, "Leveraging the
// bfloat16 artificial intelligence datatype for higher-precision computations", 2019.) On AMX,
// whose multiply-adds run at 16 times the rate of AVX-512's, that is f32 at 2.7 times the rate of
// f32 multiply-adds.
#pragma once

#include "strobe/cpu/isa/attention.h"
#include "strobe/cpu/isa/attention_layout.h"
#include "strobe/cpu/isa/tile_session.h"

#if defined(__AVX512BF16__)

namespace strobe::cpu::STROBE_ISA {

/// 2^x to 3e-6, a hundredth of bf16's own rounding.
STROBE_INLINE F32 exp2_coarse(F32 x) {
  const F32 f = fraction(x);
  F32 p = broadcast(1.353416790397e-2f);  // Remez on [0, 1)
  p = p * f + 5.201146063367e-2f;
  p = p * f + 2.414427568777e-1f;
  p = p * f + 6.930038344725e-1f;
  p = p * f + 1.000002593371f;
  return scale_by_floor(p, x);
}

/// The leading 8 bits of each lane, and what they leave.
STROBE_INLINE F32 leading(F32 x) { return as_f32(as_i32(x) & static_cast<int32_t>(0xffff0000)); }

/// (upper half of even, upper half of odd) by lane.
STROBE_INLINE U32 pair_upper(F32 even, F32 odd) {
  return reinterpret_cast<U32>(even) >> 16 | (reinterpret_cast<U32>(odd) & 0xffff0000u);
}
/// The upper halves of x, then those of next.
STROBE_INLINE U32 join_upper(F32 x, F32 next) {
  const U32 i = reinterpret_cast<U32>(lane_index()) * 2;
  const U32 low = (i * 2 + 1) | (i * 2 + 3) << 16;  // 16-bit elements 1, 3, 5, ... of both
  return reinterpret_cast<U32>(_mm512_permutex2var_epi16(reinterpret_cast<__m512i>(x),
                                                         reinterpret_cast<__m512i>(low),
                                                         reinterpret_cast<__m512i>(next)));
}
STROBE_INLINE U16 upper(F32 x) {
  return __builtin_convertvector(reinterpret_cast<U32>(x) >> 16, U16);
}

/// even and odd rounded to bf16, by lane.
STROBE_INLINE U32 pair_rounded(F32 even, F32 odd) {
  const __m512i halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
  const U32 i = reinterpret_cast<U32>(lane_index());
  return reinterpret_cast<U32>(
      _mm512_permutexvar_epi16(reinterpret_cast<__m512i>(i | (i + 16) << 16), halves));
}

/// Packing and storing of operands of kParts planes.
template <int kPartCount>
struct OperandsBf16 {
  using Packed = uint16_t;
  static constexpr int kParts = kPartCount;
  static constexpr int64_t kElementBytes = kParts * int64_t{sizeof(uint16_t)};
  /// With one part and D = 64, S, P, O and the blocks of q, k and v of 32 queries take 52 KB and
  /// about stay in an L1 cache of 48 KB. With three they cannot, and 64 queries halve the traffic
  /// of k and v.
  static constexpr int64_t kForwardQueries = kParts == 1 ? 32 : 64;
  static constexpr int64_t kDimMultiple = 32, kKeyMultiple = 32;  // products take whole tiles
  static constexpr bool kOneLayout = false;

  STROBE_INLINE F32 exp2(F32 x) { return kParts == 1 ? exp2_coarse(x) : STROBE_ISA::exp2(x); }

  static inline void pack_rows(Packed* dst, const uint16_t* src, int64_t stride, int64_t rows,
                               int64_t dim, int64_t padded, int64_t block = kAttentionBlock) {
    static_assert(kParts == 1);
    for (int64_t r = 0; r < rows; ++r) {
      std::memcpy(dst + r * padded, src + r * stride, dim * sizeof(Packed));
      std::memset(dst + r * padded + dim, 0, (padded - dim) * sizeof(Packed));
    }
    std::memset(dst + rows * padded, 0, (block - rows) * padded * sizeof(Packed));
  }
  static inline void pack_rows(Packed* dst, const float* src, int64_t stride, int64_t rows,
                               int64_t dim, int64_t padded, int64_t block = kAttentionBlock) {
    const int64_t plane = block * padded;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < padded; c += kLanes) {
        const float* at = src + r * stride + c;
        F32 x = c + kLanes <= dim ? load(at) : c < dim ? load_part(at, dim - c) : F32{};
#pragma GCC unroll 3
        for (int part = 0; part < kParts; ++part) {
          const U16 y = upper(x);
          std::memcpy(dst + part * plane + r * padded + c, &y, sizeof y);
          x -= leading(x);
        }
      }
    for (int part = 0; part < kParts; ++part)
      std::memset(dst + part * plane + rows * padded, 0, (block - rows) * padded * sizeof(Packed));
  }
  static inline void columns_of(Packed* dst, const Packed* rows, int64_t padded) {
    alignas(64) uint32_t pairs[kAttentionBlock / 2 * 256];
    for (int part = 0; part < kParts; ++part) {
      const int64_t at = part * kAttentionBlock * padded;
      interleave_rows(pairs, rows + at, kAttentionBlock, padded);
      transpose32(reinterpret_cast<uint32_t*>(dst + at), kAttentionBlock / 2, pairs, padded,
                  kAttentionBlock / 2, padded);
    }
  }
  static inline void b_of(Packed* dst, const Packed* rows, int64_t padded) {
    for (int part = 0; part < kParts; ++part) {
      const int64_t at = part * kAttentionBlock * padded;
      interleave_rows(reinterpret_cast<uint32_t*>(dst + at), rows + at, kAttentionBlock, padded);
    }
  }
  static inline void bt_of(Packed* dst, const Packed* rows, int64_t padded,
                           int64_t block = kAttentionBlock) {
    for (int part = 0; part < kParts; ++part) {
      const int64_t at = part * block * padded;
      transpose32(reinterpret_cast<uint32_t*>(dst + at), block,
                  reinterpret_cast<const uint32_t*>(rows + at), padded / 2, block, padded / 2);
    }
  }

  template <int64_t kWidth>
  STROBE_INLINE void store_b(Packed* tile, int64_t row, int64_t column, F32 even, F32 odd) {
    Packed* at = tile + row * kWidth + 2 * column;
    if (kParts == 1) return store_u32(at, pair_rounded(even, odd));
#pragma GCC unroll 3
    for (int part = 0; part < kParts; ++part) {
      store_u32(at + part * kAttentionBlock * kWidth, pair_upper(even, odd));
      even -= leading(even), odd -= leading(odd);
    }
  }
  template <int64_t kWidth>
  STROBE_INLINE void store_a(Packed* tile, int64_t row, int64_t column, F32 x, F32 next) {
    Packed* at = tile + row * kWidth + column;
    if (kParts == 1) {
      const __m512bh y = _mm512_cvtne2ps_pbh(next, x);
      std::memcpy(at, &y, sizeof y);
      return;
    }
#pragma GCC unroll 3
    for (int part = 0; part < kParts; ++part) {
      store_u32(at + part * kAttentionBlock * kWidth, join_upper(x, next));
      x -= leading(x), next -= leading(next);
    }
  }
};

/// Dot products of pairs: a micro-tile of 8 x 2 vectors of C in registers, as in MathF32.
struct MathDot : OperandsBf16<1> {
  static constexpr int kRows = 8, kColumns = 2;
  struct Session {
    Session() {}
  };

  static inline void product(float* c, int64_t ldc, Operand<Packed> a, Operand<Packed> b, int64_t m,
                             int64_t n, int64_t k, bool accumulate) {
    for (int64_t j = 0; j < n; j += kColumns * kLanes)
      for (int64_t i = 0; i < m; i += kRows)
        micro(c + i * ldc + j, ldc, a.data + i * a.stride, a.stride, b.data + 2 * j, b.stride, k,
              accumulate);
  }

 private:
  static inline void micro(float* c, int64_t ldc, const Packed* a, int64_t lda, const Packed* b,
                           int64_t ldb, int64_t k_count, bool accumulate) {
    __m512 sum[kRows][kColumns];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < kColumns; ++j)
        sum[i][j] = accumulate ? _mm512_loadu_ps(c + i * ldc + j * kLanes) : _mm512_setzero_ps();
    for (int64_t k = 0; k < k_count; k += 2) {
      __m512bh row[kColumns];
#pragma GCC unroll 2
      for (int j = 0; j < kColumns; ++j)
        row[j] = reinterpret_cast<__m512bh>(load_u32(b + k * ldb + 2 * j * kLanes));
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        int32_t pair;
        std::memcpy(&pair, a + i * lda + k, sizeof pair);
        const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 2
        for (int j = 0; j < kColumns; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], x, row[j]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < kColumns; ++j) _mm512_storeu_ps(c + i * ldc + j * kLanes, sum[i][j]);
  }
};

}  // namespace strobe::cpu::STROBE_ISA

#endif  // __AVX512BF16__

#if defined(__AMX_BF16__)

namespace strobe::cpu::STROBE_ISA {

/// Tiles of 16 x 16 f32: 2 x 2 of C stay in registers 0-3 while k runs in steps of 32; A in 4-5, B
/// in 6-7.
template <int kPartCount>
struct MathTiles : OperandsBf16<kPartCount> {
  using Packed = uint16_t;

  using Session = TileSession;

  static inline void product(float* c, int64_t ldc, Operand<Packed> a, Operand<Packed> b, int64_t m,
                             int64_t n, int64_t k, bool accumulate) {
    for (int64_t j = 0; j < n; j += 32)
      for (int64_t i = 0; i < m; i += 32) {
        float* at = c + i * ldc + j;
        if (accumulate) {
          _tile_loadd(0, at, ldc * 4);
          _tile_loadd(1, at + 16, ldc * 4);
          _tile_loadd(2, at + 16 * ldc, ldc * 4);
          _tile_loadd(3, at + 16 * ldc + 16, ldc * 4);
        } else {
          _tile_zero(0);
          _tile_zero(1);
          _tile_zero(2);
          _tile_zero(3);
        }
        for (int64_t step = 0; step < k; step += 32) {
          const Operand<Packed> a_step{a.data + i * a.stride + step, a.stride, a.plane};
          const Operand<Packed> b_step{b.data + step * b.stride + 2 * j, b.stride, b.plane};
          if (kPartCount == 1) {
            load_a(a_step, 0);
            load_b(b_step, 0);
            multiply();
          } else {
            load_a(a_step, 2), load_b(b_step, 0), multiply();
            load_a(a_step, 1), multiply();
            load_b(b_step, 1), multiply();
            load_a(a_step, 0), multiply();
            load_b(b_step, 2), multiply();
            load_b(b_step, 0), multiply();
          }
        }
        _tile_stored(0, at, ldc * 4);
        _tile_stored(1, at + 16, ldc * 4);
        _tile_stored(2, at + 16 * ldc, ldc * 4);
        _tile_stored(3, at + 16 * ldc + 16, ldc * 4);
      }
  }

 private:
  STROBE_INLINE void load_a(Operand<Packed> a, int part) {
    const Packed* at = a.data + part * a.plane;
    _tile_loadd(4, at, a.stride * 2);
    _tile_loadd(5, at + 16 * a.stride, a.stride * 2);
  }
  STROBE_INLINE void load_b(Operand<Packed> b, int part) {
    const Packed* at = b.data + part * b.plane;
    _tile_loadd(6, at, b.stride * 4);
    _tile_loadd(7, at + 32, b.stride * 4);
  }
  STROBE_INLINE void multiply() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
};

}  // namespace strobe::cpu::STROBE_ISA

#endif  // __AMX_BF16__
