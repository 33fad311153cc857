#include "strobe/study/plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/core/file.h"

namespace strobe {

namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kLargestPlan = 1 << 24;
// Every arm is timed at least twice, and more often while that takes little.
constexpr int kFewestRounds = 2, kMostRounds = 5;
constexpr double kTimingSeconds = 8;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

StudyPlan make_plan(const StudyFile& study, const TimeArm& time_arm) {
  StudyPlan plan;
  // What else the machine does can only slow an arm down: the best round counts.
  const double begin = now();
  for (int round = 0;
       round < kFewestRounds || (round < kMostRounds && now() - begin < kTimingSeconds); ++round)
    for (const StudyArm& arm : study.arms) {
      const ArmPlan timed = time_arm(arm);
      ArmPlan& best = plan.arms[arm.name];
      if (timed.tokens_per_second > best.tokens_per_second) best = timed;
    }

  plan.seconds = study.seconds;
  for (const StudyArm& arm : study.arms)
    if (study.needs_tokens(arm))
      plan.seconds =
          std::max(plan.seconds, study.min_tokens / plan.arms[arm.name].tokens_per_second);
  for (auto& [name, arm] : plan.arms) {
    arm.steps = std::llround(plan.seconds * arm.tokens_per_second / arm.tokens_per_step);
    if (arm.steps < 1)
      fail("study: a budget of {} s is less than one step of the arm '{}', which takes {:.1f} s",
           plan.seconds, name, arm.tokens_per_step / arm.tokens_per_second);
  }
  return plan;
}

void write_plan(const StudyPlan& plan, const std::string& file) {
  Json json = {{"seconds", plan.seconds}, {"arms", Json::object()}};
  for (const auto& [name, arm] : plan.arms)
    json["arms"][name] = {{"steps", arm.steps},
                          {"tokens_per_second", arm.tokens_per_second},
                          {"tokens_per_step", arm.tokens_per_step}};
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
                             entry.at("tokens_per_step").get<double>()};
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
    out += fmt::format("  {:<24} {:>6} steps, {:>9.0f} tokens at {:.0f} tokens/s\n", arm.name,
                       p.steps, p.tokens(), p.tokens_per_second);
  }
  return out;
}

}  // namespace strobe
