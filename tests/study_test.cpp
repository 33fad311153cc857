// Studies, with a script in place of the program that trains.
#include "strobe/study/study.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/core/files.h"
#include "strobe/report/study_report.h"
#include "strobe/study/plan.h"
#include "strobe/study/study_folder.h"
#include "tests/reference/study_program.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using reference::expect_fails;
using reference::slurp;

// Logs its arguments. Takes a tenth of a second for a step of 100 tokens. Trains by writing a
// result: fails for seed 13 until the file "mended" is there, diverges for seed 14, and for seed 15
// trains until it is asked to stop, saves for half a second under the run's lock, and stops.
constexpr const char* kProgram = R"(#!/bin/bash
echo "$@" >> @log
case "$1" in
  bench) echo '{"step_ms": 100, "tokens_per_second": 1000}'; exit 0 ;;
  resume) run=$2 ;;
  *)
    recipe=$2
    while [ $# -gt 0 ]; do
      case "$1" in --run) run=$2 ;; seed=*) seed=${1#seed=} ;; --dry-run) exit 0 ;; esac
      shift
    done ;;
esac
[ "$seed" != 13 ] || [ -f @mended ] || exit 3
mkdir -p $run/checkpoints
[ -z "$recipe" ] || cp $recipe $run/config.toml
finish() { echo "{\"state\": \"$1\", \"val/loss\": 1.5}" > $run/result.json; exit $2; }
case "$seed" in
  14) finish diverged 1 ;;
  15)
    exec 9> $run/lock; flock 9
    trap 'sleep 0.5; finish stopped 130' TERM
    touch $run/checkpoints/step_1 @waiting
    while true; do sleep 0.02; done ;;
esac
finish finished 0
)";

class Study : public reference::StudyTest {
 protected:
  Study() : StudyTest("steps = 5") { write_program(kProgram); }

