// Masked words and fine-tuning from text to predictions: a tiny BERT is pre-trained, resumed,
// written for transformers and read back, fine-tuned and read out.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "strobe/data/masked_batches.h"
#include "strobe/data/prepare.h"
#include "strobe/io/safetensors.h"
#include "strobe/train/finetune.h"
#include "strobe/train/interchange.h"
#include "strobe/train/run_data.h"
#include "tests/reference/text_files.h"
#include "tests/reference/training.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using reference::sentence;
using reference::slurp;

class Words : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new reference::TemporaryFolder;
    RandomSequence random(1, RandomUse::sample, 1);
    fs::create_directory(folder_->file("text"));
    for (const auto& [name, documents] : {std::pair{"train", 60}, {"valid", 8}}) {
      std::ofstream out(folder_->file(fmt::format("text/{}.jsonl", name)));
      for (int i = 0; i < documents; ++i)
        out << fmt::format("{{\"text\": \"{}\"}}\n", sentence(random, 10 + i % 37));
    }
    PrepareOptions options;
    options.text.paths = {folder_->file("text")};
    options.tokenizer = "train:wordpiece:80";
    options.out = folder_->file("data");
    prepare(
        options, [](const PrepareProgress&) {}, [] { return false; });
    const auto texts = [&](const char* name, int rows) {
      std::ofstream out(folder_->file(name));
      out << "words\tmore\tkind\tcount\n";
      for (int i = 0; i < rows; ++i) {
        const std::string first = sentence(random, 2 + i % 5), second = sentence(random, 3);
        const bool rain = first.find("rain") != std::string::npos;
        out << fmt::format("{}\t{}\t{}\t{}\n", first, second, rain ? "wet" : "dry", i % 5 + 2);
      }
    };
    texts("train.tsv", 640), texts("valid.tsv", 20);
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string path(const std::string& name) { return folder_->file(name); }
  static Config config(int64_t steps) {
    Config config;
    config.backend = "cpu", config.data.path = path("data");
    config.model.kind = "bert", config.model.layers = 2, config.model.channels = 32;
    config.model.heads = 2, config.model.context = 24, config.model.dropout = 0.1;
    config.train.steps = static_cast<double>(steps), config.train.micro_batch = 4;
    config.train.grad_accum = 2;
    config.eval.every = {3, Length::Unit::steps},
    config.checkpoint.every = {2, Length::Unit::steps};
    config.optimizer.lr = 3e-3;
    return config;
  }
  static TextsConfig texts() {
    TextsConfig texts;
    texts.train = path("train.tsv"), texts.valid = path("valid.tsv");
    texts.text = "words", texts.label = "kind";
    return texts;
  }
  /// Trains to the end, or until `stop_after` steps; resumes if the folder exists.
  static RunState train(const Config& config, const std::string& name, int64_t stop_after = -1) {
    int64_t asked = 0;
    return finetune(config, path(name), [&] { return stop_after >= 0 && asked++ >= stop_after; });
  }
  static std::string weights(const std::string& name, int64_t step) {
    const std::string checkpoint = fmt::format("{}/checkpoints/step_{:08}/", path(name), step);
    return slurp(checkpoint + "model.safetensors") + slurp(checkpoint + "optimizer.safetensors");
  }
  static double number(const std::string& run, const std::string& key) {
    const std::string text = slurp(path(run) + "/result.json");
    const size_t at = text.find("\"" + key + "\": ");
    return at == std::string::npos ? NAN : std::atof(text.c_str() + at + key.size() + 4);
  }

  static reference::TemporaryFolder* folder_;
};
reference::TemporaryFolder* Words::folder_ = nullptr;

