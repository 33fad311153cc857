// Searches, with a script in place of the program that trains.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "strobe/core/error.h"
#include "strobe/report/study_report.h"
#include "strobe/study/study.h"
#include "strobe/study/study_folder.h"
#include "strobe/study/trial_store.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using reference::slurp;

// Trains by writing what it came to: the validation loss is 5 + |log10(lr / 3e-3)|, a little better
// with seed 101. Crashes above @crash, diverges below @diverge. With @slow it evaluates every tenth
// of the run, and stops when it is asked to.
constexpr const char* kProgram = R"(#!/bin/bash
echo "$@" >> @log
case "$1" in
  bench) echo '{"step_ms": 100, "tokens_per_second": 1000}'; exit 0 ;;
  resume) run=$2; lr=$(cat $run/lr); seed=1 ;;
  *)
    recipe=$2
    while [ $# -gt 0 ]; do
      case "$1" in
        --run) run=$2 ;;
        seed=*) seed=${1#seed=} ;;
        optimizer.lr=*) lr=${1#optimizer.lr=} ;;
        train.tokens=*) tokens=${1#train.tokens=} ;;
        --dry-run) echo '{"tokens_per_step": "100", "flops_per_step": "1e6"}'; exit 0 ;;
      esac
      shift
    done ;;
esac
mkdir -p $run
[ -z "$recipe" ] || cp $recipe $run/config.toml
echo "$lr" > $run/lr
finish() {
  echo "{\"state\": \"$1\", \"@metric\": $2, \"tokens\": ${tokens:-900}, \"seconds\": 2, \"steps\": 9}" > $run/result.json
  exit $3
}
read -r loss crash diverge <<< $(awk -v lr=${lr:-1e-2} -v seed=$seed -v c=@crash -v d=@diverge 'BEGIN {
  x = log(lr / 3e-3) / log(10); if (x < 0) x = -x
  print 5 + x - (seed == 101) * 0.01, (lr > c), (lr < d) }')
if [ $crash = 1 ]; then echo "warming up" >&2; echo "strobe: @said" >&2; exit 3; fi
[ $diverge = 1 ] && finish diverged null 1
if [ -n "@slow" ]; then
  trap 'finish stopped null 130' TERM
  for i in 1 2 3 4 5 6 7 8 9 10; do
    echo "{\"step\": $i, \"tokens\": $((i * ${tokens:-900} / 10)), \"seconds\": 1, \"val/loss\": $loss}" >> $run/events.jsonl
    sleep 0.1
  done
fi
mkdir -p $run/checkpoints; touch $run/checkpoints/step_1
finish finished $loss 0
)";

