// The program when what it runs in goes away: its terminal, who reads what it prints, room to
// write.
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>

#include "tests/reference/program_test.h"

namespace strobe {
namespace {

class Interrupted : public reference::ProgramTest {
 protected:
  void SetUp() override {
    reference::write_tiny_dataset(folder_.file("data"));
    std::ofstream(folder_.file("tiny.toml"))
        << "data.path = \"data\"\nthreads = 1\n"
           "model = { layers = 1, channels = 32, heads = 2, context = 24 }\n"
           "train = { steps = 4, micro_batch = 2, log_every = 1 }\n";
  }
  static std::string train(const std::string& words) {
    return fmt::format("{} train tiny.toml {}", STROBE_BINARY, words);
  }
  static std::string endless(const std::string& run) {
    return train("train.steps=1000000000 --run " + run);
  }
  // $p: what runs in the background.
  inline static const std::string kUntilItTrains =
      "p=$!; while kill -0 $p && ! [ -s run/events.jsonl ]; do sleep 0.05; done; ";
  void expect_saved(const std::string& run) {
    EXPECT_NE(reference::slurp(folder_.file(run + "/result.json")).find("\"state\": \"stopped\""),
              std::string::npos);
    strobe("eval " + run);
  }
};

// Twice: the shell hands the signal on, and the kernel sends it too.
TEST_F(Interrupted, ARunWhoseTerminalIsClosedSaves) {
  shell("{ " + endless("run") + " >log & " + kUntilItTrains +
            "kill -HUP $p; sleep 0.01; kill -HUP $p; wait $p; }",
        130);
  expect_saved("run");
}

// A second Ctrl-C is from who cannot wait.
TEST_F(Interrupted, ASecondSignalEndsARunAtOnce) {
  shell("{ " + endless("run") + " >log & " + kUntilItTrains +
            "while kill -TERM $p; do :; done; wait $p; }",
        128 + SIGTERM);
}

// As nohup wants it.
TEST_F(Interrupted, ARunThatIsToOutliveItsTerminalDoes) {
  shell("{ nohup " + train("train.steps=2000 --run run") + " >log & " + kUntilItTrains +
            "kill -HUP $p || exit 99; wait $p; }",
        0);
  EXPECT_NE(reference::slurp(folder_.file("run/result.json")).find("\"state\": \"finished\""),
            std::string::npos);
}

TEST_F(Interrupted, ARunWhoseReaderHasSeenEnoughSaves) {
  const std::string out =
      shell("{ mkfifo pipe; " + endless("run") + " >pipe & p=$!; head -1 pipe; wait $p; }", 130);
  EXPECT_TRUE(out.starts_with("warning")) << out;
  expect_saved("run");
}

// What is said of the end has nowhere to go.
TEST_F(Interrupted, ARunWithNobodyToReadItsErrorsSavesToo) {
  shell("{ mkfifo pipe; " + endless("run") + " >pipe 2>&1 & p=$!; head -1 pipe; wait $p; }", 130);
  expect_saved("run");
}

TEST_F(Interrupted, WithoutAnyOutputTheStatusStillTells) {
  shell(kStrobe + "list >/dev/full 2>/dev/full", 1);
  shell(kStrobe + "lisst >/dev/full 2>/dev/full", 1);
  shell(kStrobe + "train none.toml >/dev/full 2>/dev/full", 1);
}

TEST_F(Interrupted, AFileThatMayNotGrowIsAnError) {
  const reference::ProgramResult limited = result_of("(ulimit -f 64; " + train("--run run") + ")");
  EXPECT_EQ(limited.status, 1);
  EXPECT_NE(limited.error.find("File too large"), std::string::npos) << limited.error;
  strobe("resume run");
}

}  // namespace
}  // namespace strobe
