// Blocks of 32 x 32 of C stay in four tile registers while k runs; b is packed a chunk of k at a
// time so that its panel of 32 columns stays in the first cache level while the rows of a
// stream past. Between chunks the blocks of C rest in scratch memory in f32.
//
// An operand tile is 16 rows of 64 bytes: of a, 16 rows of 32 k; of b, 16 pairs of k of 16 columns,
// the pair adjacent (Intel's VNNI layout). One is the other transposed, in units of pairs.
#include "strobe/cpu/isa/gemm_tiles.h"

#if defined(__AMX_BF16__)

#include <immintrin.h>

#include "strobe/cpu/isa/simd.h"
#include "strobe/cpu/isa/tile_session.h"

namespace strobe::cpu::STROBE_ISA {

namespace {

constexpr int64_t kSide = 32;         // of a block of C, and k of a step
constexpr int64_t kTile = 16 * 32;    // elements of an operand tile
constexpr int64_t kStep = 2 * kTile;  // of a panel's step: two tiles
constexpr int64_t kBlock = 32 * 32;   // floats of a block of C
constexpr int64_t kChunk = 384;       // k of a chunk, at most: a panel of b takes 24 KB

constexpr int64_t blocks(int64_t n) { return (n + kSide - 1) / kSide; }

struct Chunks {
  int64_t count, length;  // of k; length is a multiple of 32
};
Chunks chunks_of(int64_t k) {
  const int64_t count = (k + kChunk - 1) / kChunk;
  return {count, blocks((k + count - 1) / count) * kSide};
}

int64_t limit(int64_t n) { return n < 0 ? 0 : n < kSide ? n : kSide; }
__mmask32 first(int64_t n) { return n >= 32 ? 0xffffffffu : (1u << limit(n)) - 1; }

// 16 x 16 numbers of 32 bits, rows for columns.
STROBE_INLINE void transpose(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; ++j) {
      t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
      t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
    }
  for (int j = 0; j < 8; ++j) {
    r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
    r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
  }
}

// Takes the lanes of two rows in turn: even[0], odd[0], even[1], ...
struct PairOrder {
  alignas(64) uint16_t lanes[64] = {};
  constexpr PairOrder() {
    for (int i = 0; i < 32; ++i) {
      lanes[2 * i] = static_cast<uint16_t>(i);
      lanes[2 * i + 1] = static_cast<uint16_t>(32 + i);
    }
  }
};
constexpr PairOrder kPairOrder;

// An operand seen from its rows or columns: element (r, k) at data[r * outer + k * inner].
struct Source {
  const uint16_t* data;
  int64_t outer, inner;
  int64_t rows, depth;  // what there is; beyond it are zeros
};

// Rows [r, r + 16) at depth [k, k + 32), k adjacent in memory.
STROBE_INLINE void load_rows(__m512i tile[16], const Source& s, int64_t r, int64_t k) {
  const __mmask32 mask = first(s.depth - k);
  for (int i = 0; i < 16; ++i)
    tile[i] = r + i < s.rows ? _mm512_maskz_loadu_epi16(mask, s.data + (r + i) * s.outer + k)
                             : _mm512_setzero_si512();
}

// Rows [r, r + 32) at depth [k, k + 32), r adjacent in memory: pairs of k, of the first 16 rows in
// `low` and of the others in `high`.
STROBE_INLINE void load_pairs(__m512i low[16], __m512i high[16], const Source& s, int64_t r,
                              int64_t k) {
  const __mmask32 mask = first(s.rows - r);
  const __m512i order_low = _mm512_load_si512(kPairOrder.lanes);
  const __m512i order_high = _mm512_load_si512(kPairOrder.lanes + 32);
  for (int i = 0; i < 16; ++i) {
    const int64_t at = k + 2 * i;
    const uint16_t* row = s.data + at * s.inner + r;
    const __m512i even =
        at < s.depth ? _mm512_maskz_loadu_epi16(mask, row) : _mm512_setzero_si512();
    const __m512i odd =
        at + 1 < s.depth ? _mm512_maskz_loadu_epi16(mask, row + s.inner) : _mm512_setzero_si512();
    low[i] = _mm512_permutex2var_epi16(even, order_low, odd);
    high[i] = _mm512_permutex2var_epi16(even, order_high, odd);
  }
}

STROBE_INLINE void put(uint16_t* tile, const __m512i rows[16]) {
  for (int i = 0; i < 16; ++i) _mm512_store_si512(tile + 32 * i, rows[i]);
}

// Packs `panels` of 32 rows of `s` from (r, k) on, `steps` of 32 k, as tiles of a (kPairs false) or
// of b. A panel takes `room` steps. Memory is read along its rows.
template <bool kPairs>
void pack(uint16_t* to, const Source& s, int64_t r, int64_t k, int64_t panels, int64_t steps,
          int64_t room) {
  __m512i low[16], high[16];
  if (s.inner == 1) {
    for (int64_t panel = 0; panel < panels; ++panel)
      for (int64_t step = 0; step < steps; ++step) {
        load_rows(low, s, r + panel * kSide, k + step * kSide);
        load_rows(high, s, r + panel * kSide + 16, k + step * kSide);
        if (kPairs) transpose(low), transpose(high);
        put(to + (panel * room + step) * kStep, low);
        put(to + (panel * room + step) * kStep + kTile, high);
      }
    return;
  }
  for (int64_t step = 0; step < steps; ++step)
    for (int64_t panel = 0; panel < panels; ++panel) {
      load_pairs(low, high, s, r + panel * kSide, k + step * kSide);
      if (!kPairs) transpose(low), transpose(high);
      put(to + (panel * room + step) * kStep, low);
      put(to + (panel * room + step) * kStep + kTile, high);
    }
}

// Where the tiles of a panel of a are: packed, or in place.
struct Panel {
  const uint16_t* data;
  int64_t half, step, stride;  // elements to the lower 16 rows, to the next 32 k, to the next row
};

// acc (32, 32) in tiles 0-3 += a panel times b panel.
STROBE_INLINE void multiply(const Panel& a, const uint16_t* b, int64_t steps) {
  const uint16_t* at = a.data;
  for (int64_t step = 0; step < steps; ++step, at += a.step, b += kStep) {
    _tile_loadd(6, b, 64);
    _tile_loadd(4, at, a.stride * 2);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + kTile, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, at + a.half, a.stride * 2);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

STROBE_INLINE void load_block(const float* block) {
  _tile_loadd(0, block, 128);
  _tile_loadd(1, block + 16, 128);
  _tile_loadd(2, block + 512, 128);
  _tile_loadd(3, block + 528, 128);
}
STROBE_INLINE void store_block(float* block) {
  _tile_stored(0, block, 128);
  _tile_stored(1, block + 16, 128);
  _tile_stored(2, block + 512, 128);
  _tile_stored(3, block + 528, 128);
}

template <class T>
STROBE_INLINE F32 get(const T* p, int64_t n) {
  return n >= kLanes ? load(p) : load_part(p, n);
}

STROBE_INLINE void put_row(float* p, F32 x) { store(p, x); }
// The machine's own rounding to bf16, which takes numbers below 1e-38 for 0.
STROBE_INLINE void put_row(uint16_t* p, F32 x) {
  const __m256bh y = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(x));
  std::memcpy(p, &y, sizeof y);
}

// Rows and columns of c from (i, j) on, out of a block.
template <class T>
void write_block(const GemmTile& t, const float* block, int64_t i, int64_t j) {
  const int64_t rows = limit(t.m - i), columns = limit(t.n - j);
  for (int64_t c = 0; c < columns; c += kLanes) {
    const int64_t n = columns - c;
    F32 bias{};
    if (t.bias)
      bias = t.bias_is_f32 ? get(static_cast<const float*>(t.bias) + j + c, n)
                           : get(static_cast<const uint16_t*>(t.bias) + j + c, n);
    for (int64_t r = 0; r < rows; ++r) {
      T* out = static_cast<T*>(t.c) + (i + r) * t.c_row + j + c;
      F32 x = load(block + r * 32 + c) + bias;
      if (t.accumulate) x += get(out, n);
      if (n >= kLanes)
        put_row(out, x);
      else
        store_part(out, x, n);
    }
  }
}

}  // namespace

