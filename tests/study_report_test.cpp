// What the report of a study computes and says, on studies whose truth is known.
#include "strobe/report/study_report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "tests/reference/synthetic_runs.h"
#include "tests/reference/text_files.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using reference::contains;
using reference::test_folder;

StudyResult result_of(const SyntheticStudy& study) {
  const std::string folder = test_folder();
  write_study(folder, study);
  return analyse_study(folder);
}

TEST(StudyReport, FindsTheEffectsThatArePutIn) {
  const StudyResult result = result_of({.attention = -0.3, .recipe = -0.6, .interaction = 0.1});
  ASSERT_TRUE(result.factorial);
  const FactorialResult& f = *result.factorial;
  EXPECT_EQ(f.seeds, (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(f.factors[0].from, "naive");
  EXPECT_EQ(f.factors[1].to, "optimised");
  // Deviations of seeds cancel; those of runs are 0.004 at most.
  EXPECT_NEAR(f.factors[0].loss.estimate, -0.25, 0.01);
  EXPECT_NEAR(f.factors[0].loss_at[0].estimate, -0.3, 0.01);
  EXPECT_NEAR(f.factors[0].loss_at[1].estimate, -0.2, 0.01);
  EXPECT_NEAR(f.factors[1].loss.estimate, -0.55, 0.01);
  EXPECT_NEAR(f.interaction.estimate, 0.1, 0.02);
  EXPECT_NEAR(f.both.estimate, -0.8, 0.01);
  EXPECT_NEAR(f.factors[0].tokens_per_second.estimate, 2, 0.01);
  EXPECT_NEAR(f.factors[0].peak_bytes.estimate, 0.5, 1e-9);
  EXPECT_NEAR(f.factors[1].tokens_per_second.estimate, 1, 1e-9);
  ASSERT_EQ(result.arms.size(), 4u);
  EXPECT_EQ(result.arms[3].name, "flash2-optimised");
  EXPECT_EQ(result.arms[3].loss.n, 3);
  ASSERT_TRUE(result.equal_tokens);
  EXPECT_EQ(result.equal_tokens->largest_training_difference, 0);
  ASSERT_EQ(result.comparisons.size(), 3u);
  EXPECT_EQ(result.comparisons[2].superiority, 1);
}

TEST(StudyReport, FirstSentenceAnswersTheQuestion) {
  const std::string both = result_of({}).headline;
  EXPECT_TRUE(
      both.starts_with("Both made a difference, in equal training time (25 s a run): "
                       "flash2 attention instead of naive lowered the validation loss by "))
      << both;
  EXPECT_TRUE(contains(both, "both together by 0.9")) << both;
  const std::string recipe = result_of({.attention = 0, .noise = 0.02}).headline;
  EXPECT_TRUE(recipe.starts_with("Recipe made the difference")) << recipe;
  EXPECT_TRUE(contains(recipe, "unresolved")) << recipe;
  const std::string none = result_of({.attention = 0, .recipe = 0, .noise = 0.02}).headline;
  EXPECT_TRUE(none.starts_with("Neither attention nor recipe brought a resolved gain")) << none;
  const std::string worse = result_of({.attention = 0.3, .recipe = 0.2}).headline;
  EXPECT_TRUE(worse.starts_with("Neither")) << worse;
  EXPECT_TRUE(contains(worse, "raised the validation loss by 0.3")) << worse;
}

TEST(StudyReport, CallsAnEffectUnresolvedWhenItsIntervalCoversZero) {
  const StudyResult result = result_of({.attention = 0.0005, .recipe = -0.6, .noise = 0.05});
  ASSERT_TRUE(result.factorial);
  EXPECT_FALSE(result.factorial->factors[0].loss.resolved());
  EXPECT_FALSE(result.factorial->interaction.resolved());
  const std::string text = joined(result);
  EXPECT_TRUE(contains(text, "has an unresolved effect on the validation loss")) << text;
  EXPECT_TRUE(contains(text, "whether the two effects simply add is unresolved")) << text;
}

TEST(StudyReport, CallsASpeedTheSameOnlyIfItsWholeIntervalIs) {
  const std::string folder = test_folder();
  write_study(folder, {});
  EXPECT_TRUE(contains(joined(analyse_study(folder)), "the same tokens a second and peak memory"));
  // The recipe's ratio of speeds is now 0.8, 1 and 1.25: 1 in the mean, and nothing is known.
  for (const auto& [seed, speed] : {std::pair(1, 8192.0), std::pair(3, 12800.0)})
    for (const char* attention : {"naive", "flash2"}) {
      const std::string file =
          fmt::format("{}/runs/{}-optimised-s{}/result.json", folder, attention, seed);
      nlohmann::json result = nlohmann::json::parse(read_file("test", file, 1 << 20));
      result["tokens_per_second"] = speed * (attention == std::string("flash2") ? 2 : 1);
      write_file("test", file, result.dump());
    }
  const std::string text = joined(analyse_study(folder));
  EXPECT_TRUE(contains(text, "1.00 times the tokens a second (unresolved: 0.")) << text;
  EXPECT_TRUE(contains(text, "the same peak memory to 2 %")) << text;
}

TEST(StudyReport, SaysHowTheTwoEffectsCombine) {
  const std::string more = joined(result_of({.interaction = -0.2}));
  EXPECT_TRUE(contains(more, "give more than the sum")) << more;
  const std::string less = joined(result_of({.interaction = 0.2}));
  EXPECT_TRUE(contains(less, "give less than the sum")) << less;
}

TEST(StudyReport, ClaimsNoMoreThanTheRunsShow) {
  const std::string text = joined(result_of({}));
  EXPECT_TRUE(contains(text, "the same to rounding")) << text;
  EXPECT_TRUE(contains(text, "which of model.dropout, optimizer.name makes the recipe's effect"))
      << text;
  EXPECT_TRUE(contains(text, "what dropout does")) << text;
  EXPECT_TRUE(contains(text, "1.32 M parameters, trained for 25 s")) << text;
}

TEST(StudyReport, LossesApartAtEqualTokensAreNotCalledRounding) {
  const std::string folder = test_folder();
  write_study(folder, {});
  write_run(folder + "/equal-tokens/flash2", {.name = "flash2", .final_loss = 5.7});
  const std::string text = joined(analyse_study(folder));
  EXPECT_FALSE(contains(text, "the same to rounding")) << text;
  EXPECT_TRUE(contains(text, "more than rounding explains")) << text;
}

TEST(StudyReport, SaysWhenTimesCameOutUnequal) {
  const std::string folder = test_folder();
  write_study(folder, {});
  for (const int64_t seed : {1, 2, 3})
    write_run(fmt::format("{}/runs/naive-baseline-s{}", folder, seed), {.seed = seed,
                                                                        .steps = 125,
                                                                        .attention = "naive",
                                                                        .final_loss = 6.5,
                                                                        .tokens_per_second = 6400});
  const std::string text = analyse_study(folder).headline;
  EXPECT_TRUE(contains(text, "planned for equal training time (25 s; they took 25 to 40 s)"))
      << text;
}

TEST(StudyReport, LeavesOutRunsThatDidNotFinishAndNamesThem) {
  const std::string folder = test_folder();
  write_study(folder, {.seeds = 4});
  fs::remove_all(folder + "/runs/naive-baseline-s2");
  write_run(folder + "/runs/flash2-optimised-s4", {.final_loss = 99, .state = "diverged"});
  const std::string lost = folder + "/runs/flash2-baseline-s3/result.json";
  nlohmann::json without_loss = nlohmann::json::parse(read_file("test", lost, 1 << 20));
  without_loss["val/loss"] = nullptr;
  write_file("test", lost, without_loss.dump());
  const StudyResult result = analyse_study(folder);
  ASSERT_TRUE(result.factorial);
  EXPECT_EQ(result.factorial->seeds, (std::vector<int64_t>{1}));
  EXPECT_EQ(result.arms[0].loss.n, 3);
  EXPECT_LT(result.arms[3].loss.estimate, 10);
  std::string notes;
  for (const std::string& note : result.notes) notes += note + "\n";
  EXPECT_TRUE(contains(notes, "naive-baseline-s2 is missing")) << notes;
  EXPECT_TRUE(contains(notes, "flash2-optimised-s4 is diverged")) << notes;
  EXPECT_TRUE(contains(notes, "flash2-baseline-s3 finished without a validation loss")) << notes;
  EXPECT_TRUE(contains(notes, "1 of 4 seeds")) << notes;
  write_study_report(folder, folder + "/report.html");
}

TEST(StudyReport, OneSeedGivesNoInterval) {
  const StudyResult result = result_of({.seeds = 1});
  EXPECT_TRUE(result.headline.starts_with("Not yet answered")) << result.headline;
  EXPECT_FALSE(contains(joined(result), "nan")) << joined(result);
  EXPECT_FALSE(contains(console_summary(result), "nan")) << console_summary(result);
}

TEST(StudyReport, AStudyWithoutRunsIsNotYetAnswered) {
  const std::string folder = test_folder();
  write_study(folder, {});
  fs::remove_all(folder + "/runs");
  fs::remove_all(folder + "/equal-tokens");
  const StudyResult result = analyse_study(folder);
  EXPECT_TRUE(result.headline.starts_with("Not yet answered")) << result.headline;
  write_study_report(folder, folder + "/report.html");
  EXPECT_TRUE(nlohmann::json::accept(study_json(result)));
}

TEST(StudyReport, ArmsThatAreNoFactorialAreRanked) {
  const std::string folder = test_folder();
  const double losses[] = {5.9, 5.5, 5.7};
  std::string arms;
  for (int a = 0; a < 3; ++a) {
    arms += fmt::format(R"({}{{"name": "lr-{}"}})", a ? ", " : "", a);
    for (const int64_t seed : {11, 12})
      write_run(
          fmt::format("{}/runs/lr-{}-s{}", folder, a, seed),
          {.seed = seed, .final_loss = losses[a] + 0.01 * static_cast<double>(seed * (a + 1) % 3)});
  }
  std::ofstream(folder + "/study.json")
      << R"({"name": "sweep", "seeds": [11, 12], "arms": [)" << arms << "]}";
  const StudyResult result = analyse_study(folder);
  EXPECT_FALSE(result.factorial);
  EXPECT_TRUE(result.headline.starts_with("lr-1 has the lowest validation loss"))
      << result.headline;
  EXPECT_TRUE(contains(joined(result), "Against lr-0, after Holm's correction for 2 comparisons: "))
      << joined(result);
  EXPECT_TRUE(contains(joined(result), "Fresh seeds confirm"));
  EXPECT_EQ(result.comparisons.size(), 2u);
  write_study_report(folder, folder + "/report.html");
  // Each with the one below it, if the study says so.
  std::ofstream(folder + "/study.json")
      << R"({"name": "sweep", "seeds": [11, 12], "compare": [{"arm": "lr-2", "reference": "lr-1"},
             {"arm": "lr-1", "reference": "lr-0"}], "arms": [)"
      << arms << "]}";
  const StudyResult stepwise = analyse_study(folder);
  ASSERT_EQ(stepwise.comparisons.size(), 2u);
  EXPECT_EQ(stepwise.comparisons[0].reference, "lr-1");
  EXPECT_GT(stepwise.comparisons[0].loss.estimate, 0.1);
  EXPECT_TRUE(contains(joined(stepwise), "lr-2 than lr-1")) << joined(stepwise);
}

// Whoever survives on a lucky seed is not the best, and those that all diverged are not
// "unresolved".
TEST(StudyReport, ArmsThatLostRunsRankBehind) {
  const std::string folder = test_folder();
  std::string arms;
  for (const char* arm : {"a", "b", "lucky", "gone"}) {
    arms += fmt::format(R"({}{{"name": "{}"}})", arms.empty() ? "" : ", ", arm);
    for (const int64_t seed : {1, 2, 3}) {
      const bool lost = arm == std::string("gone") || (arm == std::string("lucky") && seed > 1);
      const double loss = arm == std::string("a") ? 5.9 : arm == std::string("b") ? 5.5 : 5.1;
      write_run(fmt::format("{}/runs/{}-s{}", folder, arm, seed),
                {.seed = seed,
                 .final_loss = lost ? 99 : loss + 0.01 * static_cast<double>(seed),
                 .state = lost ? "diverged" : "finished"});
    }
  }
  write_file("test", folder + "/study.json",
             R"({"name": "sweep", "seeds": [1, 2, 3], "arms": [)" + arms + "]}");
  const StudyResult result = analyse_study(folder);
  EXPECT_TRUE(
      result.headline.starts_with("b has the lowest validation loss of the arms that lost no run"))
      << result.headline;
  EXPECT_EQ(best_arm(result, "")->name, "b");
  EXPECT_EQ(best_arm(result, "lucky")->name, "lucky");
  const std::string text = joined(result);
  EXPECT_TRUE(contains(text, "of lucky 2 of 3 runs diverged, of gone 3 of 3 runs diverged"))
      << text;
  EXPECT_TRUE(contains(text, "Against a: b better; lucky and gone not compared, for want of runs"))
      << text;
  EXPECT_FALSE(contains(text, "unresolved")) << text;
  for (const size_t at : result.front_of_seconds) EXPECT_NE(result.arms[at].name, "lucky");
}

// A run that is not done has not missed a target.
TEST(StudyReport, TargetsWaitForRunsThatAreNotDone) {
  const std::string folder = test_folder();
  for (const char* arm : {"a", "b"})
    for (const int64_t seed : {1, 2})
      write_run(fmt::format("{}/runs/{}-s{}", folder, arm, seed),
                {.seed = seed,
                 .final_loss = 5,
                 .state = arm == std::string("b") && seed == 2 ? "stopped" : "finished"});
  write_file("test", folder + "/study.json",
             R"({"name": "two", "seeds": [1, 2], "targets": [5.5],
                 "arms": [{"name": "a"}, {"name": "b"}]})");
  const StudyResult result = analyse_study(folder);
  ASSERT_EQ(result.targets.size(), 1u);
  EXPECT_EQ(result.targets[0].arms[1].runs, 1);
  EXPECT_EQ(result.targets[0].arms[1].reached, 1);
  EXPECT_TRUE(std::isfinite(result.targets[0].arms[1].seconds));
  ASSERT_TRUE(result.profile);
  EXPECT_EQ(result.profile->instances, 1u) << "the seed that both have done";
}