TEST_F(Words, AreMaskedAfreshEachEpochAndTheSameEachTime) {
  const Dataset dataset = Dataset::open(path("data"));
  const Tokenizer tokenizer = Tokenizer::load(dataset.tokenizer_file());
  const int32_t cls = tokenizer.special("[CLS]"), sep = tokenizer.special("[SEP]");
  const int32_t mask = tokenizer.special("[MASK]");
  for (const bool documents : {false, true})
    for (const bool whole : {false, true}) {
      const MaskedTrainBatches batches(dataset, tokenizer, {.rate = 0.25, .whole_words = whole}, 5,
                                       4, 24, {.mask_documents = documents});
      int64_t chosen = 0, masked = 0, kept = 0, rows = 0;
      const int64_t per_epoch = batches.tokens_per_epoch() / (4 * 24);
      std::set<std::vector<int32_t>> seen;
      for (int64_t i = 0; i < 2 * per_epoch; ++i) {
        HostBatch a, b;
        batches.fill(a, i, 0), batches.fill(b, i, 0);
        EXPECT_EQ(std::tie(a.tokens, a.picks, a.targets), std::tie(b.tokens, b.picks, b.targets));
        ASSERT_EQ(static_cast<int64_t>(a.picks.size()), batches.scored_rows());
        ASSERT_LE(a.tokens.size(), size_t{4 * 24});
        ASSERT_LE(static_cast<int64_t>(a.starts.size()) - 1, batches.most_sequences(24));
        ASSERT_EQ(a.starts.back(), static_cast<int32_t>(a.tokens.size()));
        // Rows that fill up are a sequence of their own, no longer than others may be.
        EXPECT_TRUE(a.tokens.size() % 24 == 0) << a.tokens.size();
        int64_t filler = 0;
        while (a.tokens[a.tokens.size() - 1 - static_cast<size_t>(filler)] == 0) ++filler;
        EXPECT_EQ(a.filler, filler);
        EXPECT_LT(filler, 24);
        const size_t sequences = a.starts.size() - (filler > 0 ? 2 : 1);
        EXPECT_EQ(a.starts[sequences], static_cast<int64_t>(a.tokens.size()) - filler);
        for (size_t s = 0; s < sequences; ++s) {
          EXPECT_EQ(a.tokens[static_cast<size_t>(a.starts[s])], cls);
          EXPECT_EQ(a.tokens[static_cast<size_t>(a.starts[s + 1]) - 1], sep);
        }
        seen.insert(a.picks);
        rows += static_cast<int64_t>(a.tokens.size()) - filler;
        int64_t targets = 0;
        for (size_t k = 0; k < a.picks.size(); ++k) {
          if (a.targets[k] < 0) continue;
          ++targets;
          const int32_t now = a.tokens[static_cast<size_t>(a.picks[k])];
          masked += now == mask, kept += now == a.targets[k];
          EXPECT_TRUE(a.targets[k] != cls && a.targets[k] != sep);
        }
        EXPECT_EQ(targets, a.scored);
        chosen += targets;
      }
      EXPECT_EQ(static_cast<int64_t>(seen.size()), 2 * per_epoch);
      const auto share = [&](int64_t n) {
        return static_cast<double>(n) / static_cast<double>(chosen);
      };
      EXPECT_NEAR(static_cast<double>(chosen) / static_cast<double>(rows), 0.25, 0.03);
      EXPECT_NEAR(share(masked), 0.8, 0.06);
      EXPECT_NEAR(share(kept), 0.1, 0.05);
    }
}

TEST_F(Words, ARunOfThemLearnsAndResumesToTheBit) {
  for (const bool documents : {false, true}) {
    Config config = this->config(12);
    config.data.mask_documents = documents;
    config.mask.whole_words = documents;
    const std::string name = documents ? "parts" : "whole";
    EXPECT_EQ(train(config, name), RunState::finished);
    for (const int64_t stop : {1, 4, 7}) {
      const std::string stopped = fmt::format("{}-{}", name, stop);
      EXPECT_EQ(train(config, stopped, stop), RunState::stopped);
      EXPECT_EQ(train(config, stopped), RunState::finished);
      EXPECT_EQ(weights(name, 12), weights(stopped, 12)) << stop;
    }
    EXPECT_LT(number(name, "val/loss"), 4.0);
  }
}

