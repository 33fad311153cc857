#include "strobe/study/plan.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/core/file.h"

namespace strobe {

namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kLargestPlan = 1 << 24;
// The arms are timed until the two best rounds of each agree to this share.
constexpr double kAgree = 0.9;
constexpr int kFewestRounds = 2, kMostRounds = 6;

// What else the machine does can only slow an arm down: the best round counts, once another is
// nearly as good.
struct Timing {
  ArmPlan best;
  double second_best = 0;

  void add(const ArmPlan& timed) {
    second_best = std::max(second_best, std::min(best.tokens_per_second, timed.tokens_per_second));
    if (timed.tokens_per_second > best.tokens_per_second) best = timed;
  }
  bool settled() const { return second_best >= kAgree * best.tokens_per_second; }
};

}  // namespace

std::pair<std::string, double> own_length(const Config& config) {
  const TrainConfig& t = config.train;
  if (t.steps) return {"train.steps", static_cast<double>(*t.steps)};
  for (const auto& [key, value] : {std::pair("train.tokens", t.tokens),
                                   {"train.epochs", t.epochs},
                                   {"train.seconds", t.seconds}})
    if (value) return {key, *value};
  fail("study: the recipe has no length; give it one, or the study a budget");
}

std::string ArmPlan::length() const {
  return even ? fmt::format("train.steps={}", steps) : fmt::format("train.tokens={:.0f}", tokens());
}

StudyPlan make_plan(const StudyFile& study, const TimeArm& time_arm) {
  std::map<std::string, Timing> timings;
  bool settled = false;
  for (int round = 0; round < kFewestRounds || (!settled && round < kMostRounds); ++round) {
    for (const StudyArm& arm : study.arms) timings[arm.name].add(time_arm(arm));
    settled = std::all_of(timings.begin(), timings.end(),
                          [](const auto& timing) { return timing.second.settled(); });
  }

  StudyPlan plan;
  plan.disturbed = !settled;
  for (const auto& [name, timing] : timings) plan.arms[name] = timing.best;
  plan.seconds = study.seconds;
  for (const StudyArm& arm : study.arms)
    if (study.needs_tokens(arm))
      plan.seconds =
          std::max(plan.seconds, study.min_tokens / plan.arms[arm.name].tokens_per_second);
  for (auto& [name, arm] : plan.arms) {
    arm.steps = std::llround(plan.seconds * arm.tokens_per_second / arm.tokens_per_step);
    if (arm.steps < 1)
      fail("study: a budget of {} s is less than one step of the arm '{}', which takes {:.3g} s",
           plan.seconds, name, arm.tokens_per_step / arm.tokens_per_second);
  }
  return plan;
}

void write_plan(const StudyPlan& plan, const std::string& file) {
  Json json = {{"seconds", plan.seconds}, {"arms", Json::object()}};
  for (const auto& [name, arm] : plan.arms)
    json["arms"][name] = {{"steps", arm.steps},
                          {"tokens_per_second", arm.tokens_per_second},
                          {"tokens_per_step", arm.tokens_per_step},
                          {"even", arm.even}};
  write_file("study", file, json.dump(2) + "\n");
}

StudyPlan read_plan(const StudyFile& study, const std::string& file) {
  try {
    const Json json = Json::parse(read_file("study", file, kLargestPlan));
    StudyPlan plan{json.at("seconds").get<double>(), {}};
    for (const StudyArm& arm : study.arms) {
      const Json& entry = json.at("arms").at(arm.name);
      plan.arms[arm.name] = {entry.at("steps").get<int64_t>(),
                             entry.at("tokens_per_second").get<double>(),
                             entry.at("tokens_per_step").get<double>(), entry.value("even", true)};
    }
    return plan;
  } catch (const Json::exception& error) {
    fail("study: {} is not a plan of this study: {}; without the file the arms are timed again",
         file, error.what());
  }
}

std::string to_string(const StudyPlan& plan, const StudyFile& study) {
  std::string out;
  for (const StudyArm& arm : study.arms) {
    const ArmPlan& p = plan.arms.at(arm.name);
    out += fmt::format("  {:<24} {:>6} steps{}, {:>9.0f} tokens at {:.0f} tokens/s\n", arm.name,
                       p.steps, p.even ? "" : " or more, as the batch varies", p.tokens(),
                       p.tokens_per_second);
  }
  if (plan.disturbed)
    out += "the machine is busy: times differ from round to round, and so will those of the runs\n";
  return out;
}

}  // namespace strobe
