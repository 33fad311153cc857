// GPT-2 against Hugging Face transformers (tools/make_gpt2_fixture.py), and its invariants.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "strobe/core/error.h"
#include "strobe/core/threads.h"
#include "strobe/ops/comparing_backend.h"
#include "strobe/ops/make_backend.h"
#include "strobe/train/engine.h"
#include "tests/reference/backends.h"
#include "tests/reference/transformers.h"

namespace strobe {
namespace {

using reference::all_values;
using reference::download;
using reference::relative_error;

constexpr int64_t kVocab = 61, kSequences = 3, kLength = 11;

// What the test at hand runs on.
std::string backend = "cpu";

class Gpt2 : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    STROBE_NEEDS_BACKEND(GetParam());
    backend = GetParam();
  }
};

INSTANTIATE_TEST_SUITE_P(Cpu, Gpt2, testing::Values("cpu"));
INSTANTIATE_TEST_SUITE_P(Cuda, Gpt2, testing::Values("cuda"));

Config tiny_config() {
  Config config;
  config.backend = backend;
  config.model.layers = 2, config.model.channels = 48, config.model.heads = 3;
  config.model.context = 16, config.model.dropout = 0;
  config.precision = "f32";
  config.optimizer.lr = 1e-2, config.optimizer.weight_decay = 0.1, config.optimizer.clip = 1;
  return config;
}

