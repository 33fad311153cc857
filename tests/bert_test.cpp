// BERT against Hugging Face transformers (tools/make_bert_fixture.py), and its invariants. The
// fixture's sequences were padded; here they are packed.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "strobe/core/error.h"
#include "strobe/core/threads.h"
#include "strobe/ops/make_backend.h"
#include "strobe/train/engine.h"
#include "tests/reference/backends.h"
#include "tests/reference/transformers.h"

namespace strobe {
namespace {

using reference::all_values;
using reference::relative_error;

constexpr int64_t kVocab = 61, kLongest = 11, kSequences = 3;

struct Head {
  std::string backend, name, algorithm = "automatic", precision = "f32";
  friend void PrintTo(const Head& head, std::ostream* stream) {
    *stream << head.backend << " " << head.name << " " << head.algorithm << " " << head.precision;
  }
};

class Bert : public testing::TestWithParam<Head> {
 protected:
  Bert()
      : transformers_(STROBE_SOURCE_DIR "/tests/data/bert_tiny.safetensors",
                      GetParam().name + ".") {}
  void SetUp() override { STROBE_NEEDS_BACKEND(GetParam().backend); }

  const std::string& head() const { return GetParam().name; }
  Config config() const {
    Config config;
    config.backend = GetParam().backend, config.precision = GetParam().precision;
    config.attention.algorithm = GetParam().algorithm;
    config.model.kind = "bert", config.model.head = head(), config.model.classes = 3;
    config.model.layers = 2, config.model.channels = 32, config.model.heads = 2;
    config.model.context = 16, config.model.dropout = 0;
    config.optimizer.lr = 3e-3, config.optimizer.weight_decay = 0.1, config.optimizer.clip = 1;
    return config;
  }
  static EngineShape shape(bool predicts = false) {
    return {.training = true,
            .sequences = kSequences,
            .length = kLongest,
            .most_sequences = kSequences + 1,
            .scored_rows = 12,
            .predicts = predicts};
  }

  void load(Engine& engine) const { transformers_.load(engine); }
  /// `filled`: with rows and picks that nothing is made of. `backwards`: the last sequence first.
  HostBatch batch(bool filled = false, bool backwards = false) const {
    const auto ids = [&](const char* name) { return transformers_.common<int32_t>(name); };
    HostBatch out;
    out.sequences = kSequences, out.length = kLongest, out.longest = kLongest;
    out.starts = {0};
    for (int64_t i = 0; i < kSequences; ++i) {
      const int64_t s = backwards ? kSequences - 1 - i : i;
      const auto first = static_cast<int32_t>(out.tokens.size());
      for (int64_t t = 0; t < ids("lengths")[s]; ++t) {
        const int64_t at = s * kLongest + t;
        out.tokens.push_back(ids("tokens")[at]), out.types.push_back(ids("types")[at]);
        if (head() != "lm" || ids("words")[at] < 0) continue;
        out.picks.push_back(first + static_cast<int32_t>(t));
        out.targets.push_back(ids("words")[at]);
      }
      out.starts.push_back(static_cast<int32_t>(out.tokens.size()));
      if (head() == "lm") continue;
      out.picks.push_back(first), out.targets.push_back(ids("classes")[s]);
      out.scores.push_back(transformers_.common<float>("scores")[s]);
    }
    out.scored = static_cast<int64_t>(out.picks.size());
    if (!filled) return out;
    out.tokens.resize(out.tokens.size() + 4, 5);
    out.picks.resize(out.picks.size() + 3, 0), out.targets.resize(out.picks.size(), -1);
    return out;
  }
  static StepState state_at(int64_t step, float lr = 3e-3f) {
    StepState state;
    state.seed = 7, state.step = step, state.lr = lr;
    return state;
  }
  bool exact() const { return GetParam().precision == "f32"; }

