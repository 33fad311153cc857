// How much the report of a study claims: verdicts among many comparisons, points of many seeds.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/report/study_analysis.h"
#include "strobe/report/study_reader.h"
#include "strobe/report/study_report.h"
#include "tests/reference/synthetic_runs.h"
#include "tests/reference/text_files.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using reference::contains;
using reference::test_folder;

class StudyClaims : public testing::Test {
 protected:
  // An arm's losses by seed, and what study.json has beside; arms "a-b" of factors have levels.
  StudyResult result_of(const std::map<std::string, std::vector<double>>& arms,
                        nlohmann::ordered_json study = nlohmann::ordered_json::object()) {
    study["name"] = "claims";
    for (const auto& [name, losses] : arms) {
      nlohmann::ordered_json arm = {{"name", name}, {"levels", nlohmann::ordered_json::object()}};
      if (study.contains("factors"))
        arm["levels"] = {{"attention", name.substr(0, name.find('-'))},
                         {"recipe", name.substr(name.find('-') + 1)}};
      study["arms"].push_back(arm);
      study["seeds"] = nlohmann::ordered_json::array();
      for (size_t s = 0; s < losses.size(); ++s) {
        study["seeds"].push_back(s + 1);
        write_run(fmt::format("{}/runs/{}-s{}", folder_, name, s + 1),
                  {.seed = static_cast<int64_t>(s) + 1, .steps = 10, .final_loss = losses[s]});
      }
    }
    std::ofstream(folder_ + "/study.json") << study.dump();
    write_study_report(folder_, folder_ + "/report.html");
    return analyse_study(folder_);
  }
  std::string page() const { return read_file("test", folder_ + "/report.html", 1 << 26); }

  const nlohmann::ordered_json factors_ = {
      {"factors", {{"attention", {"naive", "flash"}}, {"recipe", {"base", "tuned"}}}}};
  const std::string folder_ = test_folder();
};

// flash lowers the loss by 0.012, 0.015 and 0.020: p = 0.022 alone, 0.065 among three.
TEST_F(StudyClaims, AFactorialClaimsWhatIsLeftAfterTheCorrection) {
  const StudyResult result = result_of({{"naive-base", {6, 6.1, 6.2}},
                                        {"naive-tuned", {6.01, 6.08, 6.205}},
                                        {"flash-base", {5.988, 6.085, 6.18}},
                                        {"flash-tuned", {5.998, 6.065, 6.185}}},
                                       factors_);
  ASSERT_TRUE(result.factorial && result.effects);
  const FactorResult& attention = result.factorial->factors[0];
  EXPECT_TRUE(attention.loss.resolved());
  EXPECT_EQ(attention.corrected, result.effects->contrasts[0].corrected);
  EXPECT_GT(attention.corrected, 0.05);
  EXPECT_TRUE(result.headline.starts_with("Neither attention nor recipe")) << result.headline;
  EXPECT_TRUE(contains(result.headline, "not significant after Holm's correction"));
  EXPECT_FALSE(contains(joined(result), "lowered")) << joined(result);
  EXPECT_TRUE(contains(page(), "p, Holm"));
  EXPECT_TRUE(contains(page(), "P(lower)"));
  EXPECT_FALSE(contains(page(), "<td>lower</td>"));
  const auto json = nlohmann::json::parse(study_json(result));
  EXPECT_EQ(json["factorial"]["factors"][0]["p_holm"].get<double>(), attention.corrected);
}

TEST_F(StudyClaims, WhatTheFileComparesIsShownOfFactorsToo) {
  auto study = factors_;
  study["compare"] = {{{"arm", "flash-tuned"}, {"reference", "flash-base"}}};
  const StudyResult result = result_of({{"naive-base", {6, 6.1}},
                                        {"naive-tuned", {5.5, 5.6}},
                                        {"flash-base", {6.01, 6.1}},
                                        {"flash-tuned", {5.5, 5.591}}},
                                       study);
  ASSERT_EQ(result.comparisons.size(), 1u);
  EXPECT_TRUE(contains(joined(result), "Against flash-base: flash-tuned better."))
      << joined(result);
  EXPECT_TRUE(contains(page(), "flash-tuned − flash-base"));
  EXPECT_TRUE(contains(page(), "The comparisons that the study file states"));
}

// b is 0.011, 0.015 and 0.021 below a: p = 0.033 alone, 0.065 as one of two comparisons.
TEST_F(StudyClaims, TheLeadOfTheBestIsCorrectedForAllThatItLeads) {
  const StudyResult two = result_of({{"a", {6, 6.1, 6.2}}, {"b", {5.989, 6.085, 6.179}}});
  EXPECT_TRUE(contains(two.headline, "its lead over a, the next, is −0.016")) << two.headline;
  SetUp();
  const StudyResult three =
      result_of({{"a", {6, 6.1, 6.2}}, {"b", {5.989, 6.085, 6.179}}, {"c", {6.1, 6.7, 6.21}}});
  EXPECT_TRUE(contains(three.headline, "not significant after Holm's correction for 2"))
      << three.headline;
}

