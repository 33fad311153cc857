#include "strobe/cpu/isa/peak.h"

#include "strobe/cpu/isa/simd.h"
#include "strobe/cpu/isa/tile_session.h"

namespace strobe::cpu::STROBE_ISA {

namespace {

// Accumulators: more than two units' latencies of five cycles take, fewer than the registers.
constexpr int kChains = 12;
constexpr int kTurns = 1 << 15;

// Keeps what was computed from being left out.
volatile float sink;

double f32() {
  const F32 a = broadcast(sink + 0.5f), b = broadcast(sink + 1.0f);  // the sums stay near 2
  F32 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = broadcast(static_cast<float>(i));
  for (int turn = 0; turn < kTurns; ++turn)
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = sums[i] * a + b;
  F32 total{};
  for (int i = 0; i < kChains; ++i) total += sums[i];
  sink = sum(total) * 0;
  return 2.0 * kLanes * kChains * kTurns;
}

#if defined(__AMX_BF16__)

double bf16() {
  constexpr int kTileTurns = 2048;
  const TileSession session;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int turn = 0; turn < kTileTurns; ++turn) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  return 2.0 * 16 * 16 * 32 * 4 * kTileTurns;
}
constexpr double (*kBf16)() = bf16;

#elif defined(__AVX512BF16__)

double bf16() {
  const __m512bh a = reinterpret_cast<__m512bh>(broadcast(sink)), b = a;
  __m512 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int turn = 0; turn < kTurns; ++turn)
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], a, b);
  F32 total{};
  for (int i = 0; i < kChains; ++i) total += reinterpret_cast<F32>(sums[i]);
  sink = sum(total) * 0;
  return 4.0 * kLanes * kChains * kTurns;
}
constexpr double (*kBf16)() = bf16;

#else

constexpr double (*kBf16)() = nullptr;

#endif

}  // namespace

PeakKernels peak_kernels() { return {f32, kBf16}; }

}  // namespace strobe::cpu::STROBE_ISA