  const reference::TransformersModel transformers_;
};

const auto kHeads = testing::Values(
    Head{"cpu", "lm", "naive"}, Head{"cpu", "lm", "flash1"}, Head{"cpu", "lm", "flash2"},
    Head{"cpu", "lm", "automatic", "bf16"}, Head{"cpu", "classification"},
    Head{"cpu", "classification", "automatic", "bf16"}, Head{"cpu", "regression"},
    Head{"cpu", "regression", "automatic", "bf16"});
// The GPU's flash kernels take bf16.
const auto kGpuHeads = testing::Values(
    Head{"cuda", "lm", "naive"}, Head{"cuda", "lm", "naive", "bf16"},
    Head{"cuda", "lm", "flash2", "bf16"}, Head{"cuda", "lm", "automatic", "bf16"},
    Head{"cuda", "classification", "naive"}, Head{"cuda", "classification", "flash2", "bf16"},
    Head{"cuda", "classification", "automatic", "bf16"}, Head{"cuda", "regression", "naive"},
    Head{"cuda", "regression", "flash2", "bf16"}, Head{"cuda", "regression", "automatic", "bf16"});
INSTANTIATE_TEST_SUITE_P(Cpu, Bert, kHeads);
INSTANTIATE_TEST_SUITE_P(Cuda, Bert, kGpuHeads);

TEST_P(Bert, LogitsEqualTransformers) {
  Engine engine(config(), kVocab, shape(/*predicts=*/true));
  engine.allocate();
  load(engine);
  for (const bool filled : {false, true})
    EXPECT_LT(relative_error(engine.predict(batch(filled)), transformers_.floats("logits")),
              exact() ? 1e-5 : 4e-2);
}

TEST_P(Bert, EveryGradientEqualsTransformers) {
  for (const bool filled : {false, true})
    for (const char* recompute : {"none", "gelu", "block"}) {
      Config config = this->config();
      config.optimizer.clip = 0, config.model.recompute = recompute;
      Engine engine(config, kVocab, shape());
      engine.allocate();
      load(engine);
      const HostBatch batch = this->batch(filled);
      const double loss = engine.step(state_at(0, 0), {&batch, 1});
      EXPECT_NEAR(loss, transformers_.floats("losses")[0], exact() ? 1e-5 : 6e-2);
      EXPECT_NEAR(engine.evaluate(batch) / static_cast<double>(batch.scored), loss, 1e-5);
      transformers_.expect_gradients(engine, exact() ? 2e-5 : 8e-2);
    }
}

TEST_P(Bert, TenAdamWLossesEqualTransformers) {
  Engine engine(config(), kVocab, shape());
  engine.allocate();
  load(engine);
  const HostBatch batch = this->batch();
  for (int64_t i = 0; i < 10; ++i)
    EXPECT_NEAR(engine.step(state_at(i), {&batch, 1}),
                transformers_.floats("losses")[static_cast<size_t>(i)], exact() ? 2e-4 : 0.15)
        << "step " << i;
}

// A device that records a step repeats the record for whatever batch has its shape.
TEST_P(Bert, RecordedStepsGiveTheSameBits) {
  Config config = this->config();
  config.model.dropout = 0.1;
  const auto train = [&](bool graphs) {
    Engine engine(config, kVocab, shape(),
                  make_backend(GetParam().backend, BackendOptions{.graphs = graphs}));
    engine.allocate();
    load(engine);
    for (int64_t i = 0; i < 12; ++i) {
      const HostBatch batch = this->batch(/*filled=*/i % 2 == 1, /*backwards=*/i % 3 == 1);
      engine.step(state_at(i), {&batch, 1});
    }
    return all_values(engine);
  };
  const std::vector<float> recorded = train(true), plain = train(false);
  EXPECT_EQ(std::memcmp(recorded.data(), plain.data(), plain.size() * sizeof(float)), 0);
}

TEST_P(Bert, SameSeedSameBitsWhateverTheThreads) {
  Config config = this->config();
  config.model.dropout = 0.1;
  const auto train = [&](int64_t threads) {
    config.threads = threads;
    Engine engine(config, kVocab, shape());
    engine.allocate();
    load(engine);
    const HostBatch batch = this->batch();
    for (int64_t i = 0; i < 4; ++i) engine.step(state_at(i), {&batch, 1});
    return all_values(engine);
  };
  const std::vector<float> one = train(1), two = train(2);
  EXPECT_EQ(std::memcmp(one.data(), two.data(), one.size() * sizeof(float)), 0);
  set_threads(0);
}

TEST_P(Bert, RecomputingBlocksChangesNoBit) {
  const auto train = [&](const std::string& recompute) {
    Config config = this->config();
    config.model.dropout = 0.1, config.model.recompute = recompute;
    Engine engine(config, kVocab, shape());
    engine.allocate();
    load(engine);
    const HostBatch batch = this->batch();
    for (int64_t i = 0; i < 3; ++i) engine.step(state_at(i), {&batch, 1});
    return all_values(engine);
  };
  const std::vector<float> kept = train("none"), again = train("block");
  EXPECT_EQ(std::memcmp(kept.data(), again.data(), kept.size() * sizeof(float)), 0);
}

TEST_P(Bert, RecomputingTakesLessMemory) {
  const auto bytes = [&](const std::string& recompute) {
    Config config = this->config();
    config.model.layers = 8, config.model.recompute = recompute;
    return Engine(config, kVocab, shape()).plan().bytes;
  };
  EXPECT_LT(bytes("gelu"), bytes("none"));
  EXPECT_LT(bytes("block"), bytes("gelu"));
}

TEST(BertModel, AMatrixOptimizerTakesTheEncoderAndNotTheHead) {
  for (const char* head : {"classification", "regression"}) {
    Config config;
    config.model.kind = "bert", config.model.head = head, config.model.classes = 3;
    config.model.layers = 1, config.model.channels = 32, config.model.heads = 2;
    const auto model = make_model(config, kVocab);
    std::map<std::string, int64_t> orthogonal;  // how many maps each holds
    for (const Param* param : params_of(*model))
      if (param->kind == ParamKind::matrix) orthogonal[param->name] = param->maps;
    const std::string layer = "bert.encoder.layer.0.";
    const std::map<std::string, int64_t> wanted = {{layer + "attention.self.c_attn.weight", 3},
                                                   {layer + "attention.output.dense.weight", 1},
                                                   {layer + "intermediate.dense.weight", 1},
                                                   {layer + "output.dense.weight", 1},
                                                   {"bert.pooler.dense.weight", 1}};
    EXPECT_EQ(orthogonal, wanted) << head;
  }
}

TEST(BertModel, ImpossibleShapesAreRefused) {
  const auto refuses = [](const std::function<void(Config&)>& change, const std::string& part) {
    Config config;
    config.backend = "cpu", config.model.kind = "bert";
    config.model.layers = 1, config.model.channels = 32, config.model.heads = 2;
    change(config);
    try {
      Engine engine(config, kVocab, {.training = true, .sequences = 1, .length = 8});
      ADD_FAILURE() << "accepted: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  refuses([](Config& c) { c.model.head = "tail"; }, "model.head");
  refuses([](Config& c) { c.model.head = "none"; }, "no loss");
  refuses([](Config& c) { c.model.head = "classification", c.model.classes = 1; }, "classes");
  refuses([](Config& c) { c.model.kv_heads = 1; }, "kv_heads");
  refuses([](Config& c) { c.model.recompute = "gelu+norm"; }, "model.recompute");
}

}  // namespace
}  // namespace strobe
