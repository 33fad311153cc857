// Attention on the CPU by FlashAttention's rule (reference/attention_trial.h), on every instruction
// set, with any number of threads.
#include <gtest/gtest.h>

#include <cmath>

#include "strobe/core/threads.h"
#include "strobe/cpu/attention.h"
#include "strobe/cpu/isa_select.h"
#include "strobe/ops/make_backend.h"
#include "tests/reference/attention_trial.h"

namespace strobe {
namespace {

using reference::AttentionCase;
using reference::AttentionResult;
using reference::AttentionTrial;
using reference::AttentionValues;
using reference::broken_rule;
using reference::broken_rules;
using reference::Precision;

const std::vector<AttentionAlgorithm> kAll = {AttentionAlgorithm::naive, AttentionAlgorithm::flash1,
                                              AttentionAlgorithm::flash2};

Backend& cpu_backend() {
  static const std::unique_ptr<Backend> backend = make_backend("cpu");
  return *backend;
}

void check_both(AttentionCase c) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    c.dtype = dtype;
    EXPECT_EQ(broken_rules(cpu_backend(), c, kAll), "") << name_of(cpu::isa());
  }
}

TEST(Attention, OddLengths) {
  for (int t : {1, 2, 3, 7, 31, 63, 64, 65, 127, 129, 193, 257})
    for (bool causal : {true, false}) check_both({.queries = {t}, .causal = causal});
}

TEST(Attention, HeadSizes) {
  for (int dim : {1, 7, 40, 80, 128, 256})
    check_both({.queries = {97}, .heads = 1, .kv_heads = 1, .dim = dim});
}

TEST(Attention, FeaturesPairwise) {
  for (bool causal : {true, false})
    for (float dropout : {0.0f, 0.3f}) {
      check_both({.queries = {70, 1, 129}, .dim = 40, .causal = causal, .dropout = dropout});
      check_both({.queries = {100},
                  .heads = 4,
                  .kv_heads = 2,
                  .dim = 32,
                  .causal = causal,
                  .dropout = dropout,
                  .strided = true});
      check_both({.queries = {33, 80},
                  .keys = {130, 17},
                  .heads = 3,
                  .kv_heads = 1,
                  .dim = 24,
                  .causal = causal,
                  .dropout = dropout});
      check_both(
          {.queries = {5}, .keys = {200}, .causal = causal, .dropout = dropout, .strided = true});
    }
}

TEST(Attention, QueriesWithoutKeys) {
  check_both({.queries = {40, 9, 0, 70}, .keys = {10, 0, 5, 70}});
  AttentionTrial trial({.queries = {40, 9}, .keys = {10, 0}});
  for (AttentionAlgorithm algorithm : kAll) {
    const AttentionResult r = trial(cpu_backend(), algorithm);
    for (int64_t i = 0; i < 30; ++i) EXPECT_EQ(r.lse[i], -INFINITY);
    for (int64_t i = 0; i < 30 * 2 * 64; ++i) EXPECT_TRUE(r.o[i] == 0 && r.dq[i] == 0);
    for (int64_t i = 40 * 128; i < 49 * 128; ++i) EXPECT_TRUE(r.o[i] == 0 && r.dq[i] == 0);
  }
}

TEST(Attention, KeysWithoutQueries) {
  AttentionTrial trial({.queries = {0, 0}, .keys = {10, 70}});
  for (AttentionAlgorithm algorithm : kAll) {
    const AttentionResult r = trial(cpu_backend(), algorithm);
    for (float y : r.dk) EXPECT_EQ(y, 0);
    for (float y : r.dv) EXPECT_EQ(y, 0);
  }
}

TEST(Attention, LargeScoresDoNotOverflow) {
  AttentionTrial trial({.queries = {130}});
  for (double& y : trial.values.q) y *= 200;
  const AttentionValues exact = trial.reference(Precision::exact);
  const AttentionValues plain = trial.reference(Precision::f32);
  for (AttentionAlgorithm algorithm : kAll)
    EXPECT_EQ(broken_rule("o", trial(cpu_backend(), algorithm).o, exact.o, plain.o, 3, 0x1p-20),
              "");
}

TEST(Attention, NotANumberStaysOne) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    AttentionTrial trial({.queries = {130}, .heads = 1, .kv_heads = 1, .dtype = dtype});
    trial.values.k[20 * 64 + 3] = NAN;  // key 20
    for (AttentionAlgorithm algorithm : {AttentionAlgorithm::flash1, AttentionAlgorithm::flash2}) {
      const AttentionResult r = trial(cpu_backend(), algorithm);
      for (int i : {20, 63, 64, 129}) EXPECT_TRUE(std::isnan(r.o[i * 64])) << name_of(algorithm);
    }
  }
}

TEST(Attention, SameBitsForAnyNumberOfThreads) {
  for (const AttentionCase& c :
       {AttentionCase{.queries = {300}, .heads = 2, .kv_heads = 1, .dropout = 0.1f},
        AttentionCase{.queries = {150, 90}, .causal = false, .dtype = DType::bf16}})
    for (AttentionAlgorithm algorithm : kAll) {
      AttentionTrial trial(c);
      set_threads(1);
      const AttentionResult one = trial(cpu_backend(), algorithm);
      set_threads(2);
      const AttentionResult two = trial(cpu_backend(), algorithm);
      set_threads(0);
      EXPECT_EQ(one, two) << name_of(algorithm) << " " << name_of(c);
    }
}

TEST(Attention, EveryInstructionSet) {
  const cpu::Isa widest = cpu::isa();
  for (int i = 0; i < static_cast<int>(widest); ++i) {
    cpu::set_isa(static_cast<cpu::Isa>(i));
    check_both({.queries = {129}, .dim = 80, .dropout = 0.2f});
    check_both({.queries = {65, 30},
                .keys = {30, 65},
                .heads = 2,
                .kv_heads = 1,
                .dim = 7,
                .causal = false,
                .strided = true});
  }
  cpu::set_isa(widest);
}

TEST(Attention, MemoryOfTheFlashAlgorithmsIsLinear) {
  const auto bytes = [](AttentionAlgorithm algorithm, int64_t t) {
    const AttentionShape shape{1, t, t, t, t, 2, 2, 64, true};
    return cpu::attention_workspace_bytes(algorithm, shape, DType::f32, true) +
           cpu::attention_saved_bytes(algorithm, shape, DType::f32);
  };
  for (AttentionAlgorithm algorithm : {AttentionAlgorithm::flash1, AttentionAlgorithm::flash2})
    EXPECT_LE(bytes(algorithm, 8192), 2 * bytes(algorithm, 4096));
  EXPECT_GE(bytes(AttentionAlgorithm::naive, 8192), 4 * bytes(AttentionAlgorithm::naive, 4096));
}

TEST(Attention, SaysWhyAnAlgorithmCannotRun) {
  const AttentionShape wide{1, 8, 8, 8, 8, 1, 1, 300, true};
  EXPECT_NE(cpu::attention_unsupported(AttentionAlgorithm::flash2, wide, DType::f32), "");
  EXPECT_NE(cpu::attention_unsupported(AttentionAlgorithm::flash3, wide, DType::f32), "");
  EXPECT_EQ(cpu::attention_unsupported(AttentionAlgorithm::naive, wide, DType::f32), "");
}

}  // namespace
}  // namespace strobe
