// A run that is killed at any moment and resumed ends with the same bits.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using reference::slurp;

// Runs strobe, and kills it after `microseconds` unless that is 0. True if it ended by itself with
// exit status 0.
bool run(std::vector<std::string> words, useconds_t microseconds = 0) {
  words.insert(words.begin(), STROBE_BINARY);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    if (!::freopen("/dev/null", "w", stdout)) ::_exit(1);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  if (microseconds > 0) {
    ::usleep(microseconds);
    ::kill(child, SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int lines_of(const std::string& file) {
  const std::string text = slurp(file);
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

TEST(Kill, AtRandomMomentsThenResumingGivesTheSameBits) {
  const reference::TemporaryFolder folder;
  reference::write_tiny_dataset(folder.file("data"));
  std::ofstream(folder.file("recipe.toml"))
      << "[model]\nlayers = 2\nchannels = 64\nheads = 2\ncontext = 64\ndropout = 0.1\n"
         "[train]\nsteps = 120\nmicro_batch = 4\n[eval]\nevery = 10\n[checkpoint]\nevery = 5\nkeep "
         "= 2\n";
  const std::string recipe = folder.file("recipe.toml"), data = "data.path=" + folder.file("data");
  const std::string last = "/checkpoints/step_00000120/";
  const std::string whole = folder.file("whole");
  ASSERT_TRUE(run({"train", recipe, data, "--run", whole}));

  constexpr int kKills = 20;
  RandomSequence random(7, RandomUse::sample, 0);
  int kills = 0;
  for (int round = 0; kills < kKills; ++round) {
    ASSERT_LT(round, 200) << "runs end before they can be killed";
    const std::string killed = folder.file("killed");
    fs::remove_all(killed);
    bool finished = run({"train", recipe, data, "--run", killed},
                        static_cast<useconds_t>(20'000 + random.below(500'000)));
    for (int resumes = 0; !finished; ++resumes) {
      ++kills;
      ASSERT_LT(resumes, 100);
      if (!fs::exists(killed + "/config.toml")) {
        fs::remove_all(killed);  // killed before there was anything to resume
        finished = run({"train", recipe, data, "--run", killed});
        continue;
      }
      const bool again = random.below(3) == 0;
      finished = run({"resume", killed},
                     again ? static_cast<useconds_t>(20'000 + random.below(500'000)) : 0);
      ASSERT_TRUE(again || finished);
    }
    for (const char* file : {"model.safetensors", "optimizer.safetensors"})
      ASSERT_EQ(slurp(killed + last + file), slurp(whole + last + file));
    ASSERT_EQ(lines_of(killed + "/events.jsonl"), lines_of(whole + "/events.jsonl"));
  }
}

TEST(Kill, SigtermSavesAndSaysHowToResume) {
  const reference::TemporaryFolder folder;
  reference::write_tiny_dataset(folder.file("data"));
  std::ofstream(folder.file("recipe.toml"))
      << "[model]\nlayers = 2\nchannels = 64\nheads = 2\ncontext = 64\n"
         "[train]\nsteps = 100000\nmicro_batch = 4\n[checkpoint]\nevery = 0\n";
  const std::string run_folder = folder.file("run");
  const std::string command = fmt::format(
      "timeout --signal=TERM 2 {} train {} data.path={} --run {} > {} 2>&1", STROBE_BINARY,
      folder.file("recipe.toml"), folder.file("data"), run_folder, folder.file("out"));
  ASSERT_NE(std::system(command.c_str()), 0);
  EXPECT_NE(slurp(folder.file("out")).find("strobe resume"), std::string::npos);
  EXPECT_NE(slurp(run_folder + "/result.json").find("stopped"), std::string::npos);
  int checkpoints = 0;
  for (const auto& entry : fs::directory_iterator(run_folder + "/checkpoints"))
    checkpoints += entry.is_directory() && entry.path().filename() != "step_00000000";
  EXPECT_EQ(checkpoints, 1);
}

}  // namespace
}  // namespace strobe
