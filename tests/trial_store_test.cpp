// The journal of a study: written by several processes, any of which may be killed.
#include "strobe/study/trial_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "strobe/core/error.h"
#include "tests/reference/text_files.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using reference::error_of;

class Store : public testing::Test {
 protected:
  void SetUp() override {
    Parameter lr;
    lr.name = lr.key = "optimizer.lr", lr.low = 1e-4, lr.high = 1, lr.log = true;
    Parameter schedule;
    schedule.name = schedule.key = "schedule.name", schedule.kind = Parameter::Kind::choice;
    schedule.choices = {{"cosine", {}}, {"wsd", {}}};
    trial_ = {{lr, schedule}, {0.01, 1}, {{"phase", "search"}, {"seed", "3"}}, {}};
  }
  TrialStore store(const std::string& worker = "w") { return {file_, "study", worker}; }
  static void begin(TrialStore& store, const NewTrial& trial) {
    store.update([&](const Journal& journal, JournalLines& lines) {
      if (!journal.has_study()) lines.create_study("study", "val/loss");
    });
    store.update([&](const Journal&, JournalLines& lines) { lines.create_trial(trial); });
  }
  std::string text() const {
    std::ostringstream out;
    out << std::ifstream(file_, std::ios::binary).rdbuf();
    return out.str();
  }
  // Every line is a JSON object.
  void expect_whole() const {
    const std::string all = text();
    EXPECT_TRUE(all.empty() || all.back() == '\n');
    std::istringstream lines(all);
    for (std::string line; std::getline(lines, line);)
      EXPECT_TRUE(nlohmann::json::accept(line)) << line;
  }

  NewTrial trial_;
  reference::TemporaryFolder folder_;
  const std::string file_ = folder_.file("journal.log");
};

TEST_F(Store, ReadsWhatItWrote) {
  TrialStore one = store();
  begin(one, trial_);
  one.update([](const Journal& journal, JournalLines& lines) {
    const Trial& trial = journal.trials()[0];
    lines.set_rung(trial, 11, 6.5);
    lines.set_attr(trial, "wall", 12.5);
    lines.set_attr(trial, "reason", "a \"quoted\" word, é");
    lines.set_system_attr(trial, "strobe:worker", "");
    lines.end(trial, TrialState::complete, 5.25);
  });
  TrialStore other = store();
  const std::vector<Trial>& trials = other.refresh().trials();
  ASSERT_EQ(trials.size(), 1u);
  const Trial& trial = trials[0];
  EXPECT_EQ(trial.state, TrialState::complete);
  EXPECT_EQ(trial.value, 5.25);
  EXPECT_EQ(trial.params.at("optimizer.lr"), 0.01);
  EXPECT_EQ(trial.texts.at("schedule.name"), "wsd");
  EXPECT_EQ(trial.rungs.at(11), 6.5);
  EXPECT_EQ(trial.number_attr("wall"), 12.5);
  EXPECT_EQ(trial.attr("reason"), "a \"quoted\" word, é");
  EXPECT_EQ(trial.attr("seed"), "3");
  EXPECT_GE(trial.end, trial.start);
  EXPECT_NEAR(trial.start, static_cast<double>(::time(nullptr)), 100);
}

// What Optuna 5 writes.
TEST_F(Store, ReadsOptunasLines) {
  std::ofstream(file_) << R"({"op_code":0,"worker_id":"a","study_name":"other","directions":[1]}
{"op_code":0,"worker_id":"a","study_name":"study","directions":[1]}
{"op_code":4,"worker_id":"a","study_id":0,"datetime_start":"2026-11-26T16:31:11.328948+00:00"}
{"op_code":4,"worker_id":"a","study_id":1,"datetime_start":"2026-11-26T16:31:11.328948+00:00"}
{"op_code":5,"worker_id":"a","trial_id":1,"param_name":"x","param_value_internal":0.5,"distribution":"{\"name\": \"FloatDistribution\", \"attributes\": {\"step\": null, \"low\": 0.001, \"high\": 1.0, \"log\": true}}"}
{"op_code":7,"worker_id":"a","trial_id":1,"step":3,"intermediate_value":1.5}
{"op_code":8,"worker_id":"a","trial_id":1,"user_attr":{"arm":"q"}}
{"op_code":6,"worker_id":"a","trial_id":1,"state":3,"values":null,"datetime_complete":"2026-11-26T17:31:12.328948+01:00"}
{"op_code":6,"worker_id":"a","trial_id":1,"state":1,"values":[1],"datetime_complete":"2026-11-26T17:31:12.328948+01:00"}
{"op_code":2,"worker_id":"a","study_id":1,"user_attr":{"q":[1,2]}}
)";
  TrialStore one = store();
  const Journal& journal = one.refresh();
  EXPECT_EQ(journal.study(), 1);
  ASSERT_EQ(journal.trials().size(), 1u);
  EXPECT_EQ(journal.trials()[0].state, TrialState::failed) << "what ended stays as it ended";
  EXPECT_EQ(journal.trials()[0].params.at("x"), 0.5);
  EXPECT_NEAR(journal.trials()[0].end - journal.trials()[0].start, 1, 1e-3);
}