EngineShape tiny_shape(int64_t sequences = kSequences, int64_t micro_batches = 1) {
  return {.training = true,
          .sequences = sequences,
          .length = kLength,
          .decode_capacity = 16,
          .micro_batches = micro_batches};
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class Fixture : public reference::TransformersModel {
 public:
  Fixture() : TransformersModel(STROBE_SOURCE_DIR "/tests/data/gpt2_tiny.safetensors") {}

  HostBatch batch() const {
    HostBatch out;
    out.sequences = kSequences, out.length = kLength, out.scored = kSequences * kLength;
    const auto *tokens = common<int32_t>("tokens"), *targets = common<int32_t>("targets");
    out.tokens.assign(tokens, tokens + out.scored);
    out.targets.assign(targets, targets + out.scored);
    return out;
  }
};

StepState state_at(int64_t step) {
  StepState state;
  state.seed = 7, state.step = step, state.lr = 1e-2f;
  return state;
}

TEST_P(Gpt2, LogitsEqualTransformers) {
  const Fixture fixture;
  Engine engine(tiny_config(), kVocab, tiny_shape());
  engine.allocate();
  fixture.load(engine);
  const HostBatch batch = fixture.batch();
  const auto wanted = [&](int64_t row) {
    return fixture.floats("logits").subspan(static_cast<size_t>(row * kVocab), kVocab);
  };
  std::vector<float> logits;
  for (int64_t s = 0; s < kSequences; ++s) {
    // One token at a time for the first sequence, the whole prompt at once for the others.
    engine.start_decoding();
    const int32_t* tokens = batch.tokens.data() + s * kLength;
    if (s > 0) {
      engine.decode({tokens, static_cast<size_t>(kLength)}, logits);
      EXPECT_LT(relative_error(logits, wanted((s + 1) * kLength - 1)), 1e-5);
      continue;
    }
    for (int64_t t = 0; t < kLength; ++t) {
      engine.decode({tokens + t, 1}, logits);
      ASSERT_EQ(logits.size(), static_cast<size_t>(kVocab));
      EXPECT_LT(relative_error(logits, wanted(t)), 1e-5) << "position " << t;
    }
  }
}

struct AttentionTest {
  std::string backend, algorithm, precision = "f32";

  friend void PrintTo(const AttentionTest& test, std::ostream* stream) {
    *stream << test.algorithm << " on " << test.backend << " in " << test.precision;
  }
};

class Gpt2Attention : public testing::TestWithParam<AttentionTest> {
 protected:
  void SetUp() override {
    STROBE_NEEDS_BACKEND(GetParam().backend);
    backend = GetParam().backend;
  }
};

TEST_P(Gpt2Attention, EveryGradientEqualsTransformers) {
  const Fixture fixture;
  Config config = tiny_config();
  config.attention.algorithm = GetParam().algorithm;
  config.precision = GetParam().precision;
  config.optimizer.clip = 0;
  Engine engine(config, kVocab, tiny_shape());
  engine.allocate();
  fixture.load(engine);
  StepState state = state_at(0);
  state.lr = 0;
  const HostBatch batch = fixture.batch();
  const bool exact = GetParam().precision == "f32";
  const double loss = engine.step(state, {&batch, 1});
  EXPECT_NEAR(loss, fixture.floats("losses")[0], exact ? 1e-5 : 2e-2);
  fixture.expect_gradients(engine, exact ? 2e-5 : 4e-2);
}

INSTANTIATE_TEST_SUITE_P(Cpu, Gpt2Attention,
                         testing::Values(AttentionTest{"cpu", "naive"},
                                         AttentionTest{"cpu", "flash1"},
                                         AttentionTest{"cpu", "flash2"}));
// The GPU's flash kernels take bf16.
INSTANTIATE_TEST_SUITE_P(Cuda, Gpt2Attention,
                         testing::Values(AttentionTest{"cuda", "naive"},
                                         AttentionTest{"cuda", "naive", "bf16"},
                                         AttentionTest{"cuda", "flash1", "bf16"},
                                         AttentionTest{"cuda", "flash2", "bf16"},
                                         AttentionTest{"cuda", "automatic", "bf16"}));

TEST_P(Gpt2, TenAdamWLossesEqualTransformers) {
  const Fixture fixture;
  for (const char* precision : {"f32", "bf16"}) {
    Config config = tiny_config();
    config.precision = precision;
    Engine engine(config, kVocab, tiny_shape());
    engine.allocate();
    fixture.load(engine);
    const HostBatch batch = fixture.batch();
    const double tolerance = precision == std::string("f32") ? 2e-4 : 3e-2;
    for (int64_t i = 0; i < 10; ++i)
      EXPECT_NEAR(engine.step(state_at(i), {&batch, 1}),
                  fixture.floats("losses")[static_cast<size_t>(i)], tolerance)
          << precision << " step " << i;
  }
}

TEST_P(Gpt2, EvaluationEqualsTheTrainingLoss) {
  const Fixture fixture;
  Engine engine(tiny_config(), kVocab, tiny_shape());
  engine.allocate();
  fixture.load(engine);
  const HostBatch batch = fixture.batch();
  EXPECT_NEAR(engine.evaluate(batch) / static_cast<double>(batch.scored),
              fixture.floats("losses")[0], 1e-5);
}

// Final weights after `steps` steps from the fixture's weights.
std::vector<float> train(Config config, const EngineShape& shape,
                         const std::vector<HostBatch>& batches, int64_t steps = 5) {
  Engine engine(config, kVocab, shape);
  engine.allocate();
  Fixture().load(engine);
  for (int64_t i = 0; i < steps; ++i) engine.step(state_at(i), batches);
  return all_values(engine);
}

TEST_P(Gpt2, SameSeedSameBitsWhateverTheThreads) {
  Config config = tiny_config();
  config.model.dropout = 0.1;
  const std::vector<HostBatch> batches = {Fixture().batch()};
  for (const char* precision : {"f32", "bf16"}) {
    config.precision = precision;
    config.threads = 1;
    const std::vector<float> one = train(config, tiny_shape(), batches);
    for (const int64_t threads : {1, 2, 3}) {
      config.threads = threads;
      EXPECT_TRUE(same_bits(one, train(config, tiny_shape(), batches))) << threads;
    }
  }
  set_threads(0);
}

TEST_P(Gpt2, ReplayingEqualsIssuingToTheBit) {
  Config config = tiny_config();
  config.model.dropout = 0.1;
  HostBatch half = Fixture().batch();
  for (const char* optimizer : {"adamw", "muon"}) {
    config.optimizer.name = optimizer;
    config.precision = "bf16";
    const auto run = [&](bool graphs) {
      Engine engine(config, kVocab, tiny_shape(kSequences, 2),
                    make_backend(backend, {.graphs = graphs}));
      engine.allocate();
      Fixture().load(engine);
      double losses = 0;
      for (int64_t i = 0; i < 6; ++i) {
        losses += engine.step(state_at(i), std::vector<HostBatch>{half, half});
        losses += engine.evaluate(half);
      }
      std::vector<float> out = all_values(engine);
      out.push_back(static_cast<float>(losses));
      return out;
    };
    EXPECT_TRUE(same_bits(run(true), run(false))) << optimizer;
  }
}

TEST_P(Gpt2, RecomputingChangesNoBit) {
  Config config = tiny_config();
  config.model.dropout = 0.1;
  const std::vector<HostBatch> batches = {Fixture().batch()};
  for (const char* precision : {"f32", "bf16"}) {
    config.precision = precision;
    config.model.recompute = "none";
    const std::vector<float> kept = train(config, tiny_shape(), batches);
    config.model.recompute = "block";
    EXPECT_TRUE(same_bits(kept, train(config, tiny_shape(), batches))) << precision;
    // On CUDA the product that applies the GELU does so before it rounds; AdamW turns a gradient
    // near zero that changes its sign into a whole step.
    config.model.recompute = "gelu";
    const std::vector<float> gelu = train(config, tiny_shape(), batches);
    config.model.recompute = "gelu+norm";
    EXPECT_TRUE(same_bits(gelu, train(config, tiny_shape(), batches))) << precision;
    if (GetParam() == "cpu") {
      EXPECT_TRUE(same_bits(kept, gelu)) << precision;
    }
    ASSERT_EQ(gelu.size(), kept.size());
    double difference = 0, size = 0;
    for (size_t i = 0; i < kept.size(); ++i)
      difference += std::pow(double{gelu[i]} - kept[i], 2), size += std::pow(double{kept[i]}, 2);
    EXPECT_LT(std::sqrt(difference / size), precision == std::string("f32") ? 1e-3 : 0.05);
  }
}

TEST_P(Gpt2, RecomputingTakesLessMemory) {
  Config config = tiny_config();
  config.model.layers = 8;
  const Engine kept(config, kVocab, tiny_shape());
  config.model.recompute = "gelu";
  const Engine some(config, kVocab, tiny_shape());
  config.model.recompute = "gelu+norm";
  const Engine more(config, kVocab, tiny_shape());
  config.model.recompute = "block";
  const Engine most(config, kVocab, tiny_shape());
  EXPECT_LT(some.plan().bytes, kept.plan().bytes);
  EXPECT_LT(more.plan().bytes, some.plan().bytes);
  EXPECT_LT(most.plan().bytes, more.plan().bytes);
}

TEST_P(Gpt2, AccumulationEqualsOneLargeBatch) {
  const HostBatch whole = Fixture().batch();
  std::vector<HostBatch> parts;
  for (int64_t s = 0; s < kSequences; ++s) {
    HostBatch part;
    part.sequences = 1, part.length = part.scored = kLength;
    part.tokens.assign(whole.tokens.begin() + s * kLength,
                       whole.tokens.begin() + (s + 1) * kLength);
    part.targets.assign(whole.targets.begin() + s * kLength,
                        whole.targets.begin() + (s + 1) * kLength);
    parts.push_back(part);
  }
  const auto gradients = [](const EngineShape& shape, const std::vector<HostBatch>& batches) {
    Engine engine(tiny_config(), kVocab, shape);
    engine.allocate();
    Fixture().load(engine);
    engine.step(state_at(0), batches);
    return all_values(engine, &Param::grad);
  };
  const std::vector<float> large = gradients(tiny_shape(), {whole});
  const std::vector<float> small = gradients(tiny_shape(1, kSequences), parts);
  ASSERT_EQ(large.size(), small.size());
  EXPECT_LT(relative_error(small, large), 1e-5);
}

TEST_P(Gpt2, DropoutKeepsTheMeanLossAndDependsOnTheStep) {
  const Fixture fixture;
  Config config = tiny_config();
  config.model.dropout = 0.2;
  Engine engine(config, kVocab, tiny_shape());
  engine.allocate();
  fixture.load(engine);
  const HostBatch batch = fixture.batch();
  StepState state = state_at(0);
  state.lr = 0;
  const double first = engine.step(state, {&batch, 1});
  EXPECT_EQ(first, engine.step(state, {&batch, 1}));
  state.step = 1;
  EXPECT_NE(first, engine.step(state, {&batch, 1}));
}

TEST_P(Gpt2, ANonFiniteGradientStopsTheUpdate) {
  const Fixture fixture;
  Engine engine(tiny_config(), kVocab, tiny_shape());
  engine.allocate();
  fixture.load(engine);
  const HostBatch batch = fixture.batch();
  Param& bias = *engine.params().back();
  std::vector<float> values = download(engine, bias.value);
  values[0] = NAN;
  engine.ops().upload(bias.value, values.data());
  const std::vector<float> before = all_values(engine);
  engine.step(state_at(0), {&batch, 1});
  EXPECT_NE(engine.ops().step_state().halt, 0);
  EXPECT_TRUE(same_bits(before, all_values(engine)));
}

TEST_P(Gpt2, GroupedHeadsTrain) {
  Config config = tiny_config();
  config.model.heads = 6, config.model.kv_heads = 2;
  Engine engine(config, kVocab, tiny_shape());
  engine.allocate();
  initialise_params(engine.ops(), engine.model(), 3);
  const HostBatch batch = Fixture().batch();
  const double first = engine.step(state_at(0), {&batch, 1});
  double last = first;
  for (int64_t i = 1; i < 20; ++i) last = engine.step(state_at(i), {&batch, 1});
  EXPECT_LT(last, 0.7 * first);
}

// Every op of 50 steps on the CPU and on the backend at hand.
TEST_P(Gpt2, EveryOpOfARunAgreesWithTheCpu) {
  const auto cpu = make_backend("cpu");
  for (const char* precision : {"f32", "bf16"})
    for (const char* algorithm : {"naive", "flash2"}) {
      if (backend != "cpu" && precision == std::string("f32") && algorithm != std::string("naive"))
        continue;  // the GPU's flash kernels take bf16
      const auto other = make_backend(backend);
      auto comparing = std::make_unique<ComparingBackend>(
          *cpu, *other, precision == std::string("f32") ? 1e-4 : 1e-2, 0.25);
      const ComparingBackend& differences = *comparing;
      Config config = tiny_config();
      config.precision = precision;
      config.attention.algorithm = algorithm;
      config.model.dropout = 0.1;
      Engine engine(config, kVocab, tiny_shape(), std::move(comparing));
      engine.allocate();
      Fixture().load(engine);
      const HostBatch batch = Fixture().batch();
      for (int64_t i = 0; i < 50 && differences.first_difference().empty(); ++i)
        engine.step(state_at(i), {&batch, 1});
      EXPECT_EQ(differences.first_difference(), "") << precision << " " << algorithm;
      EXPECT_GT(differences.largest_differences().size(), 8u);
      // Attention's gradients are differences of larger numbers; all else keeps to its rounding.
      for (const auto& [op, share] : differences.largest_differences())
        EXPECT_LT(share, op == "attention_backward" ? 0.25 : 0x1p-5) << op;
    }
}

// Without dropout, so that only rounding separates them.
TEST_P(Gpt2, FiftyStepsStayWithinRoundingOfTheCpu) {
  const Fixture fixture;
  const HostBatch batch = fixture.batch();
  for (const char* precision : {"f32", "bf16"}) {
    const auto losses = [&](const std::string& name) {
      Config config = tiny_config();
      config.backend = name, config.precision = precision;
      config.attention.algorithm = precision == std::string("f32") ? "naive" : "flash2";
      Engine engine(config, kVocab, tiny_shape());
      engine.allocate();
      fixture.load(engine);
      std::vector<double> out;
      for (int64_t i = 0; i < 50; ++i) {
        StepState state = state_at(i);
        state.lr = 1e-3f;
        out.push_back(engine.step(state, {&batch, 1}));
      }
      return out;
    };
    const std::vector<double> want = losses("cpu"), got = losses(backend);
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(got[i], want[i], precision == std::string("f32") ? 1e-4 : 2e-2)
          << precision << " step " << i;
  }
}

TEST_P(Gpt2, ImpossibleShapesAreRefused) {
  const auto refuses = [](const std::function<void(Config&)>& change, const std::string& part) {
    Config config = tiny_config();
    change(config);
    try {
      Engine engine(config, kVocab, tiny_shape());
      ADD_FAILURE() << "accepted: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  refuses([](Config& c) { c.model.heads = 5; }, "divisible by heads");
  refuses([](Config& c) { c.model.layers = 0; }, "model.layers");
  refuses([](Config& c) { c.model.dropout = 1; }, "model.dropout");
  refuses([](Config& c) { c.model.kv_heads = 2; }, "divisible by kv_heads");
  refuses([](Config& c) { c.model.channels = 900, c.model.heads = 3; }, "head size");
  refuses([](Config& c) { c.model.kind = "gpt5"; }, "model.kind");
  refuses([](Config& c) { c.model.recompute = "all"; }, "model.recompute");
  refuses([](Config& c) { c.attention.algorithm = "flash9"; }, "flash9");
  refuses([](Config& c) { c.attention.algorithm = "flash3"; }, "flash3");
  refuses([](Config& c) { c.precision = "fp16"; }, "precision");
  refuses([](Config& c) { c.backend = "tpu"; }, "tpu");
  refuses([](Config& c) { c.optimizer.name = "adamm"; }, "adamw");
}

}  // namespace
}  // namespace strobe
