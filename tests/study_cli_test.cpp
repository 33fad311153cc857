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
using Result = reference::ProgramResult;

struct Row {
  const char *arguments, *message;
};

class StudyCommands : public reference::ProgramTest {
 protected:
  void SetUp() override {
    reference::write_tiny_dataset(at("data"));
    std::ofstream(at("tiny.toml")) << R"(data.path = "data"
[model]
layers = 1
channels = 32
heads = 2
context = 24
[train]
steps = 4
micro_batch = 2
[eval]
every = "25 %"
)";
  }
  std::string at(const std::string& name) { return folder_.file(name); }
  Result strobe(const std::string& arguments) {
    return result_of(std::string(STROBE_BINARY) + " " + arguments);
  }
};

TEST_F(StudyCommands, WorkersOfAStudyTakeGpusByTurns) {
  std::ofstream(at("gpus.toml"))
      << "name = \"gpus\"\nbase = \"tiny.toml\"\nseeds = [1, 2]\n"
         "[budget]\ntokens = 200\n[arms]\na = []\nb = [\"model.heads=1\"]\n";
  const Result ran = strobe("study run gpus.toml --out gpus --workers 2 --gpus 3,5 backend=cpu");
  ASSERT_EQ(ran.status, 0) << ran.error;
  for (const char* run : {"a-s1", "a-s2", "b-s1", "b-s2"}) {
    const std::string told = slurp(at(fmt::format("gpus/runs/{}/environment.json", run)));
    EXPECT_TRUE(told.find("\"visible_gpus\": \"3\"") != std::string::npos ||
                told.find("\"visible_gpus\": \"5\"") != std::string::npos)
        << told;
  }
  // Two GPUs are two workers, each with half of the cores; one that is not there is no CPU.
  const Result two = strobe("study run gpus.toml --out two --gpus 3,5 backend=cpu");
  ASSERT_EQ(two.status, 0) << two.error;
  const unsigned half = std::max(1u, std::thread::hardware_concurrency() / 2);
  EXPECT_NE(slurp(at("two/runs/a-s1/config.toml")).find(fmt::format("\nthreads = {}\n", half)),
            std::string::npos);
  const Result none = strobe("study run gpus.toml --out none --gpus 98,99");
  EXPECT_EQ(none.status, 1);
  EXPECT_NE(none.error.find("the arm 'a' cannot run"), std::string::npos) << none.error;
  EXPECT_FALSE(fs::exists(at("none/journal.log")));
  for (const char* gpus : {"'0 1'", "0,,1", ","}) {
    const Result refused = strobe(fmt::format("study run gpus.toml --out refused --gpus {}", gpus));
    EXPECT_EQ(refused.status, 1);
    EXPECT_NE(refused.error.find("numbers with commas between"), std::string::npos)
        << refused.error;
  }
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
  const Result asked = strobe("study ask space.toml < answers.txt");
  EXPECT_EQ(asked.status, 0) << asked.error;
  std::istringstream lines(asked.out);
  int points = 0;
  for (std::string line; std::getline(lines, line); ++points) {
    const auto point = nlohmann::json::parse(line);
    EXPECT_LE(std::abs(point.at("x").get<double>()), 5);
    EXPECT_TRUE(point.at("n").is_number_integer()) << line;
    EXPECT_EQ(point.contains("y"), point.at("c") == "b") << line;
  }
  EXPECT_EQ(points, 20) << "one more than there were answers";
  EXPECT_EQ(strobe("study ask space.toml --seed 3 < answers.txt").out, asked.out);
  EXPECT_NE(strobe("study ask space.toml --seed 4 < answers.txt").out, asked.out);

  std::ofstream(at("grid.toml")) << "[space]\nc = { choice = [\"a\", \"b\"] }\n[sampler]\nname = "
                                    "\"grid\"\n";
  const Result grid = strobe("study ask grid.toml < answers.txt");
  EXPECT_EQ(grid.status, 0);
  EXPECT_EQ(grid.out, "{\"c\": \"a\"}\n{\"c\": \"b\"}\n");

  std::ofstream(at("word.txt")) << "1\nwell\n";
  for (const auto& row : std::initializer_list<Row>{
           {"study ask space.toml < word.txt", "'well' is not a value"},
           {"study ask space.toml --seed -3 < answers.txt", "--seed is -3; it takes 0 or more"},
           {"study ask tiny.toml", "is a key of recipes"},
           {"study ask missing.toml", "missing.toml"},
           {"study ask grid.toml --sead 3", "--sead"}}) {
    const Result refused = strobe(row.arguments);
    EXPECT_EQ(refused.status, 1);
    EXPECT_NE(refused.error.find(row.message), std::string::npos) << refused.error;
  }
  EXPECT_EQ(strobe("study ask space.toml < answers.txt > /dev/full").status, 1);
}

// What judged runs on their way is no part of the recipe that is found.
TEST_F(StudyCommands, TheBestRecipeIsThatOfTheArmAndPointNamed) {
  std::ofstream(at("search.toml"))
      << "name = \"search\"\nbase = \"tiny.toml\"\nseeds = [1]\n[budget]\ntokens = 800\ntrials = "
         "1\n"
         "[arms]\nlion = [\"optimizer.name=lion\"]\nlion-warm = [\"optimizer.name=lion\", "
         "\"schedule.warmup=2\"]\n[space]\n\"optimizer.lr\" = { log = [1e-4, 1e-3] }\n"
         "[pruner]\nname = \"median\"\nrung = \"mid-run\"\nrungs = [0.5]\n";
  ASSERT_EQ(strobe("study run search.toml --out out").status, 0) << slurp(at("errors"));
  EXPECT_NE(slurp(at("out/runs/lion-p0-s1/config.toml")).find("every = \"50 %\""),
            std::string::npos);
  for (const auto& row : std::initializer_list<Row>{{"lion", "The arm 'lion-p0 ("},
                                                    {"lion-warm", "The arm 'lion-warm-p0 ("},
                                                    {"lion-p0", "The arm 'lion-p0 ("}}) {
    const Result best = strobe(fmt::format("study best out --arm {}", row.arguments));
    EXPECT_NE(best.out.find(row.message), std::string::npos) << best.out << best.error;
    EXPECT_NE(best.out.find("every = \"25 %\""), std::string::npos) << best.out;
  }
  EXPECT_NE(strobe("study best out --arm lio").error.find("is called 'lio'"), std::string::npos);
}

}  // namespace
}  // namespace strobe
