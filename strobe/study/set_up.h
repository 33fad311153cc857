// Before the first run of a study: can its arms run, how long are they, what will it cost, and what
// can it resolve?
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "strobe/config/config.h"
#include "strobe/study/plan.h"
#include "strobe/study/study.h"
#include "strobe/study/study_file.h"

namespace strobe {

// Time of a run over that of its training, until one has been seen: start, evaluation, saving.
inline constexpr double kUsualOverhead = 1.15;

/// A run's length as its configuration has it: "train.tokens", and how many.
std::pair<std::string, double> own_length(const Config& config);

class SetUp {
 public:
  /// `folder` is the study's; its base.toml is there. All three must outlive this.
  SetUp(const StudyFile& study, std::string folder, const StudyOptions& options)
      : study_(study),
        folder_(std::move(folder)),
        recipe_(folder_ + "/base.toml"),
        options_(options) {}

  /// Throws Error if an arm cannot run at some points of its space, if it cannot give the outcome,
  /// if a choice has an unknown name, or if one step is longer than the shortest run of the study.
  void check() const;
  /// Says what will run. Seconds of arms become steps once and are kept in plan.json, so that the
  /// study can be repeated bit for bit.
  StudyPlan plan() const;
  /// Operations, from a dry run.
  double flops_per_token(const std::vector<std::string>& overrides, const std::string& what) const;

 private:
  std::vector<std::string> one_that_runs(const StudyArm& arm, const std::string& what) const;
  void check_labels(const StudyArm& arm, std::set<std::string>& noted) const;
  void note_unread(const StudyArm& arm, const std::vector<std::string>& overrides,
                   std::set<std::string>& noted) const;
  void note_overridden() const;
  void check_outcome(const StudyArm& arm, const std::vector<std::string>& overrides,
                     const std::string& what) const;
  ArmPlan time_arm(const StudyArm& arm, const std::string& vocab, bool guess = false) const;
  std::string vocab() const;
  void plan_search() const;
  StudyArm usual_arm() const;
  void check_seconds() const;
  double usual_seconds() const;
  void say_cost(double seconds, double all) const;
  void say_precision() const;
  bool stopped() const { return options_.stop && options_.stop(); }

  const StudyFile& study_;
  std::string folder_, recipe_;
  const StudyOptions& options_;
};

}  // namespace strobe
