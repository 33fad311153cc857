// How documents become batches: order, borders, and attention that ends at them.
#include <algorithm>
#include <map>
#include <set>

#include "strobe/core/error.h"
#include "strobe/data/batches.h"
#include "strobe/train/engine.h"
#include "tests/reference/backends.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

constexpr int64_t kTokens = 2017, kDocument = 9, kLength = 24, kSequences = 2;
using reference::TemporaryFolder;

class Packed : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    reference::write_tiny_dataset(folder_.file("data"), kTokens, 333, reference::kTinyText,
                                  kDocument);
    data_ = std::make_unique<Dataset>(Dataset::open(folder_.file("data")));
  }
  TrainBatches batches(Packing packing, uint64_t seed = 1) const {
    return TrainBatches(*data_, seed, kSequences, kLength, packing);
  }
  // The text of an epoch's blocks, in order of their place in the stream: whole batches of it.
  std::vector<std::vector<int32_t>> blocks(const TrainBatches& batches, int64_t epoch) const {
    std::vector<std::vector<int32_t>> out;
    const int64_t count = batches.tokens_per_epoch() / kLength;
    HostBatch batch;
    for (int64_t i = epoch * count; i < (epoch + 1) * count; ++i) {
      batches.fill(batch, i / kSequences);
      const auto at = batch.tokens.begin() + i % kSequences * kLength;
      out.emplace_back(at, at + kLength);
    }
    return out;
  }
  std::vector<int32_t> document(size_t i) const {
    const auto starts = data_->document_starts("train");
    const auto end = i + 1 < starts.size() ? starts[i + 1] : kTokens;
    std::vector<int32_t> out(end - starts[i]);
    data_->read("train", static_cast<int64_t>(starts[i]), static_cast<int64_t>(out.size()),
                out.data());
    return out;
  }

  TemporaryFolder folder_;
  std::unique_ptr<Dataset> data_;
};

TEST_F(Packed, BlocksKeepTheirBordersAndDocumentsDoNot) {
  const auto fixed = batches({}), packed = batches({.shuffle_documents = true});
  const auto set_of = [&](const TrainBatches& b, int64_t epoch) {
    const auto all = blocks(b, epoch);
    return std::set<std::vector<int32_t>>(all.begin(), all.end());
  };
  EXPECT_EQ(set_of(fixed, 0), set_of(fixed, 1));
  EXPECT_NE(blocks(fixed, 0), blocks(fixed, 1)) << "in another order";
  EXPECT_NE(set_of(packed, 0), set_of(packed, 1));
  EXPECT_EQ(fixed.tokens_per_epoch(), packed.tokens_per_epoch());
  EXPECT_NE(blocks(packed, 0), blocks(batches({.shuffle_documents = true}, 2), 0));
}

TEST_F(Packed, AnEpochHasEveryDocumentOnce) {
  const auto packed = batches({.shuffle_documents = true, .mask_documents = true});
  for (const int64_t epoch : {0, 3}) {
    // Whole documents within blocks, cut at borders.
    std::map<std::vector<int32_t>, int> seen, wanted;
    HostBatch batch;
    const int64_t count = packed.tokens_per_epoch() / kLength;
    int64_t tokens = 0;
    for (int64_t i = epoch * count / kSequences; i < (epoch + 1) * count / kSequences; ++i) {
      packed.fill(batch, i);
      ASSERT_EQ(batch.starts.front(), 0);
      ASSERT_EQ(batch.starts.back(), kSequences * kLength);
      for (size_t s = 0; s + 1 < batch.starts.size(); ++s) {
        ASSERT_LT(batch.starts[s], batch.starts[s + 1]);
        ++seen[{batch.tokens.begin() + batch.starts[s],
                batch.tokens.begin() + batch.starts[s + 1]}];
        tokens += batch.starts[s + 1] - batch.starts[s];
      }
      ASSERT_LE(static_cast<int64_t>(batch.starts.size()) - 1, packed.most_sequences(kLength));
    }
    EXPECT_EQ(tokens, count / kSequences * kSequences * kLength);
    int64_t whole = 0;
    const auto documents = static_cast<int64_t>(data_->document_starts("train").size());
    for (int64_t i = 0; i < documents; ++i) whole += seen[document(static_cast<size_t>(i))] > 0;
    // Those that a block's border cuts, or a document of two blocks' length, are not whole.
    EXPECT_GT(whole, documents - 2 * count) << documents << " documents";
    EXPECT_GT(whole, documents / 4);
  }
}

TEST_F(Packed, ABatchIsAFunctionOfItsNumber) {
  const Packing packing = {.shuffle_documents = true, .mask_documents = true};
  const auto one = batches(packing), other = batches(packing);
  HostBatch a, b;
  for (const int64_t i : {90, 3, 41, 0, 200, 41}) {
    one.fill(a, i, 8);
    if (i == 41) batches(packing).fill(b, i, 8);
    other.fill(b, i, 8);
    EXPECT_EQ(a.tokens, b.tokens);
    EXPECT_EQ(a.targets, b.targets);
    EXPECT_EQ(a.starts, b.starts);
  }
}

TEST_F(Packed, TargetsFollowTheirTokens) {
  const auto packed = batches({.shuffle_documents = true});
  HostBatch batch;
  for (int64_t i = 0; i < 80; ++i) {
    packed.fill(batch, i);
    for (int64_t row = 0; row + 1 < kLength; ++row)
      ASSERT_EQ(batch.targets[static_cast<size_t>(row)],
                batch.tokens[static_cast<size_t>(row) + 1]);
  }
}

