#include <gtest/gtest.h>

#include "strobe/core/arena.h"
#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "strobe/core/tensor.h"
#include "strobe/core/threads.h"

namespace strobe {
namespace {

// The known-answer tests published with the generator (Random123, kat_vectors).
TEST(Philox, MatchesPublishedVectors) {
  EXPECT_EQ(Philox::block({0, 0, 0, 0}, 0, 0),
            (Philox::Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox::block({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffff, 0xffffffff),
            (Philox::Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox::block({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (Philox::Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
  EXPECT_EQ(Philox::block<7>({0, 0, 0, 0}, 0, 0),
            (Philox::Block{0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48}));
  EXPECT_EQ(
      Philox::block<7>({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
      (Philox::Block{0x4dfccaba, 0x190a87f0, 0xc47362ba, 0xb6b5242a}));
}

TEST(Nearest, IsOneSlipAwayElseBegunElseNear) {
  const std::vector<std::string> names = {"rain", "training", "train", "train.seed", "seed"};
  const auto near = [&](const char* word) { return nearest(word, names.data(), names.size()); };
  EXPECT_EQ(near("trai"), "train") << "both";
  EXPECT_EQ(near("tra"), "train") << "the shortest that it begins";
  EXPECT_EQ(near("traim"), "train");
  EXPECT_EQ(near("see"), "seed");
  EXPECT_EQ(near("sedd"), "seed");
  EXPECT_EQ(near("window"), "");
  const std::vector<std::string> slip = {"seeding", "set"};
  EXPECT_EQ(nearest("see", slip.data(), slip.size()), "set") << "one letter";
}

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(to_bf16(1.0f).bits, 0x3f80);
  EXPECT_EQ(to_bf16(1.00390625f).bits, 0x3f80);  // halfway, to even
  EXPECT_EQ(to_bf16(1.01171875f).bits, 0x3f82);  // halfway, to even
  EXPECT_TRUE(std::isnan(to_float(to_bf16(NAN))));
  EXPECT_TRUE(std::isinf(to_float(to_bf16(3.4e38f))));
}

TEST(Arena, MeasuresWhatARealOneUses) {
  Arena measuring;
  const int64_t mark = measuring.mark();
  measuring.allocate("a", DType::f32, {100});
  measuring.rewind(mark);
  measuring.allocate("b", DType::bf16, {1000});
  EXPECT_EQ(measuring.peak(), 2048);
  ASSERT_EQ(measuring.at_peak().size(), 1u);
  EXPECT_EQ(measuring.at_peak()[0].what, "b");

  alignas(256) static char memory[2048];
  Arena real(memory, sizeof memory);
  real.allocate("b", DType::bf16, {1000});
  EXPECT_THROW(real.allocate("c", DType::f32, {1}), Error);
}

TEST(Tensor, ViewsShareMemory) {
  float data[24] = {};
  Tensor t(data, DType::f32, {4, 6});
  Tensor heads = t.narrow(1, 2, 4).split(1, 2);
  EXPECT_EQ(heads.rank, 3);
  EXPECT_EQ(heads.dim(1), 2);
  EXPECT_EQ(heads.strides[0], 6);
  EXPECT_EQ(heads.as<float>(), data + 2);
  EXPECT_FALSE(heads.contiguous());
  EXPECT_THROW(heads.reshape({16}), std::logic_error);
}

TEST(Threads, RethrowWhatATaskThrows) {
  EXPECT_THROW(parallel_for(8,
                            [](int64_t i) {
                              if (i == 5) fail("task: {}", i);
                            }),
               Error);
}

}  // namespace
}  // namespace strobe
