// Optuna itself opens the journal of a study: while processes write it, when some were killed, and
// after Optuna has written to it. Skips loudly where Optuna is not installed (tools/setup.sh all).
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "strobe/study/trial_store.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kPython = STROBE_SOURCE_DIR "/build/venv/bin/python";

class Optuna : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system((kPython + " -c 'import optuna' 2> /dev/null").c_str()) != 0)
      GTEST_SKIP() << "NOTHING WAS TESTED: Optuna is not in build/venv; tools/setup.sh all";
    reference::write_tiny_dataset(folder_.file("data"));
    std::ofstream(folder_.file("recipe.toml"))
        << "threads = 1\n[data]\npath = \"" << folder_.file("data")
        << "\"\n[model]\nlayers = 1\nchannels = 32\nheads = 2\ncontext = 24\n"
           "[train]\nsteps = 40\nmicro_batch = 2\n";
    std::ofstream(folder_.file("study.toml"))
        << "name = \"with-optuna\"\nbase = \"" << folder_.file("recipe.toml")
        << "\"\nseeds = [1]\n[budget]\ntrials = 9\n[space]\n"
           "\"optimizer.lr\" = { log = [1e-3, 1e-1] }\n\"model.layers\" = { integer = [1, 3] }\n"
           "\"schedule.name\" = { choice = [\"cosine\", \"wsd\"] }\n"
           "\"schedule.cooldown\" = { float = [10, 60], step = 10, unit = \"%\", when = "
           "\"schedule.name = wsd\" }\n"
           "[pruner]\nname = \"halving\"\nrungs = [0.3]\n[confirm]\nseeds = [101, 102]\n";
  }
  pid_t start(const std::string& workers) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    if (!::freopen("/dev/null", "w", stdout) || !::freopen("/dev/null", "w", stderr)) ::_exit(1);
    ::execl(STROBE_BINARY, STROBE_BINARY, "study", "run", folder_.file("study.toml").c_str(),
            "--out", out_.c_str(), "--workers", workers.c_str(), nullptr);
    ::_exit(127);
  }
  static int wait_for(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  // The trials as Optuna has them.
  std::vector<Json> read(const std::string& options = "") {
    FILE* pipe = popen(fmt::format("{} {}/tools/read_journal.py {} with-optuna {}", kPython,
                                   STROBE_SOURCE_DIR, journal_, options)
                           .c_str(),
                       "r");
    std::string text;
    std::array<char, 4096> buffer;
    while (const size_t n = fread(buffer.data(), 1, buffer.size(), pipe))
      text.append(buffer.data(), n);
    EXPECT_EQ(pclose(pipe), 0);
    std::vector<Json> out;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) out.push_back(Json::parse(line));
    return out;
  }

  reference::TemporaryFolder folder_;
  const std::string out_ = folder_.file("out"), journal_ = out_ + "/journal.log";
};

TEST_F(Optuna, ReadsTheJournalWhileItIsWrittenAndAfterItWroteItself) {
  const pid_t killed = start("2");
  for (int i = 0; i < 400 && !fs::exists(out_ + "/runs"); ++i) ::usleep(25'000);
  ASSERT_TRUE(fs::exists(out_ + "/runs"));
  size_t before = read("--write").size();
  for (int i = 0; i < 3; ++i) {
    const size_t now = read("--write").size();
    EXPECT_GE(now, before);
    before = now;
  }
  ::kill(killed, SIGKILL);
  wait_for(killed);
  read("--write");
  ASSERT_EQ(wait_for(start("2")), 0);

  const std::vector<Json> theirs = read();
  TrialStore store(journal_, "with-optuna", "reader");
  const std::vector<Trial>& ours = store.refresh().trials();
  ASSERT_EQ(theirs.size(), ours.size());
  ASSERT_EQ(ours.size(), 9u + 4u);
  const std::map<std::string, TrialState> states = {{"COMPLETE", TrialState::complete},
                                                    {"PRUNED", TrialState::pruned},
                                                    {"FAIL", TrialState::failed}};
  for (size_t i = 0; i < ours.size(); ++i) {
    SCOPED_TRACE(theirs[i].dump());
    const Trial& trial = ours[i];
    EXPECT_EQ(theirs[i]["trial"], trial.number);
    EXPECT_EQ(states.at(theirs[i]["state"]), trial.state);
    if (trial.state == TrialState::complete) {
      EXPECT_EQ(theirs[i]["value"], trial.value);
    }
    EXPECT_EQ(theirs[i]["attrs"]["phase"], trial.attr("phase"));
    ASSERT_EQ(theirs[i]["params"].size(), trial.params.size());
    for (const auto& [name, value] : trial.params) {
      const Json& param = theirs[i]["params"][name];
      if (param.is_string()) {
        EXPECT_EQ(param, trial.texts.at(name));
      } else {
        EXPECT_EQ(param, value) << name;
      }
    }
    EXPECT_EQ(theirs[i]["rungs"].size(), trial.rungs.size());
    for (const auto& [percent, value] : trial.rungs)
      EXPECT_EQ(theirs[i]["rungs"][fmt::format("{}", percent)], value);
  }
}

}  // namespace
}  // namespace strobe
