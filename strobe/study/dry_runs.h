// What the program says of a configuration without training: can it run, and what are its sizes?
#pragma once

#include <string>
#include <vector>

#include "strobe/study/child.h"
#include "strobe/study/study.h"
#include "strobe/study/study_file.h"

namespace strobe {

/// NaN: the program did not say.
struct RunSizes {
  double tokens_per_step, flops_per_step, planned_steps;
  double evaluation_tokens;  // of all evaluations of a run
};

class DryRuns {
 public:
  /// Of the recipe of a study with the overrides that `options` has for every run. `options` must
  /// outlive this.
  DryRuns(std::string recipe, const StudyOptions& options)
      : recipe_(std::move(recipe)), options_(options) {}

  ChildResult of(const std::vector<std::string>& overrides) const;
  /// Throws Error, naming `what`, for what cannot run.
  RunSizes sizes(const std::vector<std::string>& overrides, const std::string& what) const;
  /// Overrides for the middle of the arm's space, or if that cannot run, for another point of it:
  /// one that cannot is a trial that fails. Throws Error, naming `what`, if none can.
  std::vector<std::string> one_that_runs(const StudyFile& study, const StudyArm& arm,
                                         const std::string& what) const;

  const std::string& recipe() const { return recipe_; }
  bool stopped() const { return options_.stop && options_.stop(); }

 private:
  std::string recipe_;
  const StudyOptions& options_;
};

}  // namespace strobe
