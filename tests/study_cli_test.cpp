// Verbs of studies as a user meets them: GPUs and workers, points that are asked for, the best
// recipe.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "strobe/core/error.h"
#include "tests/reference/program_test.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using reference::slurp;

struct Row {
  const char *arguments, *message;
};

class StudyCommands : public reference::ProgramTest {
 protected:
  void SetUp() override {
    reference::write_tiny_dataset(at("data"));
    std::ofstream(at("tiny.toml")) << reference::kTinyRecipe << "[eval]\nevery = \"25 %\"\n";
  }
};

TEST_F(StudyCommands, WorkersOfAStudyTakeGpusByTurns) {
  std::ofstream(at("gpus.toml"))
      << "name = \"gpus\"\nbase = \"tiny.toml\"\nseeds = [1, 2]\n"
         "[budget]\ntokens = 200\n[arms]\na = []\nb = [\"model.heads=1\"]\n";
  strobe("study run gpus.toml --out gpus --workers 2 --gpus 3,5 backend=cpu");
  for (const char* run : {"a-s1", "a-s2", "b-s1", "b-s2"}) {
    const std::string told = slurp(at(fmt::format("gpus/runs/{}/environment.json", run)));
    EXPECT_TRUE(told.find("\"visible_gpus\": \"3\"") != std::string::npos ||
                told.find("\"visible_gpus\": \"5\"") != std::string::npos)
        << told;
  }
  // Two GPUs are two workers, each with half of the cores; one that is not there is no CPU.
  strobe("study run gpus.toml --out two --gpus 3,5 backend=cpu");
  const unsigned half = std::max(1u, std::thread::hardware_concurrency() / 2);
  EXPECT_NE(slurp(at("two/runs/a-s1/config.toml")).find(fmt::format("\nthreads = {}\n", half)),
            std::string::npos);
  expect_refused("study run gpus.toml --out none --gpus 98,99", "the arm 'a' cannot run");
  EXPECT_FALSE(fs::exists(at("none/journal.log")));
  for (const char* gpus : {"'0 1'", "0,,1", ","})
    expect_refused(fmt::format("study run gpus.toml --out refused --gpus {}", gpus),
                   "numbers with commas between");
  EXPECT_FALSE(fs::exists(at("refused")));
}

TEST_F(StudyCommands, AsksForPointsAndHearsWhatTheyGave) {
  std::ofstream(at("space.toml"))
      << "[space]\nx = { float = [-5, 5] }\nn = { integer = [1, 9] }\n"
         "c = { choice = [\"a\", \"b\"] }\ny = { log = [1e-3, 1], when = "
         "\"c = b\" }\n[sampler]\nseed = 3\n";
  std::string answers;
  for (int i = 0; i < 19; ++i)
    answers += i % 5 == 0 ? "failed\n" : i % 5 == 1 ? " 2.5 \r\n" : fmt::format("{}\n", i);
  std::ofstream(at("answers.txt")) << answers;
  const std::string asked = strobe("study ask space.toml < answers.txt");
  std::istringstream lines(asked);
  int points = 0;
  for (std::string line; std::getline(lines, line); ++points) {
    const auto point = nlohmann::json::parse(line);
    EXPECT_LE(std::abs(point.at("x").get<double>()), 5);
    EXPECT_TRUE(point.at("n").is_number_integer()) << line;
    EXPECT_EQ(point.contains("y"), point.at("c") == "b") << line;
  }
  EXPECT_EQ(points, 20) << "one more than there were answers";
  EXPECT_EQ(strobe("study ask space.toml --seed 3 < answers.txt"), asked);
  EXPECT_NE(strobe("study ask space.toml --seed 4 < answers.txt"), asked);

  std::ofstream(at("grid.toml")) << "[space]\nc = { choice = [\"a\", \"b\"] }\n[sampler]\nname = "
                                    "\"grid\"\n";
  EXPECT_EQ(strobe("study ask grid.toml < answers.txt"), "{\"c\": \"a\"}\n{\"c\": \"b\"}\n");

  std::ofstream(at("word.txt")) << "1\nwell\n";
  for (const auto& row : std::initializer_list<Row>{
           {"study ask space.toml < word.txt", "'well' is not a value"},
           {"study ask space.toml --seed -3 < answers.txt", "--seed is -3; it takes 0 or more"},
           {"study ask tiny.toml", "is a key of recipes"},
           {"study ask missing.toml", "missing.toml"},
           {"study ask grid.toml --sead 3", "--sead"}})
    expect_refused(row.arguments, row.message);
  strobe("study ask space.toml < answers.txt > /dev/full", 1);
}

// What judged runs on their way is no part of the recipe that is found.
TEST_F(StudyCommands, TheBestRecipeIsThatOfTheArmAndPointNamed) {
  std::ofstream(at("search.toml"))
      << "name = \"search\"\nbase = \"tiny.toml\"\nseeds = [1]\n[budget]\ntokens = 800\ntrials = "
         "1\n"
         "[arms]\nlion = [\"optimizer.name=lion\"]\nlion-warm = [\"optimizer.name=lion\", "
         "\"schedule.warmup=2\"]\n[space]\n\"optimizer.lr\" = { log = [1e-4, 1e-3] }\n"
         "[pruner]\nname = \"median\"\nrung = \"mid-run\"\nrungs = [0.5]\n";
  strobe("study run search.toml --out out");
  EXPECT_NE(slurp(at("out/runs/lion-p0-s1/config.toml")).find("every = \"50 %\""),
            std::string::npos);
  for (const auto& row : std::initializer_list<Row>{{"lion", "The arm 'lion-p0 ("},
                                                    {"lion-warm", "The arm 'lion-warm-p0 ("},
                                                    {"lion-p0", "The arm 'lion-p0 ("}}) {
    const std::string best = strobe(fmt::format("study best out --arm {}", row.arguments));
    EXPECT_NE(best.find(row.message), std::string::npos) << best;
    EXPECT_NE(best.find("every = \"25 %\""), std::string::npos) << best;
  }
  expect_refused("study best out --arm lio", "is called 'lio'");
}

}  // namespace
}  // namespace strobe
