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
#include "tests/reference/search_program.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using reference::expect_fails;
using reference::slurp;
using StudySearch = reference::SearchTest;

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
  EXPECT_EQ(json["search"]["flops"], 8e9);
  EXPECT_EQ(json["comparisons"][0]["difference"]["n"], 2);

  const std::string journal = slurp(out_ + "/journal.log");
  EXPECT_EQ(run(read(kSearch)).finished, 12) << "again: nothing is left to do";
  EXPECT_EQ(slurp(out_ + "/journal.log"), journal);
}

TEST_F(StudySearch, ATornJournalIsSaidAndNothingIsLost) {
  run(read(kSearch));
  const std::string whole = slurp(out_ + "/journal.log");
  const size_t last = whole.rfind('\n', whole.size() - 2) + 1;
  fs::resize_file(out_ + "/journal.log", last + 30);
  EXPECT_NE(console_summary(analyse_study(out_)).find("journal.log ends in 30 bytes"),
            std::string::npos);
  testing::internal::CaptureStderr();
  EXPECT_EQ(run(read(kSearch)).finished, 12);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("journal.log ended in a torn line of 30 bytes"), std::string::npos) << said;
  EXPECT_EQ(count(TrialState::complete, "confirm"), 4u);
  EXPECT_EQ(slurp(out_ + "/journal.log").substr(0, last), whole.substr(0, last));
  EXPECT_EQ(console_summary(analyse_study(out_)).find("journal.log"), std::string::npos);
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
      try {
        run(study);
      } catch (const Error& error) {  // and no test's end in this process
        fmt::print(stderr, "round {}: {}\n", round, error.what());
        ::_exit(2);
      }
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
  fs::remove_all(out_);
  write_program({{"diverge", "1e9"}});
  expect_fails([&] { run(read(kSearch)); }, "all diverged: narrow the space");
  fs::remove_all(out_);
  write_program({{"crash", "1e-9"}});
  expect_fails([&] { run(read(kSearch)); }, "goes on once that is mended");
  write_program();
  const StudyOutcome outcome = run(read(kSearch));
  EXPECT_EQ(count(TrialState::complete, "search"), 3u) << "what failed counts";
  EXPECT_EQ(outcome.failed, 5);
}

TEST_F(StudySearch, TrialsThatOptunaAddedAreNotOurs) {
  std::string body = kSearch;
  body.erase(body.find("[confirm]"), std::string("[confirm]\nseeds = [101, 102]\n").size());
  run(read(body));
  std::ofstream(out_ + "/journal.log", std::ios::app)
      << R"({"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": "2026-01-01T00:00:00"})"
      << "\n"
      << R"({"op_code": 6, "worker_id": "w", "trial_id": 8, "state": 1, "values": [1.5], )"
      << R"("datetime_complete": "2026-01-01T00:00:01"})"
      << "\n";
  run(read(body));
  const StudyResult result = analyse_study(out_);
  ASSERT_EQ(result.search->trials.size(), 9u);
  for (const ArmResult& arm : result.arms) EXPECT_GT(arm.loss.estimate, 4) << arm.name;
  for (const std::string& note : result.notes)
    EXPECT_EQ(note.find("missing"), std::string::npos) << note;
}

