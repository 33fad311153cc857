// Before the first run of a study: can its arms run, how long are they, what will it cost, and what
// can it resolve?
#pragma once

#include <string>
#include <vector>

#include "strobe/study/arm_checks.h"
#include "strobe/study/dry_runs.h"
#include "strobe/study/plan.h"
#include "strobe/study/study.h"
#include "strobe/study/study_file.h"

namespace strobe {

class SetUp {
 public:
  /// `folder` is the study's; its base.toml is there. `study` and `options` must outlive
  /// this.
  SetUp(const StudyFile& study, std::string folder, const StudyOptions& options)
      : study_(study),
        folder_(std::move(folder)),
        options_(options),
        runs_(folder_ + "/base.toml", options) {}

  void check() const { check_arms(study_, runs_); }
  /// Says what will run. Seconds of arms become steps or tokens once and are kept in plan.json, so
  /// that the study can be repeated bit for bit.
  StudyPlan plan() const;
  /// Operations, from a dry run.
  double flops_per_token(const std::vector<std::string>& overrides, const std::string& what) const;

 private:
  ArmPlan time_arm(const StudyArm& arm, const std::string& vocab, bool guess = false) const;
  std::string vocab() const;
  void plan_search() const;
  StudyArm usual_arm() const;
  void check_seconds(const ArmPlan& timed) const;
  double usual_seconds() const;
  double evaluation_seconds(const RunSizes& sizes, const ArmPlan& timed) const;
  void say_cost(double seconds, double all) const;
  void say_precision() const;

  const StudyFile& study_;
  std::string folder_;
  const StudyOptions& options_;
  DryRuns runs_;
};

}  // namespace strobe
