// Philox4x32: a counter-based generator. Salmon, Moraes, Dror, Shaw, "Parallel random numbers:
// as easy as 1, 2, 3", SC 2011. Every random number in strobe is a pure function of
// (seed, stream, counter), so it can be recomputed anywhere and does not depend on threads.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "strobe/core/dtype.h"

namespace strobe {

struct Philox {
  using Block = std::array<uint32_t, 4>;

  /// Rounds over `counter` under `key`: ten by default, and 7 are the least that pass BigCrush
  /// (Salmon et al., table 2).
  template <int Rounds = 10>
  STROBE_HD static constexpr Block block(Block counter, uint32_t key0, uint32_t key1) {
    for (int round = 0; round < Rounds; ++round) {
      const uint64_t a = uint64_t{0xD2511F53u} * counter[0];
      const uint64_t b = uint64_t{0xCD9E8D57u} * counter[2];
      counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(b),
                 static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(a)};
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    return counter;
  }
};

/// What a random stream is for; part of the counter, so that streams never overlap.
enum class RandomUse : uint32_t {
  init = 1,
  dropout = 2,
  shuffle = 3,
  sample = 4,
  mask = 5,
  search = 6,
  split = 7,
  rotation = 8
};

/// The i-th block of the stream (seed, use, stream).
template <int Rounds = 10>
STROBE_HD constexpr Philox::Block random_block(uint64_t seed, RandomUse use, uint32_t stream,
                                               uint64_t i) {
  return Philox::block<Rounds>({static_cast<uint32_t>(i), static_cast<uint32_t>(i >> 32), stream,
                                static_cast<uint32_t>(use)},
                               static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

/// A sequence drawn from one stream, for code on the host that wants one number at a time.
class RandomSequence {
 public:
  RandomSequence(uint64_t seed, RandomUse use, uint32_t stream)
      : seed_(seed), use_(use), stream_(stream) {}

  uint32_t next() {
    if (position_ % 4 == 0) block_ = random_block(seed_, use_, stream_, position_ / 4);
    return block_[position_++ % 4];
  }
  /// Uniform in [0, 1), 24 bits.
  float uniform() { return static_cast<float>(next() >> 8) * 0x1p-24f; }
  /// Uniform in [0, n), without modulo bias.
  uint64_t below(uint64_t n) {
    const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t x;
    do x = uint64_t{next()} << 32 | next();
    while (x >= limit);
    return x % n;
  }
  /// Standard normal by Box-Muller.
  float normal() {
    const float u = 1.0f - uniform(), v = uniform();
    return std::sqrt(-2.0f * std::log(u)) * std::cos(6.283185307179586f * v);
  }

 private:
  uint64_t seed_;
  RandomUse use_;
  uint32_t stream_;
  uint64_t position_ = 0;
  Philox::Block block_{};
};

}  // namespace strobe
