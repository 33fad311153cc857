#include "strobe/study/trials.h"

#include <algorithm>
#include <limits>

#include "strobe/core/error.h"

namespace strobe {

const std::string& worker_of(const Trial& trial) {
  static const std::string nobody;
  const auto at = trial.system_attrs.find(kWorkerAttr);
  return at == trial.system_attrs.end() ? nobody : at->second;
}

bool under_way(const Trial& trial) { return !trial.ended() && !worker_of(trial).empty(); }

bool waits(const Trial& trial) { return !trial.ended() && worker_of(trial).empty(); }

const StudyArm& arm_of(const StudyFile& study, const Trial& trial) {
  for (const StudyArm& arm : study.arms)
    if (arm.name == trial.attr("arm")) return arm;
  fail("study: trial {} of the journal is of the arm '{}', which this study does not have",
       trial.number, trial.attr("arm"));
}

Point point_of(const Space& space, const Trial& trial) {
  Point out;
  for (const Parameter& p : space) {
    const auto at = trial.params.find(p.name);
    out.push_back(at == trial.params.end() ? std::numeric_limits<double>::quiet_NaN() : at->second);
  }
  return out;
}

std::vector<std::string> overrides_of(const StudyFile& study, const Trial& trial) {
  const StudyArm& arm = arm_of(study, trial);
  std::vector<std::string> out = arm.overrides;
  const Space space = study.space_of(arm);
  for (std::string& override : overrides_of(space, point_of(space, trial)))
    out.push_back(std::move(override));
  return out;
}

const Trial* trial_of(const std::vector<Trial>& trials, const std::string& phase,
                      const std::string& name, int64_t seed) {
  const std::string text = fmt::format("{}", seed);
  for (auto trial = trials.rbegin(); trial != trials.rend(); ++trial)
    if (trial->attr("phase") == phase && trial->attr("name") == name && trial->attr("seed") == text)
      return &*trial;
  return nullptr;
}

std::vector<const Trial*> searched(const std::vector<Trial>& trials, const StudyArm& arm) {
  std::vector<const Trial*> out;
  for (const Trial& trial : trials)
    if (trial.attr("phase") == "search" && trial.attr("arm") == arm.name) out.push_back(&trial);
  return out;
}

std::map<int64_t, std::vector<const Trial*>> points_of(const std::vector<Trial>& trials,
                                                       const StudyArm& arm) {
  std::map<int64_t, std::vector<const Trial*>> out;
  for (const Trial* trial : searched(trials, arm))
    out[static_cast<int64_t>(trial->number_attr("point"))].push_back(trial);
  return out;
}

std::vector<Candidate> candidates(const std::vector<Trial>& trials, const StudyArm& arm) {
  std::vector<Candidate> out;
  for (const auto& [index, of_point] : points_of(trials, arm)) {
    Candidate one{of_point[0]->attr("name"), of_point[0]->number, 0, 0, 0};
    for (const Trial* trial : of_point) {
      if (trial->state == TrialState::complete) one.value += trial->value, ++one.complete;
      one.failed += trial->state == TrialState::failed;
    }
    if (one.complete == 0) continue;
    one.value /= static_cast<double>(one.complete);
    out.push_back(std::move(one));
  }
  std::stable_sort(out.begin(), out.end(), [&](const Candidate& a, const Candidate& b) {
    if (a.failed != b.failed) return a.failed < b.failed;
    return a.complete != b.complete ? a.complete > b.complete : a.value < b.value;
  });
  return out;
}

}  // namespace strobe
