// The arithmetic of attention in FP8, on any machine: the format, the layout of its tiles, the
// rotation, and what they do to the error.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <vector>

#include "strobe/cuda/attention_fp8_layout.h"

namespace strobe::cuda {
namespace {

TEST(CudaAttentionFp8, E4m3RoundsToTheNearest) {
  std::vector<float> all;
  for (int i = 0; i < 127; ++i) all.push_back(from_e4m3(static_cast<uint8_t>(i)));
  EXPECT_EQ(all[0], 0.0f);
  EXPECT_EQ(all[1], 0x1p-9f);
  EXPECT_EQ(all[8], 0x1p-6f);
  EXPECT_EQ(all[126], 448.0f);
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  for (int i = 0; i < 127; ++i) {
    EXPECT_EQ(to_e4m3(all[i]), i);
    EXPECT_EQ(to_e4m3(-all[i]), i | 0x80);
    if (i == 126) continue;
    const float middle = (all[i] + all[i + 1]) / 2;  // exact
    EXPECT_EQ(to_e4m3(middle), i + i % 2) << middle;
    EXPECT_EQ(to_e4m3(std::nextafter(middle, 0.0f)), i);
    EXPECT_EQ(to_e4m3(std::nextafter(middle, 500.0f)), i + 1);
  }
  EXPECT_EQ(to_e4m3(1e9f), 126);
  EXPECT_EQ(to_e4m3(-INFINITY), 126 | 0x80);
  EXPECT_EQ(to_e4m3(NAN) & 0x7f, 0x7f);
  EXPECT_TRUE(std::isnan(from_e4m3(0x7f)));
}

// A thread's accumulators of S: columns 2 t, 2 t + 1 of every 8. Its part of the left operand of
// the second product: columns 4 t ... 4 t + 3 of both halves of every 32 (PTX ISA, wgmma with
// .e4m3, fragments of A).
TEST(CudaAttentionFp8, AThreadsAccumulatorsAreItsOperand) {
  for (int t = 0; t < 4; ++t) {
    for (int i = 0; i < 32; ++i) {  // register i / 4 of a row, byte i % 4
      const int piece = i / 8, half = i / 4 % 2, byte = i % 4;
      const int column = 32 * piece + 16 * half + 4 * t + byte;
      const int key = column_slot(column);
      EXPECT_EQ(key % 8 / 2, t);
      // to_fragments: x[0], x[1] of one 8 and x[4], x[5] of the next.
      EXPECT_EQ(key, 32 * piece + 16 * half + byte / 2 * 8 + 2 * t + byte % 2);
    }
  }
}

TEST(CudaAttentionFp8, ValuesOfATileLieInPanelsOfKeys) {
  for (int keys : {128, 160, 192, 224}) {
    std::set<int> all;
    for (int d = 0; d < kFp8HeadDim; ++d)
      for (int word = 0; word < keys / 4; ++word) {
        const int at = value_word_byte(d, word);
        EXPECT_EQ(at % 4, 0);
        EXPECT_EQ(at / (128 * kFp8HeadDim), word / 32);  // panel
        EXPECT_EQ(at / 128 % kFp8HeadDim, d);
        EXPECT_EQ(at % 128 / 16, (word / 4 ^ d) & 7);
        all.insert(at);
      }
    EXPECT_EQ(all.size(), size_t(kFp8HeadDim) * keys / 4);
    EXPECT_LT(*all.rbegin(), value_tile_bytes(keys));
  }
}

TEST(CudaAttentionFp8, PartsOfTheWorkspaceDoNotOverlap) {
  const Fp8Workspace w = fp8_workspace(3, 1000, 777, 4, 2, 128);
  const int64_t q_tiles = 4 * (1000 / 64 + 3), kv_tiles = 2 * (777 / 128 + 3);
  EXPECT_EQ(w.q, 0);
  EXPECT_EQ(w.k - w.q, q_tiles * 64 * 128);
  EXPECT_EQ(w.v - w.k, kv_tiles * 128 * 128);
  EXPECT_EQ(w.kv_scales - w.v, kv_tiles * 128 * 128);
  EXPECT_EQ(w.q_scales - w.kv_scales, kv_tiles * 16);
  EXPECT_EQ(w.bytes - w.q_scales, q_tiles * 4);
  EXPECT_EQ(w.kv_scales % 16, 0);
}

using Row = std::vector<float>;

/// As the kernel does it: four lanes and two exchanges. Not divided by sqrt(128).
Row rotated(const Row& row) {
  constexpr Philox::Block kSigns = rotation_signs();
  float x[4][32];
  for (int t = 0; t < 4; ++t) {
    for (int i = 0; i < 32; ++i)
      x[t][i] = with_sign(row[i / 8 * 32 + 8 * t + i % 8], kSigns[i / 8], 8 * t + i % 8);
    rotate_in_lane(x[t]);
  }
  for (int bit = 0; bit < 2; ++bit) {
    const int step = 8 << bit;
    float sent[4][16];
    for (int t = 0; t < 4; ++t)
      for (int i = 0; i < 16; ++i)
        sent[t][i] = exchange_sent(x[t], exchange_index(i, step), step, t >> bit & 1);
    for (int t = 0; t < 4; ++t)
      for (int i = 0; i < 16; ++i)
        exchange_received(x[t], exchange_index(i, step), step, t >> bit & 1, sent[t ^ 1 << bit][i]);
  }
  Row y(128);
  for (int t = 0; t < 4; ++t)
    for (int i = 0; i < 32; ++i) y[32 * t + i] = x[t][i];
  return y;
}

TEST(CudaAttentionFp8, TheRotationIsHadamardsMatrixTimesSigns) {
  constexpr Philox::Block kSigns = rotation_signs();
  int negative = 0;
  for (int e = 0; e < 128; ++e) {
    Row unit(128);
    unit[e] = 1;
    const Row y = rotated(unit);
    const bool minus = kSigns[e / 32] >> e % 32 & 1;
    negative += minus;
    for (int i = 0; i < 128; ++i)
      ASSERT_EQ(y[i], (std::popcount(static_cast<unsigned>(i & e)) % 2 != 0) != minus ? -1 : 1);
  }
  EXPECT_GT(negative, 32);
  EXPECT_LT(negative, 96);
}

// ---- the error, as in table 3 of the paper -----------------------------------------------------

struct Heads {
  std::vector<Row> q, k, v;
};

/// N(0, 1) + N(0, 100) Bernoulli(0.001).
std::vector<Row> with_outliers(int rows, uint32_t stream) {
  RandomSequence random(3, RandomUse::init, stream);
  std::vector<Row> x(rows, Row(128));
  for (Row& row : x)
    for (float& y : row) {
      y = random.normal();
      const float outlier = 10 * random.normal();
      if (random.next() < 4294967u) y += outlier;
      y = to_float(to_bf16(y));
    }
  return x;
}

/// In double but for what `round` does to P, whose largest is 1, and for O, if it is rounded to
/// bf16.
template <class Round>
std::vector<std::vector<double>> attention(const Heads& x, const Round& round,
                                           bool round_o = true) {
  std::vector<std::vector<double>> o;
  for (const Row& q : x.q) {
    std::vector<double> p;
    for (const Row& k : x.k) {
      double s = 0;
      for (int e = 0; e < 128; ++e) s += double{q[e]} * k[e];
      p.push_back(s / std::sqrt(128.0));
    }
    const double m = *std::max_element(p.begin(), p.end());
    double l = 0;
    std::vector<double> y(128);
    for (size_t j = 0; j < p.size(); ++j) {
      const auto e = static_cast<float>(std::exp(p[j] - m));
      l += e;
      const double r = round(e);
      for (int d = 0; d < 128; ++d) y[d] += r * x.v[j][d];
    }
    for (double& d : y) {
      d /= l;
      if (round_o) d = to_float(to_bf16(static_cast<float>(d)));
    }
    o.push_back(y);
  }
  return o;
}

double rms_difference(const std::vector<std::vector<double>>& a,
                      const std::vector<std::vector<double>>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    for (int d = 0; d < 128; ++d) sum += (a[i][d] - b[i][d]) * (a[i][d] - b[i][d]);
  return std::sqrt(sum / (128.0 * static_cast<double>(a.size())));
}

/// What x is after quantisation, in blocks of `rows` rows with a scale each.
std::vector<Row> quantized(const std::vector<Row>& x, size_t rows) {
  std::vector<Row> y;
  for (size_t first = 0; first < x.size(); first += rows) {
    const size_t end = std::min(first + rows, x.size());
    float largest = 0;
    for (size_t i = first; i < end; ++i)
      for (float z : x[i]) largest = std::max(largest, std::fabs(z));
    const float scale = fp8_scale(largest), inverse = 1 / scale;
    for (size_t i = first; i < end; ++i) {
      Row row;
      for (float z : x[i]) row.push_back(scale * from_e4m3(to_e4m3(z * inverse)));
      y.push_back(row);
    }
  }
  return y;
}

Heads in_fp8(const Heads& x, bool blocks, bool rotate) {
  Heads y = x;
  if (rotate)
    for (std::vector<Row>* rows : {&y.q, &y.k})
      for (Row& row : *rows) {
        row = rotated(row);
        for (float& z : row) z *= 1 / std::sqrt(128.0f);
      }
  y.q = quantized(y.q, blocks ? kFp8QueryRows : y.q.size());
  y.k = quantized(y.k, blocks ? 128 : y.k.size());
  y.v = quantized(y.v, blocks ? 128 : y.v.size());
  return y;
}

TEST(CudaAttentionFp8, TheRotationLowersTheError) {
  const Heads x = {with_outliers(256, 1), with_outliers(1024, 2), with_outliers(1024, 3)};
  const auto exact = attention(
      x, [](float p) { return double{p}; }, false);
  // The kernel's P is at most 2^4 times 2^4.75; here the maximum is the row's.
  const auto to_fp8 = [](float p) {
    constexpr float kTop = 26.9f;  // 2^4.75
    return double{from_e4m3(to_e4m3(p * kTop)) / kTop};
  };
  const double bf16_error =
      rms_difference(exact, attention(x, [](float p) { return double{to_float(to_bf16(p))}; }));
  double error[2][2];
  for (bool blocks : {false, true})
    for (bool rotate : {false, true}) {
      error[blocks][rotate] = rms_difference(exact, attention(in_fp8(x, blocks, rotate), to_fp8));
      RecordProperty(std::string(blocks ? "blocks" : "head") + (rotate ? "_rotated" : ""),
                     std::to_string(error[blocks][rotate]));
    }
  RecordProperty("bf16", std::to_string(bf16_error));
  if (std::getenv("STROBE_PRINT_ERRORS") != nullptr)
    std::printf("bf16 %.2e; one scale %.2e, rotated %.2e; blocks %.2e, rotated %.2e\n", bf16_error,
                error[0][0], error[0][1], error[1][0], error[1][1]);
  EXPECT_LT(error[1][1], 0.85 * error[0][0]);
  EXPECT_LT(error[1][1], 0.85 * error[1][0]);
  EXPECT_LT(error[1][1], 1.15 * error[0][1]);
  EXPECT_LT(bf16_error, 0.1 * error[1][1]);
}

// A maximum that lags by 2^4 and is put at 2^4.75 loses nothing at the top of e4m3's range.
TEST(CudaAttentionFp8, PStaysBelowTheLargest) {
  EXPECT_LT(std::exp2(4.75 + 4), double{kFp8Largest});
}

}  // namespace
}  // namespace strobe::cuda
