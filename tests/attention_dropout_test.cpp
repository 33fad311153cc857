// The numbers that decide attention's dropout (strobe/ops/dropout_mask.h): that they are what the
// header promises, and how far a mask of them is from one of independent draws. Seeds are fixed.
// Bounds are what chance exceeds once in a million, unless a comment says what else they are.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "strobe/ops/dropout_mask.h"

namespace strobe {
namespace {

constexpr double kSigmas = 4.9;  // a normal variable is beyond them once in a million

// ---- which numbers drop ------------------------------------------------------------------------

double half_value(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31);
  const double fraction = bits & 1023u, sign = bits & 0x8000u ? -1 : 1;
  if (exponent == 31) return fraction != 0 ? std::nan("") : sign * INFINITY;
  return sign *
         (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

// To nearest, ties to even; what is above the greatest half stays, since who asks then saturates.
double rounded_to_half(double x) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int place = std::max(std::ilogb(x), -14) - 10;
  return std::ldexp(std::nearbyint(std::ldexp(x, -place)), place);
}

// fma.rn.sat.f16 of PTX: one rounding, then to [0, 1], where NaN becomes 0. The exact sum fits a
// double: of 11 bits each, the operands are at most 40 binary places apart.
double saturating_fma(uint32_t x, uint32_t factor, uint32_t summand) {
  const double y = rounded_to_half(half_value(x) * half_value(factor) + half_value(summand));
  return std::isnan(y) ? 0 : std::clamp(y, 0.0, 1.0);
}

TEST(DroppedNumbers, AreAsManyAsTheProbabilitySays) {
  for (int keep = 0; keep <= 256; ++keep) {
    const DroppedNumbers dropped = DroppedNumbers::of(keep);
    int count = 0;
    for (uint32_t x = 0; x < 65536; ++x) count += dropped.contains(x);
    ASSERT_EQ(count, 256 * (256 - keep)) << keep;
    EXPECT_EQ(dropped.as_float(), keep >= 165 && keep <= 248) << keep;
  }
}

TEST(DroppedNumbers, AMultiplyAddOfHalvesDecidesTheSame) {
  for (int keep : {248, 240, 230, 218, 205, 192, 179, 166, 165}) {
    const DroppedNumbers dropped = DroppedNumbers::of(keep);
    ASSERT_TRUE(dropped.as_float());
    for (uint32_t x = 0; x < 65536; ++x)
      ASSERT_EQ(saturating_fma(x, dropped.factor(), dropped.summand()), dropped.contains(x) ? 0 : 1)
          << keep << " " << x;
  }
}

// ---- whose number is where ---------------------------------------------------------------------

TEST(AttentionDropout, EveryPairOfKeysHasAWordOfItsOwn) {
  const uint64_t key = dropout_key(1, 2, 3, 4);
  constexpr uint32_t kPairs = 512;
  std::vector<int> taken(kPairs, 0);
  for (uint32_t i = 0; i < kPairs; ++i) {
    ASSERT_LT(attention_dropout_slot(i), kPairs);
    ++taken[attention_dropout_slot(i)];
  }
  EXPECT_EQ(taken, std::vector<int>(kPairs, 1));
  for (uint32_t i = 0; i < kPairs / 4; ++i)
    for (uint32_t w = 0; w < 4; ++w)
      EXPECT_EQ(attention_dropout_words(key, i)[w],
                attention_dropout_word(key, i / 4 * 16 + i % 4 + 4 * w));
}

TEST(AttentionDropout, EveryQueryHasHalfABlockOfItsOwn) {
  const uint64_t key = dropout_key(1, 2, 3, 4);
  constexpr uint32_t kQueries = 512;
  std::vector<int> taken(kQueries, 0);
  for (uint32_t i = 0; i < kQueries / 2; ++i) {
    const Philox::Block block = attention_dropout_queries(key, 7, i);
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t query = i / 8 * 16 + i % 8 + 8 * half;
      ++taken.at(query);
      const DropoutQuery numbers = attention_dropout_query(key, 7, query);
      EXPECT_EQ(numbers.multiplier, block[2 * half]);
      EXPECT_EQ(numbers.addend, block[2 * half + 1]);
      EXPECT_EQ(numbers.multiplier % 2, 1u);
    }
  }
  EXPECT_EQ(taken, std::vector<int>(kQueries, 1));
}

// ---- masks -------------------------------------------------------------------------------------

// A bit a score, set where it is dropped: rows of 64-bit words.
struct Mask {
  int size = 0;
  double p = 0;
  std::vector<uint64_t> bits;

