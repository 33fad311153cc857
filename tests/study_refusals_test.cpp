// What a search refuses, before anything is trained.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/study/study.h"
#include "tests/reference/search_program.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using reference::expect_fails;
using reference::slurp;
using StudyRefusals = reference::SearchTest;

TEST_F(StudyRefusals, TheCommandLineReachesTheSpace) {
  read(kSearch);
  for (const char* key : {"space.optimizer.lr.log", "space.\"optimizer.lr\".log"}) {
    const StudyFile study =
        read_study(folder_.file("study.toml"), {fmt::format("{}=[1e-3, 1e-2]", key)});
    ASSERT_EQ(study.space.size(), 1u);
    EXPECT_EQ(study.space[0].low, 1e-3);
  }
}

TEST_F(StudyRefusals, RefusesImpossibleSpaces) {
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

TEST_F(StudyRefusals, UnknownNamesInTheSpaceAreFoundBeforeTheFirstRun) {
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

TEST_F(StudyRefusals, AChoiceMayBeOfAKeyOfTheTopLevel) {
  const StudyFile study = read(
      "seeds = [1]\n[budget]\ntrials = 3\n[space]\nprecision = { choice = [\"f32\", \"bf16\"] }\n"
      "branch = { choice = [\"a\", \"b\"] }\n");
  EXPECT_EQ(study.space[0].choices[1].overrides, (std::vector<std::string>{"precision=bf16"}));
  EXPECT_TRUE(study.space[1].choices[0].overrides.empty());
}

TEST_F(StudyRefusals, DataWithoutValidationIsSaidBeforeTheFirstRun) {
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

TEST_F(StudyRefusals, WhatCanHaveNoEffectIsRefused) {
  const std::string lr = "[\"optimizer.lr=1e-3\"]\n", other = "[\"optimizer.lr=2e-3\"]\n";
  const std::string trials = "[budget]\ntokens = 900\ntrials = 2\n";
  const std::string space = "[space]\n\"optimizer.lr\" = { log = [1e-3, 1e-2] }\n";
  expect_refused("[arms]\na = []\nb = [\"seed=3\"]\n",
                 "arm 'b' of " + folder_.file("study.toml") + " sets 'seed', which a run has from");
  expect_refused("[arms]\na = [\"name=x\"]\n", "sets 'name'");
  expect_refused("overrides = [\"seed=3\"]\n" + std::string("[arms]\na = []\n"), "an override");
  expect_refused("[budget]\ntokens = 600\n[arms]\nlong = [\"train.tokens=6000\"]\n",
                 "arm 'long' of " + folder_.file("study.toml") +
                     " sets 'train.tokens', and budget.tokens is the length of every run");
  EXPECT_NO_THROW(read("seeds = [1]\n[arms]\nlong = [\"train.steps=60\"]\nshort = []\n"));
  expect_refused(trials + "[space]\n\"train.steps\" = { integer = [3, 9] }\n",
                 "the space's 'train.steps'");
  expect_refused("[factors.lr]\nlow = " + lr + "high = " + other +
                     "[factors.opt]\nadamw = [\"optimizer.name=adamw\"]\nlion = "
                     "[\"optimizer.name=lion\", \"optimizer.lr=1e-4\"]\n",
                 "the factors 'lr' and 'opt'");
  expect_refused(trials + "[arms]\na = " + lr + "b = " + other + space,
                 "arm 'a' and the space's 'optimizer.lr'");
  EXPECT_NO_THROW(read("seeds = [1]\n" + trials + "[arms]\na = " + lr + "b = " + other +
                       "[space]\n\"optimizer.name\" = { choice = [\"adamw\", \"lion\"] }\n"
                       "lr = { log = [1e-5, 1e-4], key = \"optimizer.lr\", when = "
                       "\"optimizer.name = lion\" }\n"))
      << "the arm's own is AdamW's";
  expect_refused("[arms]\na = " + lr + "b = []\nc = [\"optimizer.lr=0.001\"]\n",
                 "the arms 'a' and 'c'");
  EXPECT_NO_THROW(read("seeds = [1]\n" + trials +
                       "[arms]\na = []\nb = []\n[space]\nlow = { log = [1e-4, 1e-3], key = "
                       "\"optimizer.lr\", when = \"arm = a\" }\nhigh = { log = [1e-3, "
                       "1e-2], key = \"optimizer.lr\", when = \"arm = b\" }\n"));
}

TEST_F(StudyRefusals, AFactorMayBeCalledAsAKey) {
  read(
      "seeds = [1]\n[factors.\"optimizer.lr\"]\n\"1e-3\" = [\"optimizer.lr=1e-3\"]\n"
      "\"0.01\" = [\"optimizer.lr=0.01\"]\n[factors.dropout]\n"
      "\"d0.1\" = [\"model.dropout=0.1\"]\nd0 = [\"model.dropout=0\"]\n");
  const std::string file = folder_.file("study.toml");
  for (const char* word : {"factors.\"optimizer.lr\".\"0.01\"=[\"optimizer.lr=0.02\"]",
                           "factors.optimizer.lr.0.01=[\"optimizer.lr=0.02\"]"}) {
    const StudyFile study = read_study(file, {word});
    ASSERT_EQ(study.factors.size(), 2u) << word;
    EXPECT_EQ(study.factors[0].name, "optimizer.lr");
    EXPECT_EQ(study.factors[0].levels[1].name, "0.01");
    EXPECT_EQ(study.factors[0].levels[1].overrides[0], "optimizer.lr=0.02");
    EXPECT_EQ(study.factors[1].levels[0].name, "d0.1");
    EXPECT_EQ(study.arms.size(), 4u);
  }
  expect_refused("[factors.optimizer.lr]\nlow = [\"optimizer.lr=1e-3\"]\n",
                 "is put in quotes, factors.\"optimizer.lr\"");
}

TEST_F(StudyRefusals, ABudgetOfLessThanAStepIsRefused) {
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
  expect_fails(
      [&] {
        run_study(read("seeds = [1]\n[budget]\nflops = 9e5\n" + rest), folder_.file("flops"),
                  {folder_.file("program"), {}, false});
      },
      "a budget of 900000 operations is less than one step of the base recipe, which takes 1e+06");
  expect_fails(
      [&] {
        run_study(read("seeds = [1]\n[budget]\nseconds = 0.09\n" + rest), folder_.file("seconds"),
                  {folder_.file("program"), {}, false});
      },
      "the shortest run, 0.09 s, is less than one step, which takes 0.1 s");
}

TEST_F(StudyRefusals, WordsOfTheCommandLineThatMissAreExplained) {
  read("seeds = [1]\n[arms]\na = []\nb = [\"optimizer.lr=1\"]\n");
  const std::string file = folder_.file("study.toml");
  expect_fails([&] { read_study(file, {"optimizer.lrr=3"}); }, "did you mean 'optimizer.lr'");
  expect_fails([&] { read_study(file, {"compare.b=[a]"}); },
               "its texts are in quotes, 'compare.b=[\"one\", \"two\"]'");
  EXPECT_EQ(read_study(file, {"compare.b=[\"a\"]"}).compare.size(), 1u);
}

}  // namespace
}  // namespace strobe