TEST_F(Words, FineTuningResumesToTheBitAndIsReadOut) {
  EXPECT_EQ(train(config(60), "words"), RunState::finished);
  const std::vector<std::string> overrides = {"backend=cpu", "train.epochs=10", "optimizer.lr=2e-3",
                                              "train.sequence=16", "checkpoint.every=40 steps"};
  const Config config = finetune_config(path("words"), "kinds", texts(), false, overrides);
  EXPECT_EQ(train(config, "kinds"), RunState::finished);
  EXPECT_EQ(run_config(path("kinds")).texts.classes, "dry|wet");
  EXPECT_GE(number("kinds", "val/accuracy"), 0.9);
  EXPECT_NEAR(number("kinds", "val/error"), 1 - number("kinds", "val/accuracy"), 1e-9);
  // Its tokens are those of the texts, not the room for them.
  const Tokenizer tokenizer = Tokenizer::load(path("kinds") + "/tokenizer.json");
  std::ifstream lines(path("train.tsv"));
  std::string line;
  std::getline(lines, line);
  double tokens = 0;
  while (std::getline(lines, line)) {
    const Example example = {line.substr(0, line.find('\t')), "", 0};
    tokens += static_cast<double>(encode_example(tokenizer, example, false, 16).ids.size());
  }
  EXPECT_EQ(number("kinds", "tokens"), 10 * tokens);
  // So are its operations, of rows that are filled up to some number.
  const Json environment = Json::parse(slurp(path("kinds") + "/environment.json"));
  const auto planned = [&](const char* key) {
    return std::stod(environment.at(key).get<std::string>()) * number("kinds", "steps");
  };
  const double share = 10 * tokens / planned("tokens_per_step");
  EXPECT_LT(share, 0.7);
  EXPECT_GE(number("kinds", "flops"), 0.99 * share * planned("flops_per_step"));
  EXPECT_LE(number("kinds", "flops"), 1.3 * share * planned("flops_per_step"));
  // The best checkpoint's own figure, under its own name.
  const Json best = Json::parse(slurp(path("kinds") + "/checkpoints/best.json"));
  EXPECT_FALSE(best.contains("val/loss")) << best;
  EXPECT_GE(best.at("val/accuracy").get<double>(), number("kinds", "val/accuracy")) << best;
  const Json words_best = Json::parse(slurp(path("words") + "/checkpoints/best.json"));
  EXPECT_TRUE(words_best.contains("val/loss")) << words_best;
  for (const int64_t stop : {2, 100}) {
    const std::string stopped = fmt::format("kinds-{}", stop);
    EXPECT_EQ(train(config, stopped, stop), RunState::stopped);
    EXPECT_EQ(train(config, stopped), RunState::finished);
    EXPECT_EQ(weights("kinds", 200), weights(stopped, 200)) << stop;
    EXPECT_EQ(number(stopped, "tokens"), 10 * tokens) << stop;
    EXPECT_EQ(Json::parse(slurp(path(stopped) + "/checkpoints/best.json")), best) << stop;
  }

  Reader reader(path("kinds"));
  const std::vector<float> wet = reader.read({"the rain", "", 0}, false);
  ASSERT_EQ(wet.size(), 2u);
  EXPECT_NEAR(wet[0] + wet[1], 1, 1e-5);

  Reader words(path("words"));
  const auto filled = words.fill("river [MASK] rain [MASK]", 3);
  ASSERT_EQ(filled.size(), 2u);
  EXPECT_EQ(filled[0].size(), 3u);
  EXPECT_GE(filled[0][0].probability, filled[0][1].probability);
  EXPECT_THROW(words.fill("river", 3), Error);
  EXPECT_THROW(words.read({"river", "", 0}, false), Error);
  Examples rows;
  rows.rows = {{"river", "", 0}}, rows.classes = {"?"};
  EXPECT_THROW(words.predict(rows, nullptr), Error);
}