TEST_F(StudySearch, AFullDiskFailsNoTrial) {
  for (const char* said : {"checkpoint: runs/x needs 2.8 MiB, the disk has 288.0 KiB left",
                           "cannot write runs/x/events.jsonl: No space left on device"}) {
    fs::remove_all(out_);
    write_program({{"crash", "1e-9"}, {"said", said}});
    testing::internal::CaptureStdout();
    expect_fails([&] { run(read(kSearch)); }, "once there is room");
    EXPECT_EQ(testing::internal::GetCapturedStdout().find("goes on\n"), std::string::npos);
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

TEST_F(StudySearch, RungsAreShortRunsWithSchedulesOfTheirOwn) {
  run(
      read("seeds = [1]\n[budget]\ntokens = 900\ntrials = 9\n[space]\n\"optimizer.lr\" = { log = "
           "[1e-4, 1e-1] }\n[pruner]\nname = \"halving\"\nrungs = [0.12, 0.34]\n[sampler]\nname = "
           "\"sobol\"\n"));
  EXPECT_EQ(count(TrialState::complete, "search"), 1u);
  EXPECT_EQ(count(TrialState::pruned, "search"), 8u);
  const std::string log = this->log();
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
  testing::internal::CaptureStdout();
  run(
      read("seeds = [1]\n[budget]\ntokens = 900\ntrials = 7\n[space]\n\"optimizer.lr\" = { log = "
           "[1e-4, 1e-1] }\n[pruner]\nname = \"median\"\nrungs = [0.3]\nrung = \"mid-run\"\n"
           "[sampler]\nname = \"sobol\"\n"));
  const std::string said = testing::internal::GetCapturedStdout();
  EXPECT_NE(said.find("-s1: pruned at 30 %: "), std::string::npos) << said;
  EXPECT_GT(count(TrialState::pruned, "search"), 0u);
  for (const Trial& trial : trials()) {
    EXPECT_EQ(trial.rungs.count(30), 1u);
    if (trial.state != TrialState::pruned) continue;
    EXPECT_EQ(run_state(out_ + "/runs/" + trial.attr("name") + "-s1"), "stopped");
    EXPECT_LT(trial.number_attr("share"), 1);
    EXPECT_FALSE(fs::exists(out_ + "/runs/" + trial.attr("name") + "-s1/checkpoints"));
  }
}

TEST_F(StudySearch, ASmallSpaceIsExhausted) {
  for (const char* sampler : {"random", "sobol", "tpe"}) {
    fs::remove_all(out_);
    testing::internal::CaptureStdout();
    run(read(
        fmt::format("seeds = [1, 2]\n[budget]\ntokens = 900\ntrials = 9\n[space]\n"
                    "\"optimizer.lr\" = {{ float = [0.1, 0.3], step = 0.1 }}\n\"schedule.name\" "
                    "= {{ choice = [\"linear\", \"cosine\"] }}\n[sampler]\nname = \"{}\"\n"
                    "startup = 2\n",
                    sampler)));
    const std::string said = testing::internal::GetCapturedStdout();
    EXPECT_NE(said.find("the space has 6 points, and each is tried once\n12 trials (6 points x 2 "
                        "seeds)"),
              std::string::npos)
        << said;
    EXPECT_NE(said.find("the search ends after 9 points x 2 seeds"), std::string::npos) << said;
    std::set<std::map<std::string, std::string>> points;
    for (const Trial& trial : trials()) points.insert(trial.texts);
    EXPECT_EQ(points.size(), 6u) << sampler;
    EXPECT_EQ(trials().size(), 12u) << sampler;
    EXPECT_EQ(analyse_study(out_).search->wanted, 6);
  }
}

TEST_F(StudySearch, RungsOnTheWayAreAtEvaluations) {
  run(read(
      "seeds = [1]\n[budget]\ntokens = 900\ntrials = 1\n[space]\n\"optimizer.lr\" = { log = "
      "[1e-4, 1e-1] }\n[pruner]\nname = \"median\"\nrungs = [0.2, 0.5]\nrung = \"mid-run\"\n"));
  EXPECT_NE(log().find("eval.every=10 %"), std::string::npos) << "at 20 % and at 50 %";
}

TEST_F(StudySearch, ABudgetOfOperationsBecomesTokens) {
  run(
      read("seeds = [1]\n[budget]\nflops = 2e7\ntrials = 2\n[space]\n\"optimizer.lr\" = { log = "
           "[1e-4, 1e-1] }\n"));
  EXPECT_NE(log().find("train.tokens=2000"), std::string::npos);
}

// What an arm or the space sets in vain is said once, and nothing of the base recipe's own keys.
TEST_F(StudySearch, KeysThatNothingReadsAreNamedOnce) {
  std::ofstream(folder_.file("base.toml"), std::ios::app)
      << "[optimizer]\neps = 1e-6\nmomentum = 0.9\n";
  testing::internal::CaptureStderr();
  run(
      read("seeds = [1]\n[budget]\ntokens = 900\ntrials = 2\n[factors.optimizer]\n"
           "adamw = [\"optimizer.name=adamw\"]\n"
           "lion = [\"optimizer.name=lion\", \"optimizer.embedding_lr=1e-3\"]\n[space]\n"
           "\"optimizer.lr\" = { log = [1e-3, 1e-2] }\n"
           "\"schedule.name\" = { choice = [\"linear\", \"cosine\"] }\n"
           "\"schedule.cycles\" = { float = [1, 3] }\n"));
  const std::string said = testing::internal::GetCapturedStderr();
  std::map<std::string, int> lines;
  std::stringstream stream(said);
  for (std::string line; std::getline(stream, line);)
    if (line.starts_with("config:")) ++lines[line.substr(0, line.find(" does not"))];
  const std::map<std::string, int> wanted = {
      {"config: in the arm 'adamw', schedule.cycles is set, but linear", 1},
      {"config: in the arm 'lion', schedule.cycles is set, but linear", 1},
      {"config: in the arm 'lion', optimizer.embedding_lr is set, but lion", 1}};
  EXPECT_EQ(lines, wanted) << said;
  EXPECT_NE(log().find("--no-notices"), std::string::npos);
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
  EXPECT_EQ(result.headline.find("base recipe"), std::string::npos) << result.headline;
  for (const Trial& trial : trials())
    if (trial.attr("arm") == "lion") {
      EXPECT_GE(trial.params.at("lion-lr"), 1e-2);
    }
}

TEST_F(StudySearch, UnconfirmedArmsAreRankedByTheirBest) {
  run(
      read("seeds = [1]\n[budget]\ntokens = 900\ntrials = 7\n[factors.optimizer]\n"
           "adamw = [\"optimizer.name=adamw\"]\nlion = [\"optimizer.name=lion\"]\n[space]\n"
           "\"optimizer.lr\" = { log = [1e-3, 1e-2], when = \"optimizer = adamw\" }\n"
           "lion-lr = { log = [0.2, 0.9], key = \"optimizer.lr\", when = \"optimizer = lion\" }\n"
           "[sampler]\nname = \"sobol\"\n"));
  const StudyResult result = analyse_study(out_);
  ASSERT_EQ(result.arms.size(), 2u) << "although seven of AdamW are better than Lion's best";
  EXPECT_EQ(result.arms[1].arm, "lion");
  EXPECT_EQ(best_arm(result, "lion"), &result.arms[1]);
  EXPECT_TRUE(result.headline.starts_with(result.arms[0].name + " has the lowest validation loss"))
      << result.headline;
  EXPECT_LT(result.headline.find("not confirmed on fresh seeds"),
            result.headline.find("Within 0.05"))
      << result.headline;
  for (const std::string& sentence : result.sentences)
    EXPECT_FALSE(sentence.starts_with("Every trial")) << sentence;
}

}  // namespace
}  // namespace strobe
