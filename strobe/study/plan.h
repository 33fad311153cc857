// From seconds to steps, or to tokens where the batch varies: how long each arm of a study trains,
// frozen before its first run.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "strobe/config/config.h"
#include "strobe/study/study_file.h"

namespace strobe {

// Time of a run over that of its training, until one has been seen: start, evaluation, saving.
inline constexpr double kUsualOverhead = 1.15;

/// A run's length as its configuration has it: "train.tokens", and how many.
std::pair<std::string, double> own_length(const Config& config);

struct ArmPlan {
  int64_t steps = 0;  // of a run; of one whose batch varies the fewest, as its tokens end it
  double tokens_per_second = 0, tokens_per_step = 0;
  bool even = true;  // every step has tokens_per_step tokens; if not, that is the most

  double tokens() const { return static_cast<double>(steps) * tokens_per_step; }
  /// The override that gives a run its length: steps, or tokens if they are uneven.
  std::string length() const;
};

struct StudyPlan {
  double seconds = 0;                   // of training, for each run
  std::map<std::string, ArmPlan> arms;  // by name
  bool disturbed = false;               // while timing, rounds of an arm never agreed
};

/// Times a few steps of an arm: all of its plan but `steps`.
using TimeArm = std::function<ArmPlan(const StudyArm&)>;

/// Times the arms alternately, until each has two rounds that agree, and gives each the steps that
/// fit into the budget's seconds. All arms get the same seconds, lengthened until those of
/// `budget.min_tokens_arms` see `budget.min_tokens`. Throws Error for a budget of less than one
/// step.
StudyPlan make_plan(const StudyFile& study, const TimeArm& time_arm);

void write_plan(const StudyPlan& plan, const std::string& file);
/// Throws Error unless the file is a plan of this study's arms.
StudyPlan read_plan(const StudyFile& study, const std::string& file);

/// One line an arm, for a terminal.
std::string to_string(const StudyPlan& plan, const StudyFile& study);

}  // namespace strobe