  int words() const { return size / 64; }
  const uint64_t* row(int i) const { return bits.data() + int64_t{i} * words(); }
  bool at(int i, int j) const { return row(i)[j / 64] >> (j % 64) & 1; }
  void set(int i, int j) { bits[int64_t{i} * words() + j / 64] |= uint64_t{1} << (j % 64); }
  double pairs() const { return double(size) * size; }
};

Mask empty_mask(int size, double p) { return {size, p, std::vector<uint64_t>(size * size / 64)}; }

// The scores of queries and keys [0, size) of one head.
Mask mask_of(uint64_t key, uint32_t stream, int size, int keep) {
  const DroppedNumbers dropped = DroppedNumbers::of(keep);
  Mask mask = empty_mask(size, (256 - keep) / 256.0);
  std::vector<uint32_t> words(size / 2);
  for (int j = 0; j < size / 2; ++j) words[j] = attention_dropout_word(key, j);
  for (int i = 0; i < size; ++i) {
    const DropoutQuery query = attention_dropout_query(key, stream, i);
    for (int j = 0; j < size; ++j)
      if (attention_drops(dropped, query, words[j / 2], j)) mask.set(i, j);
  }
  return mask;
}

Mask transposed(const Mask& mask) {
  Mask out = empty_mask(mask.size, mask.p);
  for (int i = 0; i < mask.size; ++i)
    for (int j = 0; j < mask.size; ++j)
      if (mask.at(i, j)) out.set(j, i);
  return out;
}

int common(const uint64_t* a, const uint64_t* b, int words) {
  int count = 0;
  for (int i = 0; i < words; ++i) count += std::popcount(a[i] & b[i]);
  return count;
}
int dropped_in_row(const Mask& mask, int i) {
  return common(mask.row(i), mask.row(i), mask.words());
}

// How many standard deviations `count` of n draws is from what it is on average.
double deviation(double count, double n, double p) {
  return (count - n * p) / std::sqrt(n * p * (1 - p));
}

// Of the correlation of n pairs of draws, given what is dropped in both, in the first, the second.
double deviation_of_pairs(double both, double first, double second, double n, double p) {
  return (both - p * first - p * second + n * p * p) / (std::sqrt(n) * p * (1 - p));
}

// How many standard deviations the sum of the rows' (count - n p)^2 / (n p q) is from its average,
// which is the number of rows. Its variance, of one row: 2 + (1 - 6 p q) / (n p q).
double deviation_of_rows(const std::vector<Mask>& masks) {
  double sum = 0, rows = 0, variance = 0;
  for (const Mask& mask : masks) {
    const double pq = mask.p * (1 - mask.p);
    for (int i = 0; i < mask.size; ++i)
      sum += std::pow(deviation(dropped_in_row(mask, i), mask.size, mask.p), 2);
    rows += mask.size;
    variance += mask.size * (2 + (1 - 6 * pq) / (mask.size * pq));
  }
  return (sum - rows) / std::sqrt(variance);
}

constexpr int kSize = 1024;
constexpr int kKeep = 230;  // of 256: p = 0.1

TEST(AttentionDropout, MasksOfOtherHeadsSequencesStepsAndSitesAreIndependent) {
  constexpr int kHeads = 12;
  const uint64_t key = dropout_key(1, 100, 0, 5);
  const std::vector<Mask> masks = {mask_of(key, 0, kSize, kKeep),
                                   mask_of(key, 1, kSize, kKeep),       // the next head
                                   mask_of(key, kHeads, kSize, kKeep),  // the next sequence
                                   mask_of(dropout_key(1, 101, 0, 5), 0, kSize, kKeep),
                                   mask_of(dropout_key(1, 100, 1, 5), 0, kSize, kKeep),
                                   mask_of(dropout_key(1, 100, 0, 6), 0, kSize, kKeep),
                                   mask_of(dropout_key(2, 100, 0, 5), 0, kSize, kKeep)};
  const int words = kSize * kSize / 64;
  const auto count = [&](const Mask& a, const Mask& b) {
    return common(a.bits.data(), b.bits.data(), words);
  };
  for (const Mask& a : masks)
    for (const Mask& b : masks) {
      if (&a == &b) continue;
      EXPECT_LT(std::abs(deviation_of_pairs(count(a, b), count(a, a), count(b, b), a.pairs(), a.p)),
                kSigmas);
    }
}

TEST(AttentionDropout, RatesAreThoseOfFairDraws) {
  for (int keep : {248, kKeep, 128, 13}) {
    std::vector<Mask> masks, columns;
    double count = 0, n = 0;
    for (uint32_t head = 0; head < 3; ++head) {
      masks.push_back(mask_of(dropout_key(3, 7, 0, 2), head, kSize, keep));
      columns.push_back(transposed(masks.back()));
      for (int i = 0; i < kSize; ++i) count += dropped_in_row(masks.back(), i);
      n += masks.back().pairs();
    }
    EXPECT_LT(std::abs(deviation(count, n, masks[0].p)), kSigmas) << keep;
    EXPECT_LT(std::abs(deviation_of_rows(masks)), kSigmas) << keep;
    EXPECT_LT(std::abs(deviation_of_rows(columns)), kSigmas) << keep;
  }
}

TEST(AttentionDropout, NeighboursAreIndependent) {
  const Mask mask = mask_of(dropout_key(4, 7, 0, 2), 0, kSize, kKeep);
  const auto check = [&](const Mask& m, int first, int step, int distance) {
    double both = 0, one = 0, other = 0, n = 0;
    for (int i = 0; i < kSize; ++i)
      for (int j = first; j + distance < kSize; j += step) {
        const bool a = m.at(i, j), b = m.at(i, j + distance);
        both += a && b, one += a, other += b, ++n;
      }
    EXPECT_LT(std::abs(deviation_of_pairs(both, one, other, n, m.p)), kSigmas)
        << first << " " << distance;
  };
  check(mask, 0, 2, 1);  // the two keys of a pair
  check(mask, 1, 2, 1);  // the second and the next pair's first
  const Mask columns = transposed(mask);
  for (int distance : {1, 2, 3, 4, 8, 16, 32}) {
    check(mask, 0, 1, distance);
    check(columns, 0, 1, distance);
  }
}

// ---- pairs of rows and of columns --------------------------------------------------------------

struct Correlations {
  double mean_square = 0;  // times the length: 1 of independent draws
  double largest = 0;      // absolute
  int above = 0;           // pairs whose correlation is above 0.25
};

// Of pairs of rows, but those that `skip` names.
template <class Skip>
Correlations correlations(const Mask& mask, const Skip& skip) {
  Correlations out;
  std::vector<int> count(mask.size);
  for (int i = 0; i < mask.size; ++i) count[i] = dropped_in_row(mask, i);
  int pairs = 0;
  for (int i = 0; i < mask.size; ++i)
    for (int j = 0; j < i; ++j) {
      if (skip(i, j)) continue;
      const int both = common(mask.row(i), mask.row(j), mask.words());
      const double x = deviation_of_pairs(both, count[i], count[j], mask.size, mask.p);
      const double correlation = std::abs(x) / std::sqrt(mask.size);
      ++pairs;
      out.mean_square += x * x;
      out.largest = std::max(out.largest, correlation);
      out.above += correlation > 0.25;
    }
  out.mean_square /= pairs;
  return out;
}
Correlations correlations(const Mask& mask) {
  return correlations(mask, [](int, int) { return false; });
}

// A mask of independent draws.
Mask independent_mask(uint64_t seed, int size, int keep) {
  const DroppedNumbers dropped = DroppedNumbers::of(keep);
  Mask mask = empty_mask(size, (256 - keep) / 256.0);
  RandomSequence random(seed, RandomUse::dropout, 0);
  for (int i = 0; i < size; ++i)
    for (int j = 0; j < size; ++j)
      if (dropped.contains(random.next() >> 16)) mask.set(i, j);
  return mask;
}

// On average over pairs of rows, or of columns, the square of their correlation is a few per cent
// at most above what chance makes of it: 1.00 to 1.02 here, 1.02 to 1.04 at 4096 keys. Single pairs
// differ by more. The largest of two rows is 0.3 to 0.5, as two multipliers may agree modulo 2^16,
// or nearly, and is 0.17 of independent draws.
TEST(AttentionDropout, PairsOfRowsAreUncorrelatedOnAverage) {
  const Mask mask = mask_of(dropout_key(1, 3, 0, 5), 0, kSize, kKeep);
  const Correlations rows = correlations(mask);
  const Correlations fair = correlations(independent_mask(1, kSize, kKeep));
  EXPECT_NEAR(fair.mean_square, 1, 0.03);
  EXPECT_LT(fair.largest, 0.25);
  EXPECT_NEAR(rows.mean_square, 1, 0.05);
  EXPECT_LT(rows.largest, 0.6);
  EXPECT_LT(rows.above, 20);  // of 523,776
}

// The lower half of a b + c knows b modulo 2^16 only. Where the words of two pairs of keys agree in
// that, their even keys drop together in every query, head and sequence: one pair of words in
// 65,536, so 2 of 1024 keys' on average (a Poisson number, above 12 less than once in a million)
// and 32 of 4096 keys', others at every step and site. Apart from them columns are as rows are.
TEST(AttentionDropout, PairsOfColumnsAreUncorrelatedOnAverageButAFewAreTied) {
  const uint64_t key = dropout_key(1, 3, 0, 5);
  const Mask columns = transposed(mask_of(key, 0, kSize, kKeep));
  const auto tied = [&](int i, int j) {
    return i % 2 == 0 && j % 2 == 0 &&
           (attention_dropout_word(key, i / 2) ^ attention_dropout_word(key, j / 2)) % 65536 == 0;
  };
  int ties = 0;
  for (int i = 0; i < kSize; i += 2)
    for (int j = 0; j < i; j += 2) {
      if (!tied(i, j)) continue;
      ++ties;
      EXPECT_TRUE(std::equal(columns.row(i), columns.row(i) + columns.words(), columns.row(j)));
    }
  EXPECT_GT(ties, 0);
  EXPECT_LE(ties, 12);
  EXPECT_NEAR(correlations(columns).mean_square, 1, 0.05);
  const Correlations rest = correlations(columns, tied);
  EXPECT_LT(rest.largest, 0.6);
  EXPECT_LT(rest.above, 20);
}

}  // namespace
}  // namespace strobe