TEST_F(Words, PairsAndScores) {
  Config words = config(4);
  EXPECT_EQ(train(words, "few"), RunState::finished);
  TextsConfig texts = this->texts();
  texts.pair = "more", texts.label = "count", texts.valid = "", texts.hold_out = 0.2;
  const Config config =
      finetune_config(path("few"), "counts", texts, true,
                      {"backend=cpu", "train.epochs=8", "optimizer.lr=2e-3", "train.sequence=24"});
  EXPECT_EQ(train(config, "counts"), RunState::finished);
  EXPECT_FALSE(std::isnan(number("counts", "val/pearson")));
  EXPECT_FALSE(std::isnan(number("counts", "val/spearman")));
  // With labels that are all alike there is no correlation: no number, and as bad as can be.
  std::ofstream(path("flat.tsv")) << "words\tmore\tcount\nriver\train\t3\nrain\triver\t3\n";
  texts.valid = path("flat.tsv"), texts.hold_out = 0;
  const auto tune = [&](const std::string& name, int64_t stop_after) {
    return train(finetune_config(path("few"), "flat", texts, true,
                                 {"backend=cpu", "train.steps=4", "train.sequence=24"}),
                 name, stop_after);
  };
  EXPECT_EQ(tune("flat", -1), RunState::finished);
  EXPECT_EQ(tune("flat-stopped", 2), RunState::stopped);
  EXPECT_EQ(tune("flat-stopped", -1), RunState::finished);
  for (const std::string run : {"flat", "flat-stopped"}) {
    const Json result = Json::parse(slurp(path(run) + "/result.json"));
    EXPECT_TRUE(result.at("val/pearson").is_null()) << result;
    EXPECT_EQ(result.at("val/error"), 1.0);
    const Json best = Json::parse(slurp(path(run) + "/checkpoints/best.json"));
    EXPECT_GT(best.at("step").get<int64_t>(), 0);
    EXPECT_TRUE(best.at("val/spearman").is_null()) << best;
  }
}

TEST_F(Words, AFineTuningGoesOnWithoutWhatItBeganFrom) {
  EXPECT_EQ(train(config(2), "begun-from"), RunState::finished);
  const Config config = finetune_config(path("begun-from"), "orphan", texts(), false,
                                        {"backend=cpu", "train.epochs=1", "train.sequence=16"});
  EXPECT_EQ(train(config, "whole-orphan"), RunState::finished);
  EXPECT_EQ(train(config, "orphan", 6), RunState::stopped);
  fs::remove_all(path("begun-from"));
  RunFolder run = RunFolder::open(path("orphan"));
  Trainer trainer(run_config(path("orphan")), {}, path("orphan"));
  EXPECT_EQ(trainer.run(run, /*resume=*/true), RunState::finished);
  EXPECT_EQ(weights("orphan", 20), weights("whole-orphan", 20));
}

// Of few texts many evaluations have the same error; the least loss among them is the best.
TEST_F(Words, TheLossTellsEqualErrorsApart) {
  EXPECT_EQ(train(config(2), "before-ties"), RunState::finished);
  const Config config =
      finetune_config(path("before-ties"), "ties", texts(), false,
                      {"backend=cpu", "train.steps=12", "train.sequence=16", "train.patience=20",
                       "optimizer.lr=5e-4", "eval.every=1 steps"});
  EXPECT_EQ(train(config, "ties"), RunState::finished);
  EXPECT_EQ(train(config, "ties-stopped", 7), RunState::stopped);
  EXPECT_EQ(train(config, "ties-stopped"), RunState::finished);
  std::ifstream lines(path("ties") + "/events.jsonl");
  std::tuple<double, double, int64_t> best{2, 0, 0};
  int64_t ties = 0;
  for (std::string line; std::getline(lines, line);) {
    const Json event = Json::parse(line);
    if (!event.contains("val/error")) continue;
    const double error = event["val/error"].get<double>(), loss = event["val/loss"].get<double>();
    ties += error == std::get<0>(best) && loss < std::get<1>(best);
    best = std::min(best, {error, loss, event["step"].get<int64_t>()});
  }
  ASSERT_GT(ties, 0);
  for (const std::string run : {"ties", "ties-stopped"})
    EXPECT_EQ(Json::parse(slurp(path(run) + "/checkpoints/best.json")).at("step"),
              std::get<2>(best))
        << run;
}