TEST_F(Packed, SequencesAreCutToTheLongest) {
  HostBatch batch;
  batches({}).fill(batch, 0, 10);
  EXPECT_EQ(batch.starts, (std::vector<int32_t>{0, 10, 20, 24, 34, 44, 48}));
  EXPECT_EQ(batch.longest, 10);
  EXPECT_EQ(batches({}).most_sequences(10), 6);
  batches({}).fill(batch, 0);
  EXPECT_TRUE(batch.starts.empty());
  const auto masked = batches({.mask_documents = true});
  for (int64_t i = 0; i < 40; ++i) {
    masked.fill(batch, i, 6);
    ASSERT_LE(static_cast<int64_t>(batch.starts.size()) - 1, masked.most_sequences(6));
    for (size_t s = 0; s + 1 < batch.starts.size(); ++s)
      ASSERT_LE(batch.starts[s + 1] - batch.starts[s], 6);
  }
  const EvalBatches eval(*data_, "valid", kSequences, kLength, 0, /*mask_documents=*/true);
  for (int64_t i = 0; i < eval.count(); ++i) {
    eval.fill(batch, i);
    ASSERT_LE(static_cast<int64_t>(batch.starts.size()) - 1, eval.most_sequences());
    ASSERT_EQ(batch.starts.back(), kSequences * kLength);
  }
}

Config tiny(const std::string& backend, const char* algorithm, const char* precision) {
  Config config;
  config.backend = backend, config.precision = precision, config.attention.algorithm = algorithm;
  config.model.layers = 2, config.model.channels = 32, config.model.heads = 2;
  config.model.context = kLength, config.optimizer.lr = 1e-2;
  return config;
}

// A sequence that is cut off attends as it would alone.
TEST_P(Packed, AMaskedBatchIsItsSequencesApart) {
  STROBE_NEEDS_BACKEND(GetParam());
  HostBatch batch;
  batches({.mask_documents = true}).fill(batch, 1, 10);
  ASSERT_GT(batch.starts.size(), 6u);
  for (const char* precision : {"f32", "bf16"})
    for (const char* algorithm : {"naive", "flash1", "flash2"}) {
      if (GetParam() == "cuda" && precision == std::string("f32") &&
          algorithm != std::string("naive"))
        continue;  // the GPU's flash kernels take bf16
      SCOPED_TRACE(fmt::format("{} {}", precision, algorithm));
      const Config config = tiny(GetParam(), algorithm, precision);
      Engine whole(
          config, data_->vocab(),
          {.training = true, .sequences = kSequences, .length = kLength, .most_sequences = 15});
      whole.allocate();
      initialise_params(whole.ops(), whole.model(), 1);
      const double together = whole.evaluate(batch);
      double apart = 0;
      for (size_t s = 0; s + 1 < batch.starts.size(); ++s) {
        const int32_t begin = batch.starts[s], end = batch.starts[s + 1];
        Engine part(config, data_->vocab(), {.sequences = 1, .length = end - begin});
        part.allocate();
        initialise_params(part.ops(), part.model(), 1);
        HostBatch piece;
        piece.sequences = 1, piece.length = piece.scored = end - begin;
        piece.tokens.assign(batch.tokens.begin() + begin, batch.tokens.begin() + end);
        piece.targets.assign(batch.targets.begin() + begin, batch.targets.begin() + end);
        apart += part.evaluate(piece);
      }
      const double rounding = precision == std::string("f32") ? 1e-5 : 2e-2;
      EXPECT_NEAR(together, apart, rounding * static_cast<double>(batch.scored));
      HostBatch uncut = batch;
      uncut.starts.clear(), uncut.longest = 0;
      EXPECT_NE(whole.evaluate(uncut), together);
      EXPECT_EQ(whole.evaluate(batch), together) << "layouts may take turns";
    }
}

// Gradients too: steps on a masked batch, by every algorithm.
TEST_P(Packed, AlgorithmsAgreeOnMaskedBatches) {
  STROBE_NEEDS_BACKEND(GetParam());
  HostBatch batch;
  batches({.mask_documents = true}).fill(batch, 1);
  const char* precision = GetParam() == "cuda" ? "bf16" : "f32";
  const auto losses = [&](const char* algorithm) {
    Engine engine(
        tiny(GetParam(), algorithm, precision), data_->vocab(),
        {.training = true, .sequences = kSequences, .length = kLength, .most_sequences = 12});
    engine.allocate();
    initialise_params(engine.ops(), engine.model(), 1);
    engine.start_optimizer();
    std::vector<double> out;
    for (int64_t i = 0; i < 10; ++i) {
      StepInput input;
      input.step = i, input.lr = 1e-2f;
      out.push_back(engine.step(input, {&batch, 1}));
    }
    return out;
  };
  const auto naive = losses("naive");
  EXPECT_LT(naive.back(), naive.front() - 1);
  for (const char* algorithm : {"flash1", "flash2"}) {
    const auto flash = losses(algorithm);
    for (size_t i = 0; i < naive.size(); ++i)
      EXPECT_NEAR(flash[i], naive[i], precision == std::string("f32") ? 1e-3 : 5e-2) << algorithm;
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, Packed, testing::Values("cpu"));
INSTANTIATE_TEST_SUITE_P(Cuda, Packed, testing::Values("cuda"));

}  // namespace
}  // namespace strobe
