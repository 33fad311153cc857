// A study's folder: where things are in it, and what its runs came to.
//
//   study.toml, base.toml  the study file and the recipe it varies, as they were at its beginning
//   plan.json              length of each arm, frozen: what makes the study repeatable
//   study.json             what the report needs beside the runs (strobe/report/study_report.h)
//   journal.log            the trials, in Optuna's format (strobe/report/journal.h)
//   runs/<name>-s<seed>/   run folders
//   equal-tokens/<level>/  run folders of the comparison at equal tokens
//   workers/, lock         held by the processes that work on it
#pragma once

#include <limits>
#include <string>

#include "strobe/study/study_file.h"

namespace strobe {

/// "finished", "stopped", "diverged", "failed", or "" where a run folder has no result.
std::string run_state(const std::string& run);

/// The figures of a run's result.json; NaN for what it does not have.
struct RunFigures {
  double outcome = std::numeric_limits<double>::quiet_NaN();
  double tokens = outcome, seconds = outcome, peak_bytes = outcome;
  double flops = outcome;
};
RunFigures run_figures(const std::string& run, const std::string& outcome);

/// Makes the folder, or checks that it holds this study and no other, and keeps copies of the study
/// file and the recipe. Throws Error otherwise.
void claim_study_folder(const StudyFile& study, const std::string& folder);

}  // namespace strobe