TEST_F(StudyClaims, IntervalAndVerdictAreOfOneMethod) {
  std::mt19937 random(3);
  std::exponential_distribution<double> skewed(20);
  int resolved = 0, by_t = 0;
  for (int i = 0; i < 60; ++i) {
    std::vector<double> values(10 + i % 4);
    for (double& v : values) v = skewed(random) - 0.03;
    const Interval interval = mean_interval(values);
    EXPECT_EQ(interval.resolved(), mean_test(values) < 0.05) << i;
    EXPECT_EQ(bootstrap_interval(values, 0.9).resolved(), bootstrap_test(values) < 0.1) << i;
    resolved += interval.resolved(), by_t += t_test(values) < 0.05;
    values.resize(9);
    EXPECT_EQ(mean_test(values), t_test(values));
    EXPECT_EQ(mean_interval(values).resolved(), mean_test(values) < 0.05);
  }
  EXPECT_NE(resolved, by_t) << "else nothing was tried";
  EXPECT_EQ(mean_test(std::vector<double>(12, 0.0)), 1);
  std::vector<double> a, b;
  for (int s = 0; s < 12; ++s) a.push_back(6), b.push_back(6.03 - skewed(random));
  const StudyResult result = result_of({{"a", a}, {"b", b}});
  ASSERT_EQ(result.comparisons.size(), 1u);
  EXPECT_EQ(result.comparisons[0].p, mean_test(paired_differences(a, b)));
  EXPECT_TRUE(contains(page(), "accelerated bootstrap"));
}

TEST_F(StudyClaims, AveragesStandBesideTheWeights) {
  const StudyResult without = result_of({{"a", {6, 6.1}}, {"b", {5.5, 5.7}}});
  EXPECT_FALSE(contains(console_summary(without), "EMA"));
  EXPECT_FALSE(contains(page(), "Averaged weights"));
  for (int seed = 1; seed <= 2; ++seed) {
    const std::string file = fmt::format("{}/runs/b-s{}/result.json", folder_, seed);
    auto run = nlohmann::json::parse(read_file("test", file, 1 << 20));
    run["val/loss_ema"] = run["val/loss"].get<double>() - 0.1 * seed;
    write_file("test", file, run.dump());
  }
  const StudyResult result = analyse_study(folder_);
  EXPECT_NEAR(result.arms[1].ema.difference.estimate, -0.15, 1e-12);
  EXPECT_EQ(result.arms[1].ema.loss.n, 2);
  EXPECT_EQ(result.arms[0].ema.loss.n, 0);
  const auto json = nlohmann::json::parse(study_json(result));
  EXPECT_NEAR(json["arms"][1]["val/loss_ema"]["estimate"].get<double>(), 5.45, 1e-12);
  EXPECT_EQ(json["arms"][1]["val/loss_ema - val/loss"]["n"], 2);
  EXPECT_TRUE(contains(console_summary(result), "EMA − weights"));
  EXPECT_FALSE(contains(console_summary(result), "LAWA"));
  EXPECT_FALSE(contains(console_summary(result), "nan")) << console_summary(result);
  write_study_report(folder_, folder_ + "/report.html");
  EXPECT_TRUE(contains(page(), "Averaged weights"));
}

TEST_F(StudyClaims, AnArmIsFoundByItsWholeName) {
  const StudyResult result =
      result_of({{"lion", {6.2, 6.3}}, {"lion-warm", {5.9, 5.8}}, {"muon", {5, 5.1}}});
  ASSERT_TRUE(best_arm(result, "lion"));
  EXPECT_EQ(best_arm(result, "lion")->name, "lion");
  EXPECT_EQ(best_arm(result, "")->name, "muon");
  EXPECT_FALSE(best_arm(result, "li"));
  StudyResult search;
  for (const auto& [name, point, arm, loss] :
       {std::tuple("lion-p1 (lr=1)", "lion-p1", "lion", 6.0),
        {"lion-warm-p0 (lr=2)", "lion-warm-p0", "lion-warm", 5.0},
        {"lion-p2 (lr=3)", "lion-p2", "lion", 5.5}}) {
    ArmResult one;
    one.name = name, one.point = point, one.arm = arm, one.loss = {loss, loss, loss, 1};
    search.arms.push_back(one);
  }
  EXPECT_EQ(best_arm(search, "lion")->point, "lion-p2");
  EXPECT_EQ(best_arm(search, "lion-p1")->point, "lion-p1");
}