// The rate falls where the error does not, whatever the loss does.
TEST_F(Words, APlateauWatchesTheError) {
  EXPECT_EQ(train(config(2), "before-plateau"), RunState::finished);
  // In its first steps the loss falls while the error stays.
  const Config config =
      finetune_config(path("before-plateau"), "plateau", texts(), false,
                      {"backend=cpu", "train.steps=12", "train.sequence=16",
                       "schedule.name=plateau", "schedule.patience=0", "schedule.warmup=0",
                       "schedule.gamma=0.5", "optimizer.lr=5e-4", "eval.every=2 steps"});
  EXPECT_EQ(train(config, "plateau"), RunState::finished);
  std::ifstream lines(path("plateau") + "/events.jsonl");
  std::vector<double> losses, errors, rates;
  for (std::string line; std::getline(lines, line);) {
    const Json event = Json::parse(line);
    if (event.contains("lr")) rates.push_back(event["lr"].get<double>());
    if (!event.contains("val/loss")) continue;
    losses.push_back(event["val/loss"].get<double>());
    errors.push_back(event["val/error"].get<double>());
  }
  const auto factor_by = [&](const std::vector<double>& watched) {
    double factor = 1, best = 1e9;
    for (size_t i = 0; i + 1 < watched.size(); ++i) {
      factor *= watched[i] < best * (1 - 1e-4) ? 1 : 0.5;
      best = std::min(best, watched[i]);
    }
    return factor;
  };
  ASSERT_GT(factor_by(losses), factor_by(errors)) << "the loss falls more often";
  EXPECT_NEAR(rates.back() / rates.front(), factor_by(errors), 1e-6);
}

// What transformers loads of an export is tested by the names; here, that nothing is lost.
TEST_F(Words, ExportsAndImportsAreTheSameTensors) {
  Config words = config(2);
  EXPECT_EQ(train(words, "exported"), RunState::finished);
  const Config config = finetune_config(path("exported"), "tuned", texts(), false,
                                        {"backend=cpu", "train.epochs=1", "train.sequence=16"});
  EXPECT_EQ(train(config, "tuned"), RunState::finished);
  for (const std::string run : {"exported", "tuned"}) {
    export_huggingface({.run = path(run), .out = path(run + "-hf")});
    import_huggingface({.from = path(run + "-hf"), .out = path(run + "-again"), .tokenizer = ""},
                       [](const std::string&) {});
    const Config was = run_config(path(run)), is = run_config(path(run + "-again"));
    EXPECT_EQ(is.model.head, was.model.head);
    EXPECT_EQ(is.model.classes, run == "tuned" ? 2 : was.model.classes);
    EXPECT_EQ(is.texts.classes, run == "tuned" ? "dry|wet" : "");
    export_huggingface({.run = path(run + "-again"), .out = path(run + "-hf2")});
    EXPECT_EQ(slurp(path(run + "-hf") + "/model.safetensors"),
              slurp(path(run + "-hf2") + "/model.safetensors"));
  }
  // Fine-tuning starts from a folder of Hugging Face's as from the run.
  const Config again = finetune_config(path("exported-hf"), "tuned", texts(), false,
                                       {"backend=cpu", "train.epochs=1", "train.sequence=16"});
  EXPECT_EQ(train(again, "tuned-from-hf"), RunState::finished);
  EXPECT_EQ(weights("tuned", 20), weights("tuned-from-hf", 20));
}