TEST_F(Store, ATornLineIsNotReadAndMakesWay) {
  TrialStore one = store();
  begin(one, trial_);
  const std::string whole = text();
  std::ofstream(file_, std::ios::app) << R"({"op_code":6,"worker_id":"w","trial_id":0,"sta)";
  EXPECT_EQ(store().refresh().trials()[0].state, TrialState::running);
  TrialStore other = store();
  other.update([](const Journal& journal, JournalLines& lines) {
    lines.end(journal.trials()[0], TrialState::complete, 1);
  });
  EXPECT_EQ(text().substr(0, whole.size()), whole);
  expect_whole();
  EXPECT_EQ(one.refresh().trials()[0].state, TrialState::complete);
}

TEST_F(Store, ALineThatIsNoneIsNamed) {
  TrialStore one = store();
  begin(one, trial_);
  std::ofstream(file_, std::ios::app) << "what is this\n{\"op_code\":4}\n";
  const std::string said = error_of([&] { store().refresh(); });
  EXPECT_NE(said.find("journal.log:4 is no line of a journal: \"what is this\"; without"),
            std::string::npos)
      << said;
}

TEST_F(Store, ManyProcessesLoseNothing) {
  constexpr int kProcesses = 4, kEach = 40;
  {
    TrialStore one = store();
    begin(one, trial_);
  }
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    children.push_back(::fork());
    if (children.back() != 0) continue;
    TrialStore mine(file_, "study", fmt::format("w{}", p));
    for (int i = 0; i < kEach; ++i)
      mine.update([&](const Journal& journal, JournalLines& lines) {
        NewTrial trial = trial_;
        trial.attrs.emplace_back("name", fmt::format("{}", journal.trials().size()));
        lines.create_trial(trial);
      });
    ::_exit(0);
  }
  for (const pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  TrialStore one = store();
  const std::vector<Trial>& trials = one.refresh().trials();
  ASSERT_EQ(trials.size(), 1u + kProcesses * kEach);
  for (size_t i = 1; i < trials.size(); ++i)
    EXPECT_EQ(trials[i].attr("name"), std::to_string(i)) << "each saw all before it";
  expect_whole();
}

TEST_F(Store, KilledAtAnyWriteItGoesOn) {
  {
    TrialStore one = store();
    begin(one, trial_);
  }
  size_t before = 1;
  for (int round = 0; round < 30; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      TrialStore mine(file_, "study", "killed");
      for (;;)
        mine.update([&](const Journal&, JournalLines& lines) {
          for (int i = 0; i < 20; ++i) lines.create_trial(trial_);
        });
    }
    ::usleep(static_cast<useconds_t>(1000 + 1537 * round % 9000));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    TrialStore mine = store();
    mine.update([&](const Journal&, JournalLines& lines) { lines.create_trial(trial_); });
    const size_t now = mine.journal().trials().size();
    EXPECT_GT(now, before);
    before = now;
    expect_whole();
  }
}

TEST_F(Store, LocksOfTheDeadAndOfOptuna) {
  TrialStore one = store();
  begin(one, trial_);
  // A strobe process that was killed while it wrote.
  fs::create_symlink("./journal.log", file_ + ".lock");
  begin(one, trial_);
  // Optuna at work: waited for.
  fs::create_symlink(file_, file_ + ".lock");
  std::thread optuna([&] {
    ::usleep(300'000);
    fs::remove(file_ + ".lock");
  });
  const auto begun = std::chrono::steady_clock::now();
  begin(one, trial_);
  EXPECT_GE(std::chrono::steady_clock::now() - begun, std::chrono::milliseconds(250));
  optuna.join();
  EXPECT_FALSE(fs::exists(fs::symlink_status(file_ + ".lock")));
  EXPECT_EQ(one.journal().trials().size(), 3u);
}

TEST_F(Store, AFullDiskLeavesTheJournalAsItWas) {
  TrialStore one = store();
  begin(one, trial_);
  const std::string before = text();
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit room{before.size() + 100, before.size() + 100};
    ::setrlimit(RLIMIT_FSIZE, &room);
    TrialStore mine = store();
    const std::string said = error_of([&] {
      mine.update([&](const Journal&, JournalLines& lines) { lines.create_trial(trial_); });
    });
    ::_exit(said.find("the journal is as it was") == std::string::npos ? 1 : 0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(text(), before);
  begin(one, trial_);
  EXPECT_EQ(one.journal().trials().size(), 2u);
}

}  // namespace
}  // namespace strobe