// p0 has the luckiest run, p2 the lowest mean of those with both seeds, p3 a run that failed.
TEST_F(StudyClaims, PointsAreRankedByTheirMean) {
  StudyRecord study;
  study.seeds = {1, 2};
  study.search.emplace();
  SearchRecord& search = *study.search;
  search.seeds = 2, search.groups = {""};
  const double never = NAN;
  for (const auto& [name, losses] : {std::pair("p0", std::pair(5.0, 6.0)),
                                     {"p1", {5.6, 5.6}},
                                     {"p2", {5.3, 5.3}},
                                     {"p3", {5.1, never}}})
    for (const double loss : {losses.first, losses.second}) {
      Trial trial;
      trial.number = static_cast<int64_t>(search.trials.size());
      trial.state = std::isnan(loss) ? TrialState::failed : TrialState::complete;
      trial.value = loss, trial.attrs = {{"phase", "search"}, {"name", name}, {"arm", ""}};
      search.trials.push_back(trial);
    }
  const std::vector<PointRecord> ranked = ranked_points(search);
  ASSERT_EQ(ranked.size(), 4u);
  EXPECT_EQ(ranked[0].trial->attr("name"), "p2");
  EXPECT_EQ(ranked[1].trial->attr("name"), "p0");
  EXPECT_EQ(ranked[3].trial->attr("name"), "p3");
  const StudyResult result = analyse(study);
  EXPECT_EQ(result.search->best, 4);
  EXPECT_EQ(result.search->best_value, 5.3);
  EXPECT_TRUE(std::isnan(result.search->trials[0].best)) << "half of a point is none";
  EXPECT_EQ(result.search->trials[1].best, 5.5);
  EXPECT_TRUE(contains(result.headline,
                       "Best of 8 trials (4 points x 2 seeds) so far: p2, with a "
                       "validation loss of 5.3000 nats a token (mean of 2 seeds)"))
      << result.headline;
  EXPECT_TRUE(contains(joined(result), "its best was p2")) << joined(result);
}

TEST_F(StudyClaims, EveryRangeAtWhoseEndTheBestLiesIsNamed) {
  StudyRecord study;
  study.seeds = {1};
  SearchRecord& search = study.search.emplace();
  search.seeds = 1, search.groups = {""}, search.labels.resize(3);
  for (const char* name : {"lr", "decay", "layers"}) {
    search.parameters.emplace_back();
    search.parameters.back().name = name;
    search.parameters.back().low = 1, search.parameters.back().high = 9;
  }
  Trial trial;
  trial.state = TrialState::complete, trial.value = 5;
  trial.params = {{"lr", 9}, {"decay", 1}, {"layers", 5}};
  trial.attrs = {{"phase", "search"}, {"name", "p0"}, {"arm", ""}};
  search.trials.push_back(trial);
  const StudyResult result = analyse(study);
  EXPECT_EQ(result.search->edges, (std::vector<std::string>{"lr", "decay"}));
  EXPECT_TRUE(contains(joined(result), "at the edge of the ranges of lr, decay:"))
      << joined(result);
  const auto json = nlohmann::json::parse(study_json(result));
  EXPECT_EQ(json["search"]["best_at_edge_of"], (std::vector<std::string>{"lr", "decay"}));
}

// A point that diverged bounds the band; one whose process was killed says nothing of it.
TEST_F(StudyClaims, ABandEndsAtWhatDivergedAndNotAtWhatCrashed) {
  const auto band_with = [](const std::string& reason) {
    StudyRecord study;
    study.seeds = {1};
    study.search.emplace();
    SearchRecord& search = *study.search;
    search.seeds = 1, search.groups = {""};
    search.parameters.push_back({});
    search.parameters[0].name = "optimizer.lr", search.parameters[0].low = 1;
    search.parameters[0].high = 8, search.parameters[0].log = true;
    search.labels.push_back({});
    for (const double lr : {1.0, 2.0, 4.0, 8.0}) {
      Trial trial;
      trial.number = static_cast<int64_t>(search.trials.size());
      trial.state = lr == 8 ? TrialState::failed : TrialState::complete;
      trial.value = lr == 8 ? NAN : 5 + 0.01 * lr;
      trial.params["optimizer.lr"] = lr;
      trial.attrs = {{"phase", "search"}, {"name", fmt::format("p{:g}", lr)}, {"arm", ""}};
      if (lr == 8) trial.attrs["reason"] = reason;
      search.trials.push_back(trial);
    }
    const StudyResult result = analyse(study);
    EXPECT_EQ(result.search->bands.size(), 1u);
    return result.search->bands.at(0);
  };
  const BandResult diverged = band_with("diverged"), killed = band_with("killed by signal 9");
  EXPECT_FALSE(diverged.band.high_is_edge);
  EXPECT_TRUE(killed.band.high_is_edge) << "nothing is known of what lies above";
  EXPECT_EQ(killed.band.high, 4);
  EXPECT_EQ(killed.points, 3u);
  EXPECT_EQ(killed.failed, 1u);
}

}  // namespace
}  // namespace strobe