// A classifier is its classes' names: in whatever order, they keep their outputs; others are new.
TEST_F(Words, AClassifierGoesOnByTheNamesOfItsClasses) {
  EXPECT_EQ(train(config(2), "before-names"), RunState::finished);
  const auto tune = [&](const std::string& from, const std::string& name, TextsConfig texts,
                        std::vector<std::string> more) {
    const bool regression = texts.label == "count";
    more.insert(more.end(), {"backend=cpu", "precision=f32", "train.sequence=16"});
    const Config config = finetune_config(path(from), name, texts, regression, more);
    std::string notes;
    finetune(
        config, path(name), [] { return false; },
        [&](const std::string& note) { notes += note + "\n"; });
    return notes;
  };
  const auto probabilities = [&](const std::string& run) {
    return Reader(path(run)).read({"the rain", "", 0}, false);
  };
  const std::vector<std::string> still = {"train.steps=1", "optimizer.lr=1e-9"};
  const std::string first =
      tune("before-names", "names", texts(), {"train.epochs=2", "optimizer.lr=2e-3"});
  EXPECT_NE(first.find("640 texts, 20 to evaluate on, 2 classes: dry, wet\n"), std::string::npos);
  EXPECT_NE(first.find("begins anew: " + path("before-names") + " has none"), std::string::npos)
      << first;
  const std::vector<float> was = probabilities("names");
  ASSERT_GT(std::abs(was[0] - was[1]), 0.05f);
  export_huggingface({.run = path("names"), .out = path("names-hf")});
  for (const std::string from : {"names", "names-hf"}) {
    TextsConfig turned = texts();
    turned.classes = "wet|dry";
    const std::string notes = tune(from, "turned-" + from, turned, still);
    EXPECT_NE(notes.find("the classifier of " + path(from) + " goes on: wet, dry"),
              std::string::npos)
        << notes;
    const std::vector<float> now = probabilities("turned-" + from);
    EXPECT_NEAR(now[0], was[1], 1e-4) << from;
    EXPECT_NEAR(now[1], was[0], 1e-4) << from;
  }
  TextsConfig more = texts();
  more.classes = "dry|moist|wet";
  EXPECT_NE(tune("names", "more-names", more, still).find(path("names") + " are dry, wet"),
            std::string::npos);
  TextsConfig counts = texts();
  counts.label = "count";
  EXPECT_NE(tune("names", "counts-of-names", counts, still).find("is for classification"),
            std::string::npos);
  EXPECT_NE(tune("counts-of-names", "counts-again", counts, still).find("the regression of"),
            std::string::npos);

  // Heads of the same names that classify something else.
  const std::string config_json = path("names-hf") + "/config.json";
  const Json good = Json::parse(slurp(config_json));
  const auto import = [&](const char* key, const Json& value) {
    Json changed = good;
    changed[key] = value;
    std::ofstream(config_json) << changed;
    return reference::error_of([&] {
      import_huggingface({.from = path("names-hf"), .out = path("never"), .tokenizer = ""},
                         [](const std::string&) {});
    });
  };
  EXPECT_NE(import("problem_type", "regression").find("the classifier has 2 outputs"),
            std::string::npos);
  EXPECT_NE(import("architectures", {"BertForTokenClassification"})
                .find("\"BertForTokenClassification\"; one of BertForSequenceClassification"),
            std::string::npos);
  EXPECT_NE(tune("names-hf", "names-of-tokens", texts(), still).find("BertForTokenClassification"),
            std::string::npos);
}

// A layer that the weights have and the model lacks is no head that may go.
TEST_F(Words, WeightsWithoutAPlaceAreRefused) {
  EXPECT_EQ(train(config(2), "deep"), RunState::finished);
  export_huggingface({.run = path("deep"), .out = path("deep-hf")});
  for (const std::string from : {"deep", "deep-hf"})
    reference::expect_fails(
        [&] {
          const Config shallow = finetune_config(
              path(from), "shallow", texts(), false,
              {"backend=cpu", "train.steps=1", "train.sequence=16", "model.layers=1"});
          train(shallow, "shallow");
        },
        "encoder.layer.1.");
}

TEST_F(Words, WhatCannotBeIsRefused) {
  const auto refuses = [&](const std::function<void()>& act, const std::string& part) {
    try {
      act();
      ADD_FAILURE() << "accepted: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  const auto with = [&](const std::function<void(Config&)>& change) {
    Config config = this->config(2);
    change(config);
    Trainer trainer(config, {});
  };
  refuses([&] { with([](Config& c) { c.mask.rate = 0; }); }, "mask.rate");
  refuses([&] { with([](Config& c) { c.mask.masked = 0.95; }); }, "at most 1");
  refuses([&] { with([](Config& c) { c.train.sequence = 2; }); }, "no room");
  refuses([&] { with([](Config& c) { c.model.head = "none"; }); }, "no loss");
  for (const char* head : {"classification", "regression"})
    refuses([&] { with([=](Config& c) { c.model.head = head; }); }, "learns labelled texts");
  refuses([&] { with([](Config& c) { c.model.kind = "gpt2", c.model.head = "none"; }); },
          "a gpt2 takes 'lm'");
  refuses([&] { with([](Config& c) { c.sample.tokens = 5; }); }, "does not continue");
  refuses([&] { with([](Config& c) { c.texts.train = "x.tsv"; }); }, "init_from");
  refuses([&] { finetune_config(path("nothing"), "x", texts(), false, {}); }, "no folder");
}

}  // namespace
}  // namespace strobe
