// Studies, with a script in place of the program that trains.
#include "strobe/study/study.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "strobe/core/error.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

std::string slurp(const std::string& file) {
  std::ostringstream out;
  out << std::ifstream(file, std::ios::binary).rdbuf();
  return out.str();
}

class Study : public testing::Test {
 protected:
  void SetUp() override {
    reference::write_tiny_dataset(folder_.file("data"));
    std::ofstream(folder_.file("base.toml"))
        << "[data]\npath = \"" << folder_.file("data") << "\"\n[train]\nsteps = 5\n";
    // Logs its arguments; trains by writing a result; fails for seed 13.
    write_program(R"(#!/bin/bash
echo "$@" >> @log
case "$1" in
  bench) echo '{"step_ms": 100, "tokens_per_second": 1000}'; exit 0 ;;
  resume) run=$2 ;;
  *) while [ $# -gt 0 ]; do [ "$1" = --run ] && run=$2; [ "$1" = seed=13 ] && exit 3; shift; done ;;
esac
mkdir -p $run/checkpoints
echo '{"state": "finished", "val/loss": 1.5}' > $run/result.json
)");
  }
  void write_program(std::string text) {
    for (size_t at; (at = text.find("@log")) != std::string::npos;)
      text.replace(at, 4, folder_.file("log"));
    std::ofstream(folder_.file("program")) << text;
    ::chmod(folder_.file("program").c_str(), 0755);
  }
  StudyFile read(const std::string& body, const std::string& head = "") {
    std::ofstream(folder_.file("study.toml"))
        << "name = \"test\"\nbase = \"" << folder_.file("base.toml") << "\"\n"
        << head << body;
    return read_study(folder_.file("study.toml"));
  }
  bool run(const StudyFile& study, std::function<bool()> stop = {}) {
    return run_study(study, folder_.file("out"), {folder_.file("program"), std::move(stop), false});
  }
  // Which runs were started, in order: "<arm>-s<seed>".
  std::vector<std::string> started() const {
    std::vector<std::string> out;
    std::ifstream log(folder_.file("log"));
    for (std::string line; std::getline(log, line);)
      if (const size_t at = line.find("out/runs/"); at != std::string::npos)
        out.push_back(line.substr(at + 9, line.find(' ', at) - at - 9));
    return out;
  }
  void expect_error(const std::string& body, const std::string& part) {
    try {
      read(body);
      ADD_FAILURE() << "accepted, should say: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }

  const std::string kFactorial =
      "seeds = [1, 2]\n[factors.attention]\nnaive = [\"attention.algorithm=naive\"]\n"
      "flash2 = [\"attention.algorithm=flash2\"]\n[factors.recipe]\nbaseline = "
      "[\"optimizer.lr=1e-3\"]\n"
      "optimised = [\"optimizer.lr=2e-3\"]\n";
  reference::TemporaryFolder folder_;
};

TEST_F(Study, RunsTheProductOfFactorsInterleavedBySeed) {
  ASSERT_TRUE(run(read(kFactorial)));
  EXPECT_EQ(started(), (std::vector<std::string>{"naive-baseline-s1", "naive-optimised-s1",
                                                 "flash2-baseline-s1", "flash2-optimised-s1",
                                                 "naive-baseline-s2", "naive-optimised-s2",
                                                 "flash2-baseline-s2", "flash2-optimised-s2"}));
  const std::string described = slurp(folder_.file("out/study.json"));
  EXPECT_NE(described.find("unigram_nats"), std::string::npos);
  EXPECT_NE(slurp(folder_.file("log")).find("optimizer.lr=2e-3 seed=2"), std::string::npos);
}

TEST_F(Study, SkipsWhatIsFinishedAndResumesWhatIsNot) {
  const StudyFile study = read("seeds = [1]\n[arms]\na = []\nb = []\nc = []\n");
  fs::create_directories(folder_.file("out/runs/a-s1"));
  std::ofstream(folder_.file("out/runs/a-s1/result.json")) << R"({"state": "finished"})";
  fs::create_directories(folder_.file("out/runs/b-s1/checkpoints/step_00000001"));
  std::ofstream(folder_.file("out/runs/b-s1/result.json")) << R"({"state": "stopped"})";
  ASSERT_TRUE(run(study));
  const std::string log = slurp(folder_.file("log"));
  EXPECT_EQ(log.find("a-s1"), std::string::npos);
  EXPECT_NE(log.find("resume " + folder_.file("out/runs/b-s1")), std::string::npos);
  EXPECT_EQ(log.find("resume " + folder_.file("out/runs/c-s1")), std::string::npos);
}

TEST_F(Study, GoesOnAfterARunThatFails) {
  ASSERT_TRUE(run(read("seeds = [13, 2]\n[arms]\na = []\n")));
  EXPECT_EQ(started().size(), 2u);
  EXPECT_EQ(run_state(folder_.file("out/runs/a-s13")), "");
  EXPECT_EQ(run_state(folder_.file("out/runs/a-s2")), "finished");
}

TEST_F(Study, SecondsBecomeStepsOnce) {
  const std::string body = "seeds = [1]\n[budget]\nseconds = 3\n[arms]\na = []\n";
  ASSERT_TRUE(run(read(body)));
  EXPECT_NE(slurp(folder_.file("log")).find("train.steps=30"), std::string::npos);
  fs::remove_all(folder_.file("out/runs"));
  fs::remove(folder_.file("log"));
  ASSERT_TRUE(run(read(body)));
  EXPECT_EQ(slurp(folder_.file("log")).find("bench"), std::string::npos) << "timed again";
}

TEST_F(Study, LengthensUntilArmsSeeEnoughTokens) {
  ASSERT_TRUE(
      run(read("seeds = [1]\n[budget]\nseconds = 3\nmin_tokens = 9000\nmin_tokens_arms = "
               "\"a\"\n[arms]\na = []\nb = []\n")));
  const std::string log = slurp(folder_.file("log"));
  EXPECT_NE(log.find("train.steps=90"), std::string::npos);
  EXPECT_EQ(log.find("train.steps=30"), std::string::npos) << "all arms get the same time";
}

TEST_F(Study, ComparesAtEqualTokens) {
  ASSERT_TRUE(run(read(
      "[budget]\nseconds = 3\n[equal_tokens]\nfactor = \"attention\"\nseconds = 2\n", kFactorial)));
  const std::string log = slurp(folder_.file("log"));
  for (const char* level : {"naive", "flash2"}) {
    const size_t at = log.find(folder_.file("out/equal-tokens/") + level);
    ASSERT_NE(at, std::string::npos) << level;
    EXPECT_NE(
        log.substr(at, log.find('\n', at) - at).find("optimizer.lr=1e-3 train.steps=20 seed=1"),
        std::string::npos)
        << "the other factors stay at their first level";
  }
}

TEST_F(Study, StopsBetweenRuns) {
  int asked = 0;
  EXPECT_FALSE(run(read("seeds = [1, 2, 3]\n[arms]\na = []\n"), [&] { return ++asked > 1; }));
  EXPECT_LT(started().size(), 3u);
  ASSERT_TRUE(run(read("seeds = [1, 2, 3]\n[arms]\na = []\n")));
}

TEST_F(Study, AFolderHoldsOneStudy) {
  ASSERT_TRUE(run(read("seeds = [1]\n[arms]\na = []\n")));
  EXPECT_THROW(run(read("seeds = [2]\n[arms]\na = []\n")), Error);
}

TEST_F(Study, RefusesWhatIsNotAStudy) {
  expect_error("[arms]\na = []\n", "no 'seeds'");
  expect_error("seeds = [1]\n", "no arms");
  expect_error("seeds = [1, 1]\n[arms]\na = []\n", "seed twice");
  expect_error("seeds = [0.5]\n[arms]\n\"a/b\" = []\n", "not a name");
  expect_error("seed = [1]\n[arms]\na = []\n", "did you mean 'seeds'");
  expect_error("seeds = [1]\n[arms]\na = [\"optimizer.lrr=1\"]\n", "did you mean 'optimizer.lr'");
  expect_error("seeds = [1]\n[arms]\na = [\"optimizer.lr=fast\"]\n", "not a number");
  expect_error("seeds = [1]\n[budget]\nseconds = -1\n[arms]\na = []\n", "above 0");
  expect_error("seeds = [1]\n[arms]\na = []\n[equal_tokens]\nfactor = \"x\"\n", "no factor 'x'");
  expect_error("seeds = [1\n", "study.toml:");
  EXPECT_THROW(read_study(folder_.file("missing.toml")), Error);
}

TEST_F(Study, ABudgetOfLessThanAStepIsRefused) {
  write_program("#!/bin/bash\necho '{\"step_ms\": 100000, \"tokens_per_second\": 1000}'\n");
  EXPECT_THROW(run(read("seeds = [1]\n[budget]\nseconds = 1\n[arms]\na = []\n")), Error);
}

TEST_F(Study, EveryFileOfTheProjectIsWhole) {
  const std::string root = STROBE_SOURCE_DIR;
  const fs::path here = fs::current_path();
  fs::current_path(root);
  for (const auto& entry : fs::directory_iterator(root + "/studies"))
    EXPECT_FALSE(read_study(entry.path()).arms.empty()) << entry.path();
  fs::current_path(here);
}

}  // namespace
}  // namespace strobe
