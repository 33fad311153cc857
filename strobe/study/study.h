// Running a study: every arm with every seed, as child processes.
//
// A study is a folder:
//   study.toml, base.toml  the study file and the recipe it varies, as they were at its beginning
//   plan.json              steps of each arm, frozen: what makes the study repeatable
//   study.json             what the report needs beside the runs (strobe/report/study_report.h)
//   runs/<arm>-s<seed>/    run folders
//   equal-tokens/<level>/  run folders of the comparison at equal tokens
//   lock                   held by the process that runs it
#pragma once

#include <functional>
#include <string>

#include "strobe/study/study_file.h"

namespace strobe {

struct StudyOptions {
  /// The program that trains. Called as
  ///   PROGRAM bench step RECIPE KEY=VALUE ... --steps N --vocab V --json
  ///   PROGRAM train RECIPE KEY=VALUE ... (--run DIR | --dry-run)
  ///   PROGRAM resume DIR
  std::string program;
  std::function<bool()> stop;  // asked while runs go on
  bool plan_only = false;      // everything up to the first run
};

struct StudyOutcome {
  bool stopped = false;
  int finished = 0, failed = 0;  // runs, earlier ones too; a run that diverged counts as failed
};

/// Checks every arm, plans, and runs what is not finished yet, seed by seed. A run that was
/// stopped is resumed, one that failed is tried again, one that diverged is left. A run that ends
/// without a result gets a result.json with the state "failed", and the study goes on. Throws Error
/// if an arm cannot run, or the folder holds something else or is at work in another process.
StudyOutcome run_study(const StudyFile& study, const std::string& folder,
                       const StudyOptions& options);

/// "finished", "stopped", "diverged", "failed", or "" where a run folder has no result.
std::string run_state(const std::string& run);

}  // namespace strobe
