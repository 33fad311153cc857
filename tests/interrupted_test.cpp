// The program when what it runs in goes away: its terminal, who reads what it prints, room to
// write.
#include <gtest/gtest.h>

#include <filesystem>
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
  void expect_saved(const std::string& run) {
    EXPECT_NE(reference::slurp(folder_.file(run + "/result.json")).find("\"state\": \"stopped\""),
              std::string::npos);
    strobe("eval " + run);
  }
};

TEST_F(Interrupted, ARunWhoseTerminalIsClosedSaves) {
  shell("{ " + endless("run") +
            " >log & p=$!; while kill -0 $p && ! [ -s run/events.jsonl ]; do sleep 0.05; done; "
            "kill -HUP $p; wait $p; }",
        130);
  expect_saved("run");
}

// As nohup wants it.
TEST_F(Interrupted, ARunThatIsToOutliveItsTerminalDoes) {
  shell("{ nohup " + train("train.steps=300 --run run") +
            " >log & p=$!; while kill -0 $p && ! [ -s run/events.jsonl ]; do sleep 0.05; done; "
            "kill -HUP $p; wait $p; }",
        0);
}

TEST_F(Interrupted, ARunWhoseReaderHasSeenEnoughSaves) {
  const std::string out =
      shell("{ mkfifo pipe; " + endless("run") + " >pipe & p=$!; head -1 pipe; wait $p; }", 130);
  EXPECT_TRUE(out.starts_with("warning")) << out;
  expect_saved("run");
}

TEST_F(Interrupted, AFileThatMayNotGrowIsAnError) {
  const reference::ProgramResult limited = result_of("(ulimit -f 64; " + train("--run run") + ")");
  EXPECT_EQ(limited.status, 1);
  EXPECT_NE(limited.error.find("File too large"), std::string::npos) << limited.error;
  strobe("resume run");
}

}  // namespace
}  // namespace strobe
