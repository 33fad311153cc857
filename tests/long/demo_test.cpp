// The demo from text to report, with its own recipe and study file, at a budget of a second or so.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "tests/reference/program_test.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

using reference::replaced;
using reference::slurp;

// Articles of a small language, in WikiText's form.
std::string articles(int count, uint32_t stream) {
  const char* const words[] = {"the",    "river", "runs",    "past",  "old",   "mill",
                               "and",    "a",     "boat",    "waits", "under", "its",
                               "bridge", "while", "morning", "comes"};
  RandomSequence random(3, RandomUse::sample, stream);
  std::string out;
  for (int article = 0; article < count; ++article) {
    out += fmt::format(" = Article {} = \n\n", article);
    size_t word = 0;
    for (int sentence = 0; sentence < 40; ++sentence) {
      for (int i = 0; i < 12; ++i) {
        // Half of the words follow from the one before.
        word = random.below(2) == 0 ? (word * 5 + 3) % 16 : random.below(16);
        out += fmt::format(" {}", words[word]);
      }
      out += " . \n";
    }
    out += "\n";
  }
  return out;
}

class Demo : public reference::ProgramTest {};

TEST_F(Demo, FromTextToReport) {
  fs::create_directories(at("text"));
  std::ofstream(at("text/train.txt")) << articles(60, 0);
  std::ofstream(at("text/valid.txt")) << articles(6, 1);
  std::ofstream(at("text/test.txt")) << articles(6, 2);
  strobe("data prepare --corpus demo --from text --tokenizer train:300 --out data");

  const std::string root = STROBE_SOURCE_DIR;
  std::string recipe = slurp(root + "/recipes/demo.toml");
  recipe = replaced(recipe, "build/demo-data", "data");
  recipe = replaced(recipe, "context = 2048", "context = 256");
  std::ofstream(at("demo.toml")) << recipe;
  std::string study = slurp(root + "/studies/demo.toml");
  study = replaced(study, "recipes/demo.toml", "demo.toml");
  study = replaced(study, "seconds = 25", "seconds = 1");
  study = replaced(study, "min_tokens = 500000", "min_tokens = 10000");
  study = replaced(study, "seconds = 5", "seconds = 0.5");
  std::ofstream(at("study.toml")) << study;

  strobe("study run study.toml --out planned --plan");
  EXPECT_TRUE(fs::exists(at("planned/plan.json")));
  EXPECT_FALSE(fs::exists(at("planned/runs")));

  const std::string shown = strobe("study run study.toml --out out");
  for (const char* part : {"run 12 of 12: flash2-optimised, seed 3", "naive-baseline", "bigram",
                           "report: out/report.html"})
    EXPECT_NE(shown.find(part), std::string::npos) << part << " is missing in:\n" << shown;
  const std::string page = slurp(at("out/report.html"));
  EXPECT_NE(page.find("</html>"), std::string::npos);

  const Json report = Json::parse(strobe("study report out --json"));
  ASSERT_EQ(report["arms"].size(), 4u);
  for (const Json& arm : report["arms"]) {
    EXPECT_EQ(arm["runs"].size(), 3u);
    for (const Json& run : arm["runs"]) {
      EXPECT_EQ(run["state"], "finished");
      // Below a uniform guess over the vocabulary: it learned something.
      EXPECT_LT(run["value"].get<double>(), std::log(300.0));
    }
  }
  // The two attentions train the same model.
  const Json& equal = report["equal_tokens"];
  ASSERT_TRUE(equal.is_object()) << report.dump(1);
  EXPECT_LT(equal["largest_training_difference"].get<double>(), 0.05) << equal.dump(1);

  const Json trials = Json::parse(strobe("study trials out --json"));
  EXPECT_EQ(trials.size(), 12u);
  EXPECT_NE(strobe("study trials out").find("flash2-optimised"), std::string::npos);

  std::ofstream(at("best.toml")) << strobe("study best out");
  strobe("train best.toml train.steps=2 --run again");
  EXPECT_TRUE(fs::exists(at("again/result.json")));
  EXPECT_FALSE(
      strobe("generate out/runs/flash2-optimised-s1 --prompt the --max-new-tokens 8").empty());

  // Run again: nothing is left to train, and the report says the same.
  const std::string again = strobe("study run study.toml --out out");
  EXPECT_EQ(again.find("run 1 of 12"), std::string::npos);
  EXPECT_EQ(Json::parse(strobe("study report out --json")), report);
}

TEST_F(Demo, StudyVerbsSayWhatIsWrong) {
  for (const char* verb : {"report", "trials", "best"})
    expect_refused(fmt::format("study {} nowhere", verb), "nowhere is not a study folder");
  expect_refused("study run nowhere.toml", "nowhere.toml");
}

}  // namespace
}  // namespace strobe
