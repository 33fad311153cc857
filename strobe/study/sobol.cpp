#include "strobe/study/sobol.h"

#include <array>
#include <bit>
#include <iterator>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "strobe/study/sobol_table.h"

namespace strobe {

namespace {

constexpr int kBits = 32;

// v_j = m_j 2^(32-j), by the recurrence of Bratley and Fox, ACM TOMS 14 (1988), equation 2.
std::array<uint32_t, kBits> directions(const SobolDimension& d) {
  std::array<uint32_t, kBits> m{};
  const int degree = std::bit_width(d.polynomial) - 1;
  if (degree == 0) {
    m.fill(1);
  } else {
    for (int j = 0; j < kBits; ++j) {
      if (j < degree) {
        m[j] = d.m[j];
        continue;
      }
      m[j] = m[j - degree] ^ (m[j - degree] << degree);
      for (int k = 1; k < degree; ++k)
        if (d.polynomial >> (degree - k) & 1) m[j] ^= m[j - k] << k;
    }
  }
  for (int j = 0; j < kBits; ++j) m[j] <<= kBits - 1 - j;
  return m;
}

}  // namespace

size_t sobol_dimensions() { return std::size(kSobolTable); }

uint32_t sobol(uint64_t index, size_t dimension) {
  if (dimension >= sobol_dimensions())
    fail("sobol: {} dimensions; the sequence has {}", dimension + 1, sobol_dimensions());
  const std::array<uint32_t, kBits> v = directions(kSobolTable[dimension]);
  uint32_t out = 0;
  const uint64_t gray = index ^ index >> 1;
  for (int j = 0; j < kBits; ++j)
    if (gray >> j & 1) out ^= v[j];
  return out;
}

uint32_t owen_scramble(uint32_t coordinate, uint64_t seed, size_t dimension) {
  uint32_t flips = 0;
  for (int bit = 0; bit < kBits; ++bit) {
    // The node of the binary tree: the bits above this one, behind a leading 1.
    const uint64_t node = uint64_t{1} << bit | (uint64_t{coordinate} >> (kBits - bit));
    const Philox::Block random =
        random_block(seed, RandomUse::search, static_cast<uint32_t>(dimension) | 1u << 31, node);
    flips |= (random[0] & 1) << (kBits - 1 - bit);
  }
  return coordinate ^ flips;
}

void sobol_point(uint64_t index, uint64_t seed, std::span<double> unit) {
  for (size_t d = 0; d < unit.size(); ++d)
    unit[d] = owen_scramble(sobol(index, d), seed, d) * 0x1p-32;
}

}  // namespace strobe