int64_t gemm_tile_scratch_bytes(int64_t m, int64_t n, int64_t k) {
  const Chunks chunks = chunks_of(k);
  const int64_t a = blocks(m) * kSide * chunks.length, b = blocks(n) * kSide * chunks.length;
  const int64_t c = chunks.count > 1 ? blocks(m) * blocks(n) * kBlock : 0;
  return 2 * (a + b) + 4 * (c + kBlock);
}

void gemm_tile(const GemmTile& t, void* scratch) {
  const Chunks chunks = chunks_of(t.k);
  const int64_t down = blocks(t.m), across = blocks(t.n), all_steps = chunks.length / kSide;
  uint16_t* packed_a = static_cast<uint16_t*>(scratch);
  uint16_t* packed_b = packed_a + down * kSide * chunks.length;
  float* last = reinterpret_cast<float*>(packed_b + across * kSide * chunks.length);
  float* resting = last + kBlock;
  const Source a = {t.a, t.a_row, t.a_column, t.m, t.k};
  const Source b = {t.b, t.b_column, t.b_row, t.n, t.k};
  const bool in_place = t.a_column == 1 && t.k % kSide == 0;

  const TileSession session;
  for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
    const int64_t k = chunk * chunks.length;
    const int64_t steps = all_steps < blocks(t.k - k) ? all_steps : blocks(t.k - k);
    // In place, only a last panel of fewer than 32 rows is packed.
    const int64_t packed_from = in_place ? t.m / kSide : 0;
    pack<false>(packed_a + packed_from * all_steps * kStep, a, packed_from * kSide, k,
                down - packed_from, steps, all_steps);
    pack<true>(packed_b, b, 0, k, across, steps, all_steps);
    for (int64_t j = 0; j < across; ++j) {
      const uint16_t* b_panel = packed_b + j * all_steps * kStep;
      for (int64_t i = 0; i < down; ++i) {
        const bool direct = i < packed_from;
        const Panel a_panel =
            direct ? Panel{t.a + i * kSide * t.a_row + k, 16 * t.a_row, kSide, t.a_row}
                   : Panel{packed_a + i * all_steps * kStep, kTile, kStep, kSide};
        float* block = resting + (j * down + i) * kBlock;
        if (chunk > 0) {
          load_block(block);
        } else {
          _tile_zero(0);
          _tile_zero(1);
          _tile_zero(2);
          _tile_zero(3);
        }
        multiply(a_panel, b_panel, steps);
        if (chunk + 1 < chunks.count) {
          store_block(block);
          continue;
        }
        store_block(last);
        if (t.c_is_f32)
          write_block<float>(t, last, i * kSide, j * kSide);
        else
          write_block<uint16_t>(t, last, i * kSide, j * kSide);
      }
    }
  }
}

}  // namespace strobe::cpu::STROBE_ISA

#endif  // __AMX_BF16__