class StudySearch : public testing::Test {
 protected:
  void SetUp() override {
    reference::write_tiny_dataset(folder_.file("data"));
    std::ofstream(folder_.file("base.toml"))
        << "[data]\npath = \"" << folder_.file("data") << "\"\n[train]\ntokens = 5000\n";
    write_program();
  }
  void write_program(const std::map<std::string, std::string>& words = {}) {
    std::map<std::string, std::string> all = {
        {"log", folder_.file("log")},     {"crash", "1"},        {"diverge", "0"}, {"slow", ""},
        {"said", "train: out of memory"}, {"metric", "val/loss"}};
    for (const auto& [word, value] : words) all[word] = value;
    std::string text = kProgram;
    for (const auto& [word, value] : all)
      for (size_t at; (at = text.find("@" + word)) != std::string::npos;)
        text.replace(at, word.size() + 1, value);
    std::ofstream(folder_.file("program")) << text;
    ::chmod(folder_.file("program").c_str(), 0755);
  }
  StudyFile read(const std::string& body) {
    std::ofstream(folder_.file("study.toml"))
        << "name = \"test\"\nbase = \"" << folder_.file("base.toml") << "\"\n"
        << body;
    return read_study(folder_.file("study.toml"));
  }
  StudyOutcome run(const StudyFile& study, std::function<bool()> stop = {}) {
    return run_study(study, out_, {folder_.file("program"), std::move(stop), false});
  }
  std::vector<Trial> trials() {
    TrialStore store(out_ + "/journal.log", "test", "reader");
    return store.refresh().trials();
  }
  size_t count(TrialState state, const std::string& phase) {
    size_t out = 0;
    for (const Trial& trial : trials()) out += trial.state == state && trial.attr("phase") == phase;
    return out;
  }
  template <class Act>
  static void expect_fails(Act act, const std::string& part) {
    try {
      act();
      ADD_FAILURE() << "accepted, should say: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
  void expect_refused(const std::string& body, const std::string& part) {
    expect_fails([&] { read("seeds = [1]\n" + body); }, part);
  }

  const std::string kSearch =
      "seeds = [1]\n[budget]\ntokens = 900\ntrials = 8\n[space]\n"
      "\"optimizer.lr\" = { log = [1e-4, 1e-1] }\n[confirm]\nseeds = [101, 102]\n[sampler]\n"
      "startup = 4\n";
  reference::TemporaryFolder folder_;
  const std::string out_ = folder_.file("out");
};

TEST_F(StudySearch, SearchesConfirmsAndAnswers) {
  const StudyOutcome outcome = run(read(kSearch));
  EXPECT_EQ(outcome.finished, 8 + 4);
  EXPECT_EQ(outcome.failed, 0);
  EXPECT_EQ(count(TrialState::complete, "search"), 8u);
  EXPECT_EQ(count(TrialState::complete, "confirm"), 4u);
  EXPECT_FALSE(fs::exists(out_ + "/runs/p0-s1/checkpoints")) << "points can be had again";
  EXPECT_TRUE(fs::exists(out_ + "/runs/base-s101/checkpoints"));

  const StudyResult result = analyse_study(out_);
  ASSERT_TRUE(result.search);
  EXPECT_TRUE(result.search->confirmed);
  EXPECT_EQ(result.search->complete, 8);
  ASSERT_EQ(result.arms.size(), 2u);
  EXPECT_EQ(result.arms[0].name, "base");
  EXPECT_LT(result.arms[1].loss.estimate, 5.6);
  EXPECT_TRUE(result.headline.starts_with("Best of 8 trials: p")) << result.headline;
  EXPECT_NE(result.headline.find("on 2 fresh seeds"), std::string::npos) << result.headline;
  EXPECT_NE(result.stopping_rule.find("8 trials; then the best and the base recipe are run with 2 "
                                      "fresh seeds"),
            std::string::npos)
      << result.stopping_rule;
  write_study_report(out_, out_ + "/report.html");
  const auto json = nlohmann::json::parse(study_json(result));
  EXPECT_EQ(json["search"]["trials"].size(), 12u);
  EXPECT_EQ(json["comparisons"][0]["loss"]["n"], 2);

  const std::string journal = slurp(out_ + "/journal.log");
  EXPECT_EQ(run(read(kSearch)).finished, 12) << "again: nothing is left to do";
  EXPECT_EQ(slurp(out_ + "/journal.log"), journal);
}

TEST_F(StudySearch, ProcessesShareTheWork) {
  const StudyFile study = read(kSearch);
  std::vector<pid_t> children;
  for (int i = 0; i < 3; ++i) {
    children.push_back(::fork());
    if (children.back() != 0) continue;
    if (!::freopen("/dev/null", "w", stdout)) ::_exit(1);
    ::_exit(run(study).finished == 12 ? 0 : 1);
  }
  for (const pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(count(TrialState::complete, "search"), 8u);
  EXPECT_EQ(count(TrialState::complete, "confirm"), 4u);
  std::set<std::string> workers, runs;
  for (const Trial& trial : trials())
    EXPECT_TRUE(runs.insert(trial.attr("name") + "-s" + trial.attr("seed")).second);
  EXPECT_TRUE(fs::is_empty(out_ + "/workers"));
}

TEST_F(StudySearch, KilledAtAnyMomentItContinues) {
  const StudyFile study = read(kSearch);
  for (int round = 0; round < 12; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (!::freopen("/dev/null", "w", stdout)) ::_exit(1);
      run(study);
      ::_exit(0);
    }
    ::usleep(static_cast<useconds_t>(20'000 + 17'000 * round));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  EXPECT_EQ(run(study).finished, 12);
  EXPECT_EQ(count(TrialState::complete, "search"), 8u);
  EXPECT_EQ(count(TrialState::complete, "confirm"), 4u);
  EXPECT_EQ(trials().size(), 12u) << "what was begun was ended, not begun again";
}

TEST_F(StudySearch, WhatFailsIsRecordedWithItsReason) {
  write_program({{"crash", "2e-2"}, {"diverge", "3e-4"}});
  const StudyOutcome outcome = run(read(kSearch));
  EXPECT_GT(outcome.failed, 0);
  std::set<std::string> reasons;
  for (const Trial& trial : trials())
    if (trial.state == TrialState::failed) reasons.insert(trial.attr("reason"));
  EXPECT_EQ(reasons, (std::set<std::string>{"diverged", "train: out of memory"}));
  EXPECT_EQ(run_state(out_ + "/runs/p0-s1"), "finished");
  const StudyResult result = analyse_study(out_);
  EXPECT_EQ(result.search->failed, outcome.failed);
  EXPECT_EQ(result.search->complete + result.search->failed, 8);
}

TEST_F(StudySearch, AllThatFailsStopsTheSearch) {
  write_program({{"crash", "1e-9"}});
  expect_fails([&] { run(read(kSearch)); },
               "the first 5 trials of the search all failed, the last "
               "one with 'train: out of memory'");
  write_program();
  const StudyOutcome outcome = run(read(kSearch));
  EXPECT_EQ(count(TrialState::complete, "search"), 3u) << "what failed counts";
  EXPECT_EQ(outcome.failed, 5);
}

TEST_F(StudySearch, AFullDiskFailsNoTrial) {
  for (const char* said : {"checkpoint: runs/x needs 2.8 MiB, the disk has 288.0 KiB left",
                           "cannot write runs/x/events.jsonl: No space left on device"}) {
    fs::remove_all(out_);
    write_program({{"crash", "1e-9"}, {"said", said}});
    expect_fails([&] { run(read(kSearch)); }, "once there is room");
    EXPECT_EQ(trials().size(), 1u);
    write_program();
    const StudyOutcome outcome = run(read(kSearch));
    EXPECT_EQ(outcome.failed, 0);
    EXPECT_EQ(count(TrialState::complete, "search"), 8u) << "the first among them";
  }
}

TEST_F(StudySearch, AnOutcomeThatNeverAppearsIsSaidAtOnce) {
  write_program({{"metric", "val/other"}});
  expect_fails([&] { run(read(kSearch)); }, "finished without 'val/loss', the outcome");
  EXPECT_EQ(trials().size(), 1u);
  EXPECT_EQ(trials()[0].attr("reason"), "no val/loss");
}

TEST_F(StudySearch, AnOutcomeThatIsNullIsSaidAtOnceUnlessSomeRunHasIt) {
  write_program({{"metric", R"(val/loss\": null, \"other)"}});
  expect_fails([&] { run(read(kSearch)); }, "no run has given it yet");
  EXPECT_EQ(trials().size(), 1u);
}

TEST_F(StudySearch, AnOutcomeMayBeAnyFigureOfARun) {
  write_program({{"metric", R"(val/loss\": 4, \"val/loss_ema)"}});
  const std::string averaged = "[average]\nema = 0.9\n";
  expect_fails([&] { run(read("outcome = \"val/loss_ema\"\n" + kSearch)); },
               "has none: its average.ema is 0");
  EXPECT_FALSE(fs::exists(out_ + "/journal.log"));
  const std::string averages = "\"average.ema\" = { choice = [0.9, 0.99] }\n";
  std::string varied = kSearch;
  varied.insert(varied.find("[confirm]"), averages);
  expect_fails([&] { run(read("outcome = \"val/loss_ema\"\n" + varied)); },
               "the base recipe, which [confirm] runs too, has none: its average.ema is 0");
  std::ofstream(folder_.file("base.toml"), std::ios::app) << averaged;
  run(read("outcome = \"val/loss_ema\"\n" + kSearch));
  EXPECT_EQ(count(TrialState::complete, "search"), 8u);
  const StudyResult result = analyse_study(out_);
  EXPECT_EQ(result.noun, "validation loss of averaged weights (EMA)");
  EXPECT_GE(result.arms[0].loss.estimate, 4.98) << "not the loss of the weights themselves";
  const StudyFile seconds = read("outcome = \"seconds\"\n" + kSearch);
  run_study(seconds, folder_.file("seconds"), {folder_.file("program"), {}, false});
  EXPECT_EQ(analyse_study(folder_.file("seconds")).arms[0].loss.estimate, 2);
  expect_refused("outcome = \"tokens_per_second\"\n[arms]\na = []\n", "more is better");
  expect_refused("outcome = \"val/los\"\n[arms]\na = []\n", "it takes val/loss, ");
  expect_refused("outcome = \"seconds\"\ntarget = [3]\n[arms]\na = []\n",
                 "a target of 'seconds', which evaluations do not have");
  expect_refused(
      "outcome = \"seconds\"\n[budget]\ntrials = 3\n[space]\n\"optimizer.lr\" = { log = "
      "[1e-4, 1e-1] }\n[pruner]\nname = \"asha\"\nrung = \"mid-run\"\n",
      "mid-run, which only whole runs have");
}

TEST_F(StudySearch, DataWithoutValidationIsSaidBeforeTheFirstRun) {
  const std::string file = folder_.file("data") + "/dataset.json";
  nlohmann::json dataset = nlohmann::json::parse(slurp(file));
  nlohmann::json splits;
  for (const auto& split : dataset["splits"])
    if (split["name"] != "valid") splits.push_back(split);
  dataset["splits"] = splits;
  std::ofstream(file) << dataset.dump();
  expect_fails([&] { run(read(kSearch)); }, "has no split 'valid'; nothing was started");
  EXPECT_FALSE(fs::exists(out_ + "/journal.log"));
}

TEST_F(StudySearch, APlanBindsNobody) {
  const auto with = [&](const std::string& body, bool plan) {
    return run_study(read(body), out_, {folder_.file("program"), {}, plan});
  };
  std::string other = kSearch;
  other.replace(other.find("trials = 8"), 10, "trials = 5");
  with(kSearch, true);
  with(other, true);
  with(other, false);
  EXPECT_EQ(count(TrialState::complete, "search"), 5u);
  expect_fails([&] { with(kSearch, true); }, "holds another study");
}

TEST_F(StudySearch, OthersJoinOnceAllIsSetUp) {
  int calls = 0;
  StudyOptions options{folder_.file("program"), {}, false, {}, [&] {
                         ++calls;
                         EXPECT_TRUE(fs::exists(out_ + "/journal.log"));
                         EXPECT_FALSE(fs::exists(out_ + "/runs"));
                       }};
  run_study(read(kSearch), out_, options);
  EXPECT_EQ(calls, 1);
  options.plan_only = true;
  run_study(read(kSearch), out_, options);
  EXPECT_EQ(calls, 1);
}

TEST_F(StudySearch, APointThatCannotRunIsATrialThatFails) {
  // The middle of the space cannot.
  const std::string program = slurp(folder_.file("program"));
  const std::string dry =
      "--dry-run) [[ $lr == 0.00316228 || $lr == none ]] && echo \"strobe: "
      "memory: too much\" >&2 && exit 1\n ";
  std::string text = program;
  text.replace(text.find("--dry-run)"), 10, dry);
  std::ofstream(folder_.file("program")) << text;
  run(read(kSearch));
  EXPECT_EQ(count(TrialState::complete, "search"), 8u);
  text.replace(text.find("$lr == none"), 11, "$lr > 0    ");
  std::ofstream(folder_.file("program")) << text;
  expect_fails(
      [&] {
        run_study(read(kSearch), folder_.file("none"), {folder_.file("program"), {}, false});
      },
      "the base recipe cannot run at any of 6 points of the space, first at "
      "optimizer.lr=0.00316228: memory: too much");
}

TEST_F(StudySearch, UnknownNamesInTheSpaceAreFoundBeforeTheFirstRun) {
  std::string text = slurp(folder_.file("program"));
  text.replace(text.find("--dry-run)"), 10,
               "*=mun) echo \"strobe: optimizer.name: 'mun' is unknown\" >&2; exit 1 ;;\n "
               "--dry-run)");
  std::ofstream(folder_.file("program")) << text;
  expect_fails(
      [&] {
        run(
            read("seeds = [1]\n[budget]\ntokens = 900\ntrials = 3\n[space]\n"
                 "\"schedule.name\" = { choice = [\"wsd\", \"cosine\"] }\n\"optimizer.name\" = { "
                 "choice = "
                 "[\"mun\", \"muon\"], when = \"schedule.name = wsd\" }\n"));
      },
      "'mun' of the space's 'optimizer.name' cannot run: optimizer.name: 'mun' is unknown");
}

TEST_F(StudySearch, AChoiceMayBeOfAKeyOfTheTopLevel) {
  const StudyFile study = read(
      "seeds = [1]\n[budget]\ntrials = 3\n[space]\nprecision = { choice = [\"f32\", \"bf16\"] }\n"
      "branch = { choice = [\"a\", \"b\"] }\n");
  EXPECT_EQ(study.space[0].choices[1].overrides, (std::vector<std::string>{"precision=bf16"}));
  EXPECT_TRUE(study.space[1].choices[0].overrides.empty());
}

TEST_F(StudySearch, RungsAreShortRunsWithSchedulesOfTheirOwn) {
  run(
      read("seeds = [1]\n[budget]\ntokens = 900\ntrials = 9\n[space]\n\"optimizer.lr\" = { log = "
           "[1e-4, 1e-1] }\n[pruner]\nname = \"halving\"\nrungs = [0.12, 0.34]\n[sampler]\nname = "
           "\"sobol\"\n"));
  EXPECT_EQ(count(TrialState::complete, "search"), 1u);
  EXPECT_EQ(count(TrialState::pruned, "search"), 8u);
  const std::string log = slurp(folder_.file("log"));
  size_t short_runs = 0, longer = 0;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    short_runs += line.find("-s1-r12 ") != std::string::npos &&
                  line.find("train.tokens=108 eval.every=0") != std::string::npos;
    longer += line.find("-s1-r34 ") != std::string::npos &&
              line.find("train.tokens=306") != std::string::npos;
  }
  EXPECT_EQ(short_runs, 9u);
  EXPECT_EQ(longer, 3u);
  const StudyResult result = analyse_study(out_);
  ASSERT_EQ(result.search->rungs.size(), 2u);
  EXPECT_EQ(result.search->pruned, 8);
  EXPECT_EQ(result.search->tokens, 9 * 108 + 3 * 306 + 900);
}

TEST_F(StudySearch, RungsOnTheWayStopWhatIsWorse) {
  write_program({{"slow", "yes"}});
  run(
      read("seeds = [1]\n[budget]\ntokens = 900\ntrials = 7\n[space]\n\"optimizer.lr\" = { log = "
           "[1e-4, 1e-1] }\n[pruner]\nname = \"median\"\nrungs = [0.3]\nrung = \"mid-run\"\n"
           "[sampler]\nname = \"sobol\"\n"));
  EXPECT_GT(count(TrialState::pruned, "search"), 0u);
  for (const Trial& trial : trials()) {
    EXPECT_EQ(trial.rungs.count(30), 1u);
    if (trial.state != TrialState::pruned) continue;
    EXPECT_EQ(run_state(out_ + "/runs/" + trial.attr("name") + "-s1"), "stopped");
    EXPECT_LT(trial.number_attr("share"), 1);
  }
}

TEST_F(StudySearch, RungsOnTheWayAreAtEvaluations) {
  run(read(
      "seeds = [1]\n[budget]\ntokens = 900\ntrials = 1\n[space]\n\"optimizer.lr\" = { log = "
      "[1e-4, 1e-1] }\n[pruner]\nname = \"median\"\nrungs = [0.2, 0.5]\nrung = \"mid-run\"\n"));
  EXPECT_NE(slurp(folder_.file("log")).find("eval.every=10 %"), std::string::npos)
      << "at 20 % and at 50 %";
}

TEST_F(StudySearch, ABudgetOfOperationsBecomesTokens) {
  run(
      read("seeds = [1]\n[budget]\nflops = 2e7\ntrials = 2\n[space]\n\"optimizer.lr\" = { log = "
           "[1e-4, 1e-1] }\n"));
  EXPECT_NE(slurp(folder_.file("log")).find("train.tokens=2000"), std::string::npos);
}

TEST_F(StudySearch, ABudgetOfLessThanAStepIsRefused) {
  const std::string rest = "trials = 2\n[space]\n\"optimizer.lr\" = { log = [1e-4, 1e-1] }\n";
  expect_fails([&] { run(read("seeds = [1]\n[budget]\ntokens = 99\n" + rest)); },
               "less than one step of the base recipe, which takes 100 tokens");
  expect_fails(
      [&] {
        run_study(read("seeds = [1]\n[budget]\ntokens = 900\n" + rest +
                       "[pruner]\nname = \"asha\"\nrungs = [0.1]\n"),
                  folder_.file("other"), {folder_.file("program"), {}, false});
      },
      "the first rung, 10 % of the budget");
}

TEST_F(StudySearch, SeveralArmsAreTunedAlikeAndCompared) {
  run(
      read("seeds = [1]\n[budget]\ntokens = 900\ntrials = 3\n[factors.optimizer]\n"
           "adamw = [\"optimizer.name=adamw\"]\nlion = [\"optimizer.name=lion\"]\n[space]\n"
           "\"optimizer.lr\" = { log = [1e-3, 1e-2], when = \"optimizer = adamw\" }\n"
           "lion-lr = { log = [1e-2, 1e-1], key = \"optimizer.lr\", when = \"optimizer = lion\" }\n"
           "[confirm]\nseeds = [101, 102, 103]\n"));
  EXPECT_EQ(count(TrialState::complete, "search"), 6u);
  EXPECT_EQ(count(TrialState::complete, "confirm"), 6u) << "no base recipe where arms compare";
  const StudyResult result = analyse_study(out_);
  ASSERT_EQ(result.arms.size(), 2u);
  EXPECT_TRUE(result.arms[0].name.starts_with("adamw-p")) << result.arms[0].name;
  EXPECT_EQ(result.comparisons.size(), 1u);
  for (const Trial& trial : trials())
    if (trial.attr("arm") == "lion") {
      EXPECT_GE(trial.params.at("lion-lr"), 1e-2);
    }
}

TEST_F(StudySearch, RefusesImpossibleSpaces) {
  const auto space = [](const std::string& lines) {
    return "[budget]\ntrials = 3\n[space]\n" + lines + "\n";
  };
  expect_refused(space("\"optimizer.lr\" = { log = [0, 1] }"), "begins at 0");
  expect_refused(space("\"optimizer.lr\" = { log = [1, 1] }"), "is empty");
  expect_refused(space("\"optimizer.lr\" = { log = [2, 1] }"), "is empty");
  expect_refused(space("\"optimizer.lr\" = { log = [1] }"), "a range of two numbers");
  expect_refused(space("\"optimizer.lr\" = { log = [\"a\", 1] }"), "takes numbers, not 'a'");
  expect_refused(space("\"optimizer.lr\" = { lgo = [1, 2] }"), "did you mean 'log'");
  expect_refused(space("\"optimizer.lr\" = { step = 0.1 }"), "has no range");
  expect_refused(space("\"optimizer.lr\" = { float = [0, 1], step = 0 }"), "more than 0");
  expect_refused(space("\"optimizer.lr\" = { float = [0, 1], step = 2 }"), "more than its range");
  expect_refused(space("\"optimizer.lr\" = { float = [0, 1], log = [1, 2] }"), "two ranges");
  expect_refused(space("\"optimizer.lrr\" = { float = [0, 1] }"), "did you mean 'optimizer.lr'");
  expect_refused(space("\"model.layers\" = { integer = [1.5, 4] }"), "whole numbers");
  for (const char* key : {"model.layers", "train.steps", "schedule.warmup", "train.log_every"})
    for (const char* range : {"float = [2, 8]", "log = [2, 64]", "float = [2, 8], step = 1.5"})
      expect_refused(space(fmt::format("\"{}\" = {{ {} }}", key, range)),
                     "it takes whole numbers, integer or log_integer");
  expect_refused(space("\"schedule.name\" = { choice = [] }"), "between nothing");
  expect_refused(space("\"schedule.name\" = { choice = [\"wsd\", \"wsd\"] }"), "'wsd' twice");
  expect_refused(space("\"optimizer.lr\" = { float = [0, 1], when = \"x = y\" }"),
                 "depends on 'x'");
  expect_refused(
      space("\"schedule.name\" = { choice = [\"wsd\"] }\n\"optimizer.lr\" = { float = [0, "
            "1], when = \"schedule.name = cosine\" }"),
      "not one of its choices");
  expect_refused(space("\"optimizer.lr\" = { float = [0, 1], when = \"broken\" }"),
                 "not a condition");
  const std::string lr = "[space]\n\"optimizer.lr\" = { log = [1e-4, 1e-2] }\n";
  expect_refused(lr, "search without end");
  expect_refused(space("\"optimizer.lr\" = { log = [1e-4, 1e-2] }\n[sampler]\nname = \"cma\""),
                 "grid, random, sobol, tpe");
  expect_refused(lr + "[sampler]\nname = \"grid\"\n", "needs 'points' or 'step'");
  expect_refused(space("\"optimizer.lr\" = { log = [1e-4, 1e-2] }\n[pruner]\nname = \"hyperband\""),
                 "none, median, halving, asha");
  expect_refused(space("\"optimizer.lr\" = { log = [1e-4, 1e-2] }\n[pruner]\nrungs = [0.5, 0.2]"),
                 "ascending");
  expect_refused(space("\"optimizer.lr\" = { log = [1e-4, 1e-2] }\n[pruner]\nname = \"median\"\n"
                       "rung = \"mid-run\"\nrungs = [0.13, 0.5]"),
                 "an evaluation every 1 %");
  expect_refused(space("\"optimizer.lr\" = { log = [1e-4, 1e-2] }\n[confirm]\nseeds = [1, 2]"),
                 "confirms on a seed it searches with");
  expect_refused("outcome = \"val/los\"\n" + lr + "[budget]\ntrials = 2\n", "has the outcome");
  expect_refused("[budget]\ntrials = 2\n[arms]\na = []\n", "no [space] to search");
  expect_refused(
      "[budget]\ntokens = 100\ntotal_tokens = 450\n" + lr + "\n[confirm]\nseeds = [2, 3]\n",
      "4 runs of 100 are kept for [confirm]: not one trial fits");
  expect_refused("[budget]\ntokens = 100\ntotal_tokens = 500\n[arms]\na = []\n",
                 "which ends a search");
  expect_refused(space("\"optimizer.lr\" = { float = [0, 1], points = 2.5 }"), "integer from 1");
  std::string many;
  for (int i = 0; i < 65; ++i) many += fmt::format("p{} = {{ choice = [\"a\"] }}\n", i);
  expect_refused(space(many), "searches 65 parameters, and sampler 'tpe' takes 64 at most");
  expect_refused("[budget]\ntokens = 100\ntotal_tokens = 50\ntrials = 2\n" + lr,
                 "not one run fits");
}

}  // namespace
}  // namespace strobe