TEST(StudyReport, OneArmSaysWhatTheSeedsMake) {
  const std::string folder = test_folder();
  for (const int64_t seed : {1, 2, 3})
    write_run(fmt::format("{}/runs/a-s{}", folder, seed),
              {.seed = seed, .final_loss = 5 + 0.02 * static_cast<double>(seed)});
  std::ofstream(folder + "/study.json")
      << R"({"name": "noise", "seeds": [1, 2, 3], "arms": [{"name": "a"}]})";
  const StudyResult result = analyse_study(folder);
  ASSERT_EQ(result.arms.size(), 1u);
  std::vector<double> losses;
  for (const SeedResult& run : result.arms[0].runs) losses.push_back(run.loss);
  EXPECT_DOUBLE_EQ(result.arms[0].deviation.estimate, standard_deviation(losses));
  EXPECT_TRUE(contains(result.headline, "differ in nothing but the seed")) << result.headline;
  const nlohmann::json json = nlohmann::json::parse(study_json(result));
  EXPECT_EQ(json["arms"][0]["standard_deviation"]["n"], 3);
  EXPECT_GT(json["arms"][0]["logged_steps"].get<double>(), 0);
  EXPECT_EQ(json["arms"][0]["diverged"], 0);
  write_study_report(folder, folder + "/report.html");
  EXPECT_TRUE(contains(read_file("test", folder + "/report.html", 1 << 26), "Clipped steps"));
}

