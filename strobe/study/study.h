// Running a study (its folder: strobe/study/study_folder.h): every arm with every seed, or a search
// and the confirmation of its best, as child processes.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "strobe/study/study_file.h"

namespace strobe {

struct StudyOptions {
  /// The program that trains. Called as
  ///   PROGRAM bench step RECIPE KEY=VALUE ... --steps N --vocab V --json
  ///   PROGRAM train RECIPE KEY=VALUE ... (--run DIR --no-notices | --dry-run --json)
  ///   PROGRAM resume DIR --no-notices
  std::string program;
  std::function<bool()> stop;               // asked while runs go on
  bool plan_only = false;                   // everything up to the first run
  std::vector<std::string> overrides = {};  // for every run: threads, say
  std::function<void()> ready = {};         // called when all is set up, before the first run
  double guess_seconds = 40;                // beyond which to guess a plan's cost is given up
};

struct StudyOutcome {
  bool stopped = false;
  // Trials, earlier ones too; one that was pruned is finished, one that diverged has failed.
  int finished = 0, failed = 0;
};

/// Checks, plans, and works on the study until nothing is left to do; other processes may work on
/// it at the same time. What was stopped is resumed, and so is what a process that died left
/// behind. A run that ends without a result is a failed trial, and the study goes on; without a
/// search it is tried again the next time, unless it diverged. Throws Error if an arm cannot run,
/// or the folder holds something else.
StudyOutcome run_study(const StudyFile& study, const std::string& folder,
                       const StudyOptions& options);

}  // namespace strobe