  void write_program(const std::string& text) {
    StudyTest::write_program(
        text, {{"mended", folder_.file("mended")}, {"waiting", folder_.file("waiting")}});
  }
  void expect_all_finish(const StudyFile& study) {
    const StudyOutcome outcome = run(study);
    EXPECT_FALSE(outcome.stopped);
    EXPECT_EQ(outcome.failed, 0);
    EXPECT_EQ(outcome.finished, static_cast<int>(study.arms.size() * study.seeds.size()));
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
  std::string state(const std::string& run) const { return run_state(out_ + "/runs/" + run); }

  const std::string kOneArm = "[arms]\na = []\n";
  const std::string kFactorial =
      "seeds = [1, 2]\n[factors.attention]\nnaive = [\"attention.algorithm=naive\"]\n"
      "flash2 = [\"attention.algorithm=flash2\"]\n[factors.recipe]\nbaseline = "
      "[\"optimizer.lr=1e-3\"]\n"
      "optimised = [\"optimizer.lr=2e-3\"]\n";
};

TEST_F(Study, RunsTheProductOfFactorsInterleavedBySeed) {
  expect_all_finish(read(kFactorial));
  EXPECT_EQ(started(), (std::vector<std::string>{"naive-baseline-s1", "naive-optimised-s1",
                                                 "flash2-baseline-s1", "flash2-optimised-s1",
                                                 "naive-baseline-s2", "naive-optimised-s2",
                                                 "flash2-baseline-s2", "flash2-optimised-s2"}));
  EXPECT_NE(slurp(out_ + "/study.json").find("unigram_nats"), std::string::npos);
  EXPECT_NE(log().find("optimizer.lr=2e-3 seed=2"), std::string::npos);
}

TEST_F(Study, SkipsWhatIsFinishedAndResumesWhatIsNot) {
  const StudyFile study =
      read("seeds = [1]\n[arms]\na = []\nb = [\"optimizer.lr=2\"]\nc = [\"optimizer.lr=3\"]\n");
  ASSERT_TRUE(run(study, [] { return true; }).stopped);
  fs::create_directories(out_ + "/runs/a-s1");
  std::ofstream(out_ + "/runs/a-s1/result.json") << R"({"state": "finished", "val/loss": 2})";
  fs::create_directories(out_ + "/runs/b-s1/checkpoints/step_00000001");
  std::ofstream(out_ + "/runs/b-s1/result.json") << R"({"state": "stopped"})";
  expect_all_finish(study);
  EXPECT_EQ(log().find("a-s1"), std::string::npos);
  EXPECT_NE(log().find("resume " + out_ + "/runs/b-s1"), std::string::npos);
  EXPECT_EQ(log().find("resume " + out_ + "/runs/c-s1"), std::string::npos);
}

TEST_F(Study, RecordsARunThatFailsGoesOnAndTriesItAgain) {
  const StudyFile study = read("seeds = [13, 14, 2]\n[arms]\na = []\n");
  const StudyOutcome outcome = run(study);
  EXPECT_EQ(outcome.finished, 1);
  EXPECT_EQ(outcome.failed, 2);
  EXPECT_EQ(state("a-s13"), "failed");
  EXPECT_EQ(state("a-s14"), "diverged");
  EXPECT_EQ(state("a-s2"), "finished");
  const StudyResult found = analyse_study(out_);
  EXPECT_EQ(found.arms[0].runs[0].state, "failed");
  EXPECT_EQ(found.arms[0].loss.n, 1);

  std::ofstream(folder_.file("mended")) << "\n";
  EXPECT_EQ(run(study).finished, 2);
  EXPECT_EQ(state("a-s13"), "finished");
  EXPECT_EQ(started(), (std::vector<std::string>{"a-s13", "a-s14", "a-s2", "a-s13"}));
}

TEST_F(Study, ABudgetOfTokensNeedsNoTiming) {
  expect_all_finish(read("seeds = [1]\n[budget]\ntokens = 900000\n" + kOneArm));
  EXPECT_NE(log().find("train.tokens=900000"), std::string::npos);
  EXPECT_EQ(log().find("bench"), std::string::npos);
}

TEST_F(Study, SecondsBecomeStepsOnce) {
  const StudyFile study = read("seeds = [1]\n[budget]\nseconds = 3\n" + kOneArm);
  expect_all_finish(study);
  EXPECT_NE(log().find("train.steps=30"), std::string::npos);
  fs::remove_all(out_ + "/runs");
  fs::remove(out_ + "/journal.log");
  fs::remove(folder_.file("log"));
  expect_all_finish(study);
  EXPECT_NE(log().find("train.steps=30"), std::string::npos);
  EXPECT_EQ(log().find("bench"), std::string::npos) << "timed again";

  for (const char* damaged : {"{", "{}", R"({"seconds": "3", "arms": {"a": {}}})"}) {
    std::ofstream(out_ + "/plan.json") << damaged;
    expect_fails([&] { run(study); }, "plan.json");
  }
}

TEST_F(Study, SecondsBecomeTokensWhereTheBatchVaries) {
  // 30 steps at the peak take three seconds; most steps of the warm-up take less.
  expect_all_finish(
      read("seeds = [1]\n[budget]\nseconds = 3\n[arms]\n"
           "a = [\"train.grad_accum=4\", \"schedule.batch=constant(warmup=50 %)\"]\n"));
  const ArmPlan plan =
      read_plan(read("seeds = [1]\n[budget]\nseconds = 3\n" + kOneArm), out_ + "/plan.json")
          .arms.at("a");
  EXPECT_FALSE(plan.even);
  EXPECT_EQ(plan.steps, 30);
  EXPECT_NE(log().find(fmt::format("train.tokens={:.0f}", plan.tokens())), std::string::npos)
      << log();
  EXPECT_EQ(log().find("train.steps="), std::string::npos) << log();
}

TEST_F(Study, TimingGoesOnUntilTwoRoundsAgree) {
  const StudyFile study =
      read("seeds = [1]\n[budget]\nseconds = 3\n[arms]\na = []\nb = [\"optimizer.lr=2\"]\n");
  std::vector<std::string> order;
  const StudyPlan plan = make_plan(study, [&](const StudyArm& arm) {
    order.push_back(arm.name);
    return ArmPlan{0, order.size() > 4 ? 1000.0 : 100.0 * static_cast<double>(order.size()), 100};
  });
  EXPECT_EQ(plan.arms.at("a").steps, 30);
  EXPECT_EQ(plan.arms.at("b").steps, 30);
  EXPECT_EQ(order.size(), 8u) << "one good round is not believed, and two are enough";
  EXPECT_FALSE(plan.disturbed);
  EXPECT_EQ((std::vector<std::string>{"a", "b", "a", "b"}),
            (std::vector<std::string>(order.begin(), order.begin() + 4)));

  double rate = 0;
  EXPECT_TRUE(make_plan(study, [&](const StudyArm&) {
                return ArmPlan{0, rate += 500, 100};
              }).disturbed);
}

TEST_F(Study, LengthensUntilArmsSeeEnoughTokens) {
  const StudyFile study = read(
      "seeds = [1]\n[budget]\nseconds = 3\nmin_tokens = 9000\nmin_tokens_arms = \"a\"\n"
      "[arms]\na = []\nb = [\"optimizer.lr=2\"]\n");
  const StudyPlan plan = make_plan(study, [](const StudyArm& arm) {
    return ArmPlan{0, arm.name == "a" ? 1000.0 : 500.0, 100};
  });
  EXPECT_EQ(plan.arms.at("a").steps, 90);
  EXPECT_EQ(plan.arms.at("b").steps, 45) << "all arms get the same time";
  EXPECT_EQ(plan.seconds, 9);
}

TEST_F(Study, ComparesAtEqualTokens) {
  expect_all_finish(read(
      kFactorial + "[budget]\nseconds = 3\n[equal_tokens]\nfactor = \"attention\"\nseconds = 2\n"));
  const std::string all = log();
  for (const char* level : {"naive", "flash2"}) {
    const size_t at = all.find(out_ + "/equal-tokens/" + level);
    ASSERT_NE(at, std::string::npos) << level;
    EXPECT_NE(
        all.substr(at, all.find('\n', at) - at).find("optimizer.lr=1e-3 train.steps=20 seed=1"),
        std::string::npos)
        << "the other factors stay at their first level";
  }
  EXPECT_NE(slurp(out_ + "/study.json").find("\"equal_tokens\""), std::string::npos);
}

TEST_F(Study, StopsTheRunItIsInAndContinuesWithIt) {
  const StudyFile study = read("seeds = [1, 15, 2]\n" + kOneArm);
  EXPECT_TRUE(run(study, [&] { return fs::exists(folder_.file("waiting")); }).stopped);
  EXPECT_EQ(started(), (std::vector<std::string>{"a-s1", "a-s15"}));
  EXPECT_EQ(state("a-s15"), "stopped") << "it may save before it ends";
  EXPECT_NO_THROW(analyse_study(out_)) << "a part of a study can be looked at";
  expect_all_finish(study);
  EXPECT_NE(log().find("resume " + out_ + "/runs/a-s15"), std::string::npos);
}

TEST_F(Study, KilledAtOnceItContinuesWhereItWas) {
  const StudyFile study = read("seeds = [1, 15, 2]\n" + kOneArm);
  const pid_t killed = ::fork();
  if (killed == 0) {
    if (!::freopen("/dev/null", "w", stdout)) ::_exit(1);
    run(study);
    ::_exit(0);
  }
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!fs::exists(folder_.file("waiting")) && std::chrono::steady_clock::now() < patience)
    ::usleep(10'000);
  ::kill(killed, SIGKILL);
  ::waitpid(killed, nullptr, 0);
  ASSERT_TRUE(fs::exists(folder_.file("waiting")));
  // Its run is still saving and holds its lock: it is waited for, not lost.
  expect_all_finish(study);
  EXPECT_EQ(started(), (std::vector<std::string>{"a-s1", "a-s15", "a-s15", "a-s2"}));
  EXPECT_NE(log().find("resume " + out_ + "/runs/a-s15"), std::string::npos);
}

TEST_F(Study, TheCommandLineWinsOverTheFile) {
  read("seeds = [1]\n" + kOneArm);  // writes it
  const std::string file = folder_.file("study.toml");
  const StudyFile study =
      read_study(file, {"seeds=[3, 4]", "budget.tokens=700", "question=Is it so?"});
  EXPECT_EQ(study.seeds, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(study.tokens, 700);
  EXPECT_EQ(study.question, "Is it so?");
  expect_all_finish(study);
  expect_fails(
      [&] { run(read_study(file)); },
      "it began with 'budget.tokens=700' 'question=Is it so?' 'seeds=[3, 4]' on the command "
      "line, not nothing");
  EXPECT_EQ(
      run(read_study(file, {"question=Is it so?", "budget.tokens=700", "seeds=[3, 4]"})).finished,
      2)
      << "in whatever order";
  fs::remove_all(out_);
  const std::vector<std::string> broken = {"seeds=[3,\n4]", "question=Is it\nso?"};
  EXPECT_EQ(run(read_study(file, broken)).finished, 2);
  EXPECT_EQ(run(read_study(file, broken)).finished, 2) << "goes on";
  expect_fails(
      [&] {
        run(read_study(file, {broken[0], "question=Is it\nnot?"}));
      },
      "holds another study");
  expect_fails([&] { read_study(file, {"budget.tokens"}); }, "is not an override");
  expect_fails([&] { read_study(file, {"budget.tokns=3"}); }, "(command line)");
  expect_fails([&] { read_study(file, {"seeds=1\nname=x"}); }, "study:");
}

TEST_F(Study, KeysOfTheRecipeOnTheCommandLineHoldForEveryArm) {
  read("seeds = [1]\noverrides = [\"train.micro_batch=3\"]\n" + kOneArm);
  const std::string file = folder_.file("study.toml");
  const StudyFile study = read_study(file, {"model.dropout=0.25"});
  expect_all_finish(study);
  const Config base = load_config(out_ + "/base.toml", {}).config;
  EXPECT_EQ(base.model.dropout, 0.25);
  EXPECT_EQ(base.train.micro_batch, 3);
  expect_fails([&] { run(read_study(file)); }, "holds another study");
  expect_fails([&] { read_study(file, {"model.dropout=much"}); }, "model.dropout");
  expect_fails([&] { read_study(file, {"model.dropout=[0, 1]"}); }, "not a list");
  expect_fails([&] { read_study(file, {"model.dropuot=0"}); }, "unknown key");
  expect_fails([&] { read_study(file, {"seeds=1,2"}); }, "several are 'seeds=[1, 2]'");
}

TEST_F(Study, ATextIsCountedOnce) {
  const StudyFile study = read("seeds = [1]\n" + kOneArm);
  expect_all_finish(study);
  const std::string file = out_ + "/study.json";
  nlohmann::json described = nlohmann::json::parse(slurp(file));
  ASSERT_TRUE(described["text"].contains("unigram_nats"));
  described["text"]["unigram_nats"] = 1.25;
  std::ofstream(file) << described.dump();
  run(study);
  EXPECT_EQ(nlohmann::json::parse(slurp(file))["text"]["unigram_nats"], 1.25) << "not again";
  described["text"]["data"] = "0123456789abcdef";
  std::ofstream(file) << described.dump();
  run(study);
  EXPECT_NE(nlohmann::json::parse(slurp(file))["text"]["unigram_nats"], 1.25) << "another text";
}

TEST_F(Study, AFolderHoldsOneStudy) {
  const StudyFile study = read("seeds = [1]\n" + kOneArm);
  expect_all_finish(study);
  expect_fails([&] { run(read("seeds = [2]\n" + kOneArm)); }, "holds another study");
  std::ofstream(folder_.file("base.toml"), std::ios::app) << "# by hand\n";
  EXPECT_EQ(run(read("# what it gave\nseeds = [1]  # one\n\n" + kOneArm)).finished, 1)
      << "a comment is no other study";
  std::ofstream(folder_.file("base.toml"), std::ios::app) << "micro_batch = 4\n";
  expect_fails([&] { run(study); }, "its base.toml differs");
  fs::create_directories(folder_.file("begun"));  // by a process that was killed at once
  std::ofstream(folder_.file("begun/study.toml.77.tmp")) << "name = ";
  std::ofstream(folder_.file("begun/lock"));
  EXPECT_EQ(run_study(study, folder_.file("begun"), {folder_.file("program"), {}}).finished, 1);
  fs::create_directories(folder_.file("mine"));
  std::ofstream(folder_.file("mine/thesis.txt")) << "dear\n";
  expect_fails(
      [&] {
        run_study(study, folder_.file("mine"), {folder_.file("program"), {}});
      },
      "is no study");
  expect_fails(
      [&] {
        run_study(study, folder_.file("base.toml"), {folder_.file("program"), {}});
      },
      "is no study");
}

TEST_F(Study, AnArmThatCannotRunIsFoundBeforeTheFirstRun) {
  write_program("#!/bin/bash\necho \"$@\" >> @log\n[[ \"$*\" != *lr=9* ]]\n");
  const StudyFile study = read("seeds = [1]\n[arms]\na = []\nb = [\"optimizer.lr=9\"]\n");
  expect_fails([&] { run(study); }, "the arm 'b' cannot run");
  EXPECT_TRUE(started().empty());
  expect_fails(
      [&] {
        run_study(study, folder_.file("other"), {"/no/such/program", {}});
      },
      "cannot start /no/such/program");
}

TEST_F(Study, RefusesWhatIsNotAStudy) {
  expect_refused(kOneArm, "no 'seeds'");
  expect_refused("seeds = [1]\n", "no arms");
  expect_refused("seeds = [1, 1]\n" + kOneArm, "seed twice");
  expect_refused("seeds = [0.5]\n" + kOneArm, "takes integers from 0 to 9e15, not '0.5'");
  expect_refused("seeds = [-1]\n" + kOneArm, "takes integers from 0 to 9e15, not '-1'");
  expect_refused("seeds = [9223372036854775807]\n" + kOneArm, "takes integers from 0 to 9e15, not");
  expect_refused("seeds = [1]\n[arms]\n" + std::string(300, 'x') + " = []\n",
                 "has 300 characters; 100 at most");
  expect_refused("seeds = [1]\n[arms]\n\"a/b\" = []\n", "not a name");
  expect_refused("seeds = [1]\n[factors.f]\n\"..\" = []\n", "not a name");
  expect_refused("seeds = [1]\n" + kOneArm + "[compare]\na = \"c\"\n", "'c', which is no arm");
  expect_refused("seed = [1]\n" + kOneArm, "did you mean 'seeds'");
  expect_refused("seeds = [1]\n[arms]\na = [\"optimizer.lrr=1\"]\n", "did you mean 'optimizer.lr'");
  expect_refused("seeds = [1]\n[arms]\na = [\"optimizer.lr=fast\"]\n", "not a number");
  expect_refused("seeds = [1]\n[arms]\na = [\"optimizer.lr\"]\n", "arm 'a'");
  expect_refused("seeds = [1]\n[budget]\nseconds = -1\n" + kOneArm, "above 0");
  expect_refused("seeds = [1]\n[budget]\nseconds = [1]\n" + kOneArm, "one value, not a list");
  expect_refused("seeds = [1]\n[budget]\nseconds = 1\ntokens = 9\n" + kOneArm, "one of them");
  expect_refused("seeds = [1]\n[budget]\nmin_tokens = 5\n" + kOneArm, "budget.seconds");
  expect_refused("seeds = [1]\n[budget]\nseconds = 1\nmin_tokens_arms = \"x\"\n" + kOneArm,
                 "no arm or level 'x'");
  expect_refused("seeds = [1]\n" + kOneArm + "[equal_tokens]\nfactor = \"x\"\n", "no factor 'x'");
  expect_refused("seeds = [1]\nname = \"twice\"\n" + kOneArm, "study.toml:");
  expect_refused("seeds = [1\n", "study.toml:");
  EXPECT_THROW(read_study(folder_.file("missing.toml")), Error);
}

TEST_F(Study, WhatAnArmTakesFromTheRecipeUnseenIsSaid) {
  std::ofstream(folder_.file("base.toml"), std::ios::app)
      << "[optimizer]\nbeta1 = 0.9\nbeta2 = 0.95\n";
  read(
      "seeds = [1]\n[arms]\nadamw = [\"optimizer.name=adamw\", \"model.dropout=0\"]\nlion = "
      "[\"optimizer.name=lion\", \"model.dropout=0.1\"]\nlion-own = [\"optimizer.name=lion\", "
      "\"optimizer.beta2=0.99\", \"model.dropout=0\"]\n");
  testing::internal::CaptureStderr();
  expect_all_finish(
      read_study(folder_.file("study.toml"), {"model.dropout=0.2", "optimizer.lr=1"}));
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "config: model.dropout=0.2 has no effect: every arm sets a model.dropout of its own\n"
            "config: in the arm 'lion', optimizer.beta2 is 0.95, as adamw has it; lion's "
            "default is 0.99\n");
}

TEST_F(Study, APlanSaysWhatItCosts) {
  std::string text = kProgram;
  text.replace(text.find("--dry-run)"), 10,
               "--dry-run) echo '{\"tokens_per_step\": \"100\", \"flops_per_step\": \"1e6\", "
               "\"planned_steps\": \"400\"}';");
  write_program(text);
  const auto plan = [&](const std::string& budget) {
    const StudyFile study = read("seeds = [1, 2]\n[budget]\n" + budget + kOneArm);
    fs::remove_all(out_);
    testing::internal::CaptureStdout();
    run_study(study, out_, {folder_.file("program"), {}, /*plan_only=*/true});
    return testing::internal::GetCapturedStdout();
  };
  const std::string cost =
      "a whole run takes about 46 s, the study about 1 min 32 s of one process\n";
  for (const char* budget : {"tokens = 40000\n", "flops = 4e8\n"}) {
    const std::string said = plan(budget);
    EXPECT_NE(said.find(cost), std::string::npos) << said;
  }
  std::string base = slurp(folder_.file("base.toml"));
  base.replace(base.find("steps = 5"), 9, "epochs = 3");
  std::ofstream(folder_.file("base.toml")) << base;
  EXPECT_NE(plan("").find(cost), std::string::npos) << plan("");
}

TEST_F(Study, WhatTakesLongToTimeHasNoCost) {
  write_program("#!/bin/bash\n[ $1 = bench ] && exec sleep 20\nexit 0\n");
  const StudyFile study = read("seeds = [1, 2]\n[budget]\ntokens = 40000\n" + kOneArm);
  testing::internal::CaptureStdout();
  run_study(
      study, out_,
      {.program = folder_.file("program"), .stop = {}, .plan_only = true, .guess_seconds = 0.1});
  const std::string said = testing::internal::GetCapturedStdout();
  EXPECT_NE(said.find("what it takes is not known: study: to time one step takes more than 0.1 s"),
            std::string::npos)
      << said;
}

TEST_F(Study, ABudgetOfLessThanAStepIsRefused) {
  write_program(
      "#!/bin/bash\n[ $1 = bench ] && echo '{\"step_ms\": 100000, \"tokens_per_second\": 1000}'\n"
      "exit 0\n");
  const StudyFile study = read("seeds = [1]\n[budget]\nseconds = 1\n" + kOneArm);
  expect_fails([&] { run(study); }, "less than one step of the arm 'a', which takes 100 s");
  for (const char* printed : {"", "{}", "{\"step_ms\": 0, \"tokens_per_second\": 0}", "[1]"}) {
    write_program(fmt::format("#!/bin/bash\n[ $1 = bench ] && echo '{}'\nexit 0\n", printed));
    expect_fails([&] { run(study); }, "timing the arm 'a' failed");
  }
}

TEST_F(Study, ABusyMachineIsTimedAsItIsAndSaidSo) {
  write_program(fmt::format(
      "{}\n{}", "#!/bin/bash",
      "[ $1 = bench ] && echo '{\"step_ms\": 500, \"tokens_per_second\": 200, \"busy\": true}'\n"
      "exit 0\n"));
  testing::internal::CaptureStdout();
  run_study(read("seeds = [1]\n[budget]\nseconds = 10\n" + kOneArm), out_,
            {folder_.file("program"), {}, /*plan_only=*/true});
  const std::string shown = testing::internal::GetCapturedStdout();
  EXPECT_NE(shown.find("busy"), std::string::npos) << shown;
  EXPECT_NE(slurp(folder_.file("out/plan.json")).find("\"steps\": 20"), std::string::npos);
}

// Its first lines say what it is for, and what it gave or that it has not run yet.
void expect_head(const fs::path& file) {
  const std::string text = slurp(file);
  const std::string head = text.substr(0, text.find("\nname = "));
  EXPECT_TRUE(head.starts_with("# ")) << file;
  EXPECT_NE(head.find("\n# What it gave"), std::string::npos) << file;
}

TEST_F(Study, EveryFileOfTheProjectIsWhole) {
  const std::string root = STROBE_SOURCE_DIR;
  const fs::path here = fs::current_path();
  fs::current_path(root);
  for (const auto& entry : fs::recursive_directory_iterator(root + "/studies"))
    if (!entry.is_directory()) {
      EXPECT_NO_THROW(EXPECT_FALSE(read_study(entry.path()).arms.empty())) << entry.path();
      expect_head(entry.path());
    }
  for (const auto& entry : fs::directory_iterator(root + "/recipes")) {
    EXPECT_NO_THROW(load_config(entry.path(), {})) << entry.path();
    expect_head(entry.path());
  }
  fs::current_path(here);
}

}  // namespace
}  // namespace strobe