TEST(StudyReport, NamesWhatIsWrongWithAStudy) {
  const std::string folder = test_folder();
  fs::create_directories(folder);
  const auto message = [&](const std::string& json) {
    if (!json.empty()) std::ofstream(folder + "/study.json") << json;
    try {
      analyse_study(folder);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const std::pair<const char*, const char*> cases[] = {
      {"", "has no study.json"},
      {"{", "is not JSON"},
      {"[]", "is not a JSON object"},
      {"{}", "no list of seeds"},
      {R"({"seeds": ["a"], "arms": []})", "a seed is"},
      {R"({"seeds": [1], "arms": []})", "no list of arms"},
      {R"({"seeds": [1], "arms": [{}]})", "an arm has no name"},
      {R"({"seeds": [1], "arms": [{"name": "a"}], "equal_tokens": {"runs": {"a": "../../etc"}}})",
       "not inside"},
      {R"({"seeds": [1], "arms": [{"name": "a"}], "equal_tokens": {"runs": {"a": "/etc"}}})",
       "not inside"},
      {R"({"seeds": [1], "arms": [{"name": "../../a"}]})", "not inside"}};
  for (const auto& [json, expected] : cases)
    EXPECT_TRUE(contains(message(json), expected)) << json << ": " << message(json);
}

TEST(StudyReport, JsonHasEveryFigureAndTheConsoleTheTable) {
  const StudyResult result = result_of({});
  const nlohmann::json json = nlohmann::json::parse(study_json(result));
  EXPECT_EQ(json["answer"].get<std::string>(), result.headline);
  EXPECT_EQ(json["arms"].size(), 4u);
  EXPECT_EQ(json["arms"][0]["runs"].size(), 3u);
  EXPECT_EQ(json["factorial"]["factors"][1]["to"], "optimised");
  EXPECT_EQ(json["factorial"]["both"]["n"], 3);
  EXPECT_EQ(json["factorial"]["both"]["estimate"].get<double>(), result.factorial->both.estimate);
  EXPECT_EQ(json["equal_tokens"]["steps"], 40);
  const nlohmann::json charts = nlohmann::json::parse(study_json(result.folder))["charts"];
  EXPECT_EQ(charts["groups"].size(), 4u);
  EXPECT_EQ(charts["memory"].size(), 4u);
  const nlohmann::json& mean = charts["curves"][0]["lines"].back();
  EXPECT_EQ(mean["kind"], "mean");
  EXPECT_EQ(mean["y"].size(), mean["low"].size());
  EXPECT_LT(mean["low"][0], mean["y"][0]);
  const std::string summary = console_summary(result);
  for (const char* part : {"naive-baseline", "flash2-optimised", "unigram entropy", "bits per byte",
                           "Both made a difference", "half of the 95 % interval"})
    EXPECT_TRUE(contains(summary, part)) << part << "\n" << summary;
}

TEST(StudyReport, TargetsCountMissesAsInfinite) {
  const std::string folder = test_folder();
  write_study(folder, {});
  nlohmann::json study = nlohmann::json::parse(read_file("test", folder + "/study.json", 1 << 20));
  study["targets"] = {6.3, 5.7, 1.0};
  study["stopping_rule"] = "every arm is run with 3 seeds";
  write_file("test", folder + "/study.json", study.dump());
  write_run(folder + "/runs/naive-optimised-s1", {.final_loss = 99, .state = "diverged"});
  const StudyResult result = analyse_study(folder);
  ASSERT_EQ(result.targets.size(), 3u);
  const TargetResult& far = result.targets[1];
  EXPECT_TRUE(far.stated);
  EXPECT_EQ(far.arms[0].reached, 0) << "the baseline ends above it";
  EXPECT_TRUE(std::isinf(far.arms[0].seconds));
  EXPECT_EQ(far.arms[3].reached, 3);
  EXPECT_TRUE(std::isfinite(far.arms[3].seconds));
  EXPECT_EQ(far.arms[3].flops, far.arms[3].tokens * 7e6) << "what the run wrote of it";
  EXPECT_LE(result.targets[0].arms[3].steps, far.arms[3].steps);
  for (const ArmTarget& arm : result.targets[2].arms) EXPECT_EQ(arm.reached, 0);
  ASSERT_TRUE(result.profile);
  EXPECT_EQ(result.profile->instances, 6u) << "of what nobody reaches nothing is said";
  EXPECT_LT(result.profile->score[0], result.profile->score[3]);
  const nlohmann::json json = nlohmann::json::parse(study_json(result));
  EXPECT_TRUE(json["targets"][1]["arms"][0]["median_seconds"].is_null());
  EXPECT_EQ(json["targets"][1]["arms"][0]["reached"], 0);
  EXPECT_EQ(json["stopping_rule"], "every arm is run with 3 seeds");
  write_study_report(folder, folder + "/report.html");
  EXPECT_TRUE(
      contains(read_file("test", folder + "/report.html", 1 << 26), "Stated before the first run"));
}

// By hand: logarithms of what reach() finds in the runs' own events.
TEST(StudyReport, TimeToATargetSplitsIntoStepsAndTheirTime) {
  const std::string folder = test_folder();
  write_study(folder, {});
  nlohmann::json study = nlohmann::json::parse(read_file("test", folder + "/study.json", 1 << 20));
  study["targets"] = {6.6, 5.7};
  write_file("test", folder + "/study.json", study.dump());
  const StudyResult result = analyse_study(folder);
  const auto& split = result.targets[0].split;
  ASSERT_TRUE(split);
  ASSERT_EQ(split->seconds.size(), 3u);
  EXPECT_EQ(split->seeds, 3u);
  double effects[3] = {};  // attention, recipe, interaction
  for (int seed = 1; seed <= 3; ++seed) {
    double time[2][2];
    for (int a = 0; a < 2; ++a)
      for (int r = 0; r < 2; ++r) {
        const std::string run = fmt::format("{}/runs/{}-{}-s{}", folder, a ? "flash2" : "naive",
                                            r ? "optimised" : "baseline", seed);
        time[a][r] = std::log(reach(read_run(run), "val/loss", 6.6).seconds);
      }
    effects[0] += (time[1][0] - time[0][0] + time[1][1] - time[0][1]) / 2 / 3;
    effects[1] += (time[0][1] - time[0][0] + time[1][1] - time[1][0]) / 2 / 3;
    effects[2] += (time[1][1] - time[1][0] - time[0][1] + time[0][0]) / 3;
  }
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(split->seconds[i].effect.estimate, effects[i], 1e-12);
    EXPECT_NEAR(split->steps[i].effect.estimate + split->seconds_a_step[i].effect.estimate,
                effects[i], 1e-12);
  }
  EXPECT_FALSE(result.targets[1].split) << "an arm never reaches it";
  const nlohmann::json json = nlohmann::json::parse(study_json(result));
  EXPECT_EQ(json["targets"][0]["split"]["log_steps"].size(), 3u);
  EXPECT_TRUE(json["targets"][1]["split"].is_null());
  write_study_report(folder, folder + "/report.html");
  EXPECT_TRUE(contains(read_file("test", folder + "/report.html", 1 << 26), "seconds a step"));
}

TEST(StudyReport, AFactorialOfAnySizeHasItsEffects) {
  const std::string folder = test_folder();
  const double lr[] = {0, -0.2, -0.3}, decay[] = {0, 0.1};
  std::string arms;
  for (int a = 0; a < 3; ++a)
    for (int b = 0; b < 2; ++b) {
      const std::string name = fmt::format("lr{}-wd{}", a, b);
      arms += fmt::format(R"({}{{"name": "{}", "levels": {{"lr": "lr{}", "decay": "wd{}"}}}})",
                          arms.empty() ? "" : ", ", name, a, b);
      for (const int64_t seed : {1, 2, 3})
        write_run(fmt::format("{}/runs/{}-s{}", folder, name, seed),
                  {.seed = seed,
                   .final_loss = 6 + lr[a] + decay[b] + (a == 2 && b == 1 ? 0.4 : 0) +
                                 0.05 * static_cast<double>(seed) +
                                 0.001 * static_cast<double>((seed * 7 + a * 3 + b) % 5)});
    }
  std::ofstream(folder + "/study.json")
      << R"({"name": "grid", "seeds": [1, 2, 3], "factors": {"lr": ["lr0", "lr1", "lr2"], "decay": ["wd0", "wd1"]}, "arms": [)"
      << arms << "]}";
  const StudyResult result = analyse_study(folder);
  ASSERT_TRUE(result.effects);
  EXPECT_FALSE(result.factorial);
  EXPECT_EQ(result.effects->seeds, 3u);
  ASSERT_EQ(result.effects->contrasts.size(), 5u);
  EXPECT_NEAR(result.effects->contrasts[0].effect.estimate, -0.2, 0.005);
  EXPECT_NEAR(result.effects->contrasts[1].effect.estimate, -0.1, 0.005);
  EXPECT_NEAR(result.effects->contrasts[4].effect.estimate, 0.4, 0.005);
  EXPECT_EQ(result.effects->variance.size(), 3u);
  EXPECT_TRUE(contains(joined(result),
                       "Significant after Holm's correction for 5 main effects and "
                       "interactions: lr: lr1 − lr0"))
      << joined(result);
  write_study_report(folder, folder + "/report.html");
  const nlohmann::json json = nlohmann::json::parse(study_json(result));
  EXPECT_EQ(json["effects"]["analysis_of_variance"].size(), 3u);
  EXPECT_EQ(json["effects"]["contrasts"][4]["interaction"], true);
}

TEST(StudyReport, AnOutcomeOtherThanTheLossIsNamed) {
  const std::string folder = test_folder();
  write_study(folder, {});
  nlohmann::json study = nlohmann::json::parse(read_file("test", folder + "/study.json", 1 << 20));
  study["outcome"] = "val/bits_per_byte";
  write_file("test", folder + "/study.json", study.dump());
  const StudyResult result = analyse_study(folder);
  EXPECT_EQ(result.arms[0].loss.estimate, result.arms[0].bits_per_byte.estimate);
  EXPECT_TRUE(contains(result.headline, "bits a byte")) << result.headline;
  const auto json = nlohmann::json::parse(study_json(result));
  EXPECT_EQ(json["outcome"], "val/bits_per_byte");
  EXPECT_EQ(json["arms"][0]["value"]["estimate"], json["arms"][0]["val/bits_per_byte"]["estimate"]);
  EXPECT_FALSE(json["arms"][0].contains("val/loss")) << "it is not what was compared";
  EXPECT_EQ(json["arms"][0]["runs"][0]["value"], json["arms"][0]["runs"][0]["val/bits_per_byte"]);
  EXPECT_EQ(result.in_unit(1, 2), 2) << "the text's entropy stands in the outcome's unit";
  study["outcome"] = "seconds";
  write_file("test", folder + "/study.json", study.dump());
  const StudyResult seconds = analyse_study(folder);
  EXPECT_EQ(seconds.arms[0].loss.estimate, seconds.arms[0].seconds);
  EXPECT_EQ(seconds.noun, "training time");
  EXPECT_TRUE(std::isnan(seconds.in_unit(1, 2)));
}

TEST(StudyReport, WhatIsNotCompressedHasNoBitsPerByte) {
  StudyResult result;
  result.noun = "validation error";
  ArmResult arm;
  arm.name = "a", arm.loss = {0.25, 0.2, 0.3, 3};
  arm.bits_per_byte.estimate = NAN;
  result.arms = {arm};
  EXPECT_TRUE(contains(console_summary(result), "validation error"));
  EXPECT_FALSE(contains(console_summary(result), "bits per byte")) << console_summary(result);
}

TEST(StudyReport, TextOfAStudyIsEscaped) {
  const std::string folder = test_folder();
  write_study(folder, {.question = "</script><script>alert(1)</script>"});
  write_study_report(folder, folder + "/report.html");
  const std::string page = read_file("test", folder + "/report.html", 1 << 26);
  EXPECT_FALSE(contains(page, "<script>alert(1)"));
  EXPECT_TRUE(contains(page, "&lt;script&gt;alert(1)&lt;/script&gt;"));
}

}  // namespace
}  // namespace strobe
