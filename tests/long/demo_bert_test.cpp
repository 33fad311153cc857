// The demo of BERT with its own recipe and study file, from texts to report: a tiny BERT in place
// of MiniLM, steps in place of half minutes.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "tests/reference/program_test.h"
#include "tests/reference/text_files.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using reference::replaced;
using reference::sentence;
using reference::slurp;

class DemoBert : public reference::ProgramTest {
 protected:
  void SetUp() override {
    RandomSequence random(1, RandomUse::sample, 1);
    fs::create_directory(at("text"));
    for (const auto& [name, documents] : {std::pair{"train", 60}, {"valid", 8}}) {
      std::ofstream out(at(fmt::format("text/{}.jsonl", name)));
      for (int i = 0; i < documents; ++i)
        out << fmt::format("{{\"text\": \"{}\"}}\n",
                           sentence(random, 4) + " " + sentence(random, 4));
    }
    for (const auto& [name, rows] : {std::pair{"train.tsv", 320}, {"valid.tsv", 50}}) {
      std::ofstream out(at(name));
      out << "first\tsecond\tarticle\n";
      for (int i = 0; i < rows; ++i)
        out << sentence(random, 4) << "\t" << sentence(random, 4) << "\t"
            << (i % 2 ? "same" : "other") << "\n";
    }
    const std::string root = STROBE_SOURCE_DIR;
    std::string recipe = slurp(root + "/recipes/bert-finetune.toml");
    for (const auto& [from, to] : {std::pair{"build/minilm-run", "words"},
                                   {"build/demo-pairs/train.tsv", "train.tsv"},
                                   {"build/demo-pairs/valid.tsv", "valid.tsv"},
                                   {"layers = 6", "layers = 2"},
                                   {"channels = 384", "channels = 32"},
                                   {"heads = 12", "heads = 2"},
                                   {"context = 512", "context = 32"},
                                   {"sequence = 128", "sequence = 32"}})
      recipe = replaced(recipe, from, to);
    std::ofstream(at("recipe.toml")) << recipe;
    std::string study = slurp(root + "/studies/demo-bert.toml");
    study = replaced(study, "recipes/bert-finetune.toml", "recipe.toml");
    study = replaced(study, "train.steps=140", "train.steps=20");
    std::ofstream(at("study.toml")) << study;

    strobe("data prepare --text text --tokenizer train:wordpiece:80 --out data");
    std::ofstream(at("words.toml"))
        << "[data]\npath = \"data\"\n[model]\nkind = \"bert\"\nlayers = 2\nchannels = 32\n"
           "heads = 2\ncontext = 32\n[train]\nsteps = 5\nmicro_batch = 4\n";
    strobe("train words.toml --run words");
  }
};

TEST_F(DemoBert, FromTextsToReport) {
  const std::string shown = strobe("study run study.toml --out out");
  for (const char* part :
       {"run 8 of 8: optimised, seed 4", "validation error", "accuracy", "report: out/report.html"})
    EXPECT_NE(shown.find(part), std::string::npos) << part << " is missing in:\n" << shown;
  const std::string page = slurp(at("out/report.html"));
  EXPECT_NE(page.find("Validation error"), std::string::npos);
  EXPECT_NE(page.find("nats an example"), std::string::npos);
  EXPECT_EQ(page.find("nats a token"), std::string::npos);

  const Json report = Json::parse(strobe("study report out --json"));
  ASSERT_EQ(report["arms"].size(), 2u);
  for (const Json& arm : report["arms"])
    for (const Json& run : arm["runs"]) EXPECT_EQ(run["state"], "finished");
  const Json result = Json::parse(slurp(at("out/runs/optimised-s1/result.json")));
  EXPECT_NEAR(result["val/error"].get<double>(), 1 - result["val/accuracy"].get<double>(), 1e-9);

  const std::string one =
      strobe("predict out/runs/optimised-s1 --text 'rain stone' --pair 'mill river' --json");
  EXPECT_TRUE(Json::parse(one).contains("same")) << one;
  const std::string many = strobe(
      "predict out/runs/optimised-s1 --file valid.tsv --text-column first --pair-column second");
  EXPECT_EQ(std::count(many.begin(), many.end(), '\n'), 50);
  strobe("report out/runs/baseline-s1 out/runs/optimised-s1 --out runs.html");
  EXPECT_NE(slurp(at("runs.html")).find("lowest validation error"), std::string::npos);
}

// Stopped in the middle it goes on; complete, it trains nothing; and where it writes may close.
TEST_F(DemoBert, StopsGoesOnAndSurvivesAClosedPipe) {
  // Job control (set -m), since a shell without it lets its background ignore Ctrl-C.
  shell(fmt::format("bash -c 'set -m; {} study run study.toml --out out > shown & "
                    "until grep -q \"run 2 of 8\" shown; do sleep 0.01; done; "
                    "kill -INT $!; wait $!'",
                    STROBE_BINARY),
        130);
  EXPECT_NE(slurp(at("shown")).find("stopped"), std::string::npos);
  strobe("study run study.toml --out out");
  const Json report = Json::parse(strobe("study report out --json"));
  for (const Json& arm : report["arms"])
    for (const Json& run : arm["runs"]) EXPECT_EQ(run["state"], "finished");
  const std::string again = strobe("study run study.toml --out out");
  EXPECT_EQ(again.find("run 1 of 8"), std::string::npos);
  shell(fmt::format("{} study report out --json | head -c 10", STROBE_BINARY), 0);
}

TEST_F(DemoBert, OutcomesThatRunsLackAreRefused) {
  const std::string study = slurp(at("study.toml"));
  const auto refuses = [&](const std::string& text, const std::string& message) {
    std::ofstream(at("other.toml")) << text;
    expect_refused("study run other.toml --out other", message);
  };
  refuses(replaced(study, "val/error", "val/bits_per_byte"), "labelled texts do not have");
  refuses(replaced(study, "recipe.toml", "words.toml"), "a dataset do not have");
  std::ofstream(at("unseen.toml"))
      << replaced(slurp(at("recipe.toml")), "valid = \"valid.tsv\"", "");
  refuses(replaced(study, "recipe.toml", "unseen.toml"), "neither texts.valid nor texts.hold_out");
}

}  // namespace
}  // namespace strobe
