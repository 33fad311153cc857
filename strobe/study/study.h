// Running a study: every arm with every seed, as child processes.
//
// A study is a folder: study.toml (the file it came from), plan.json (steps of each arm, frozen),
// study.json (arms, factors, the text's entropies, the comparison at equal tokens),
// runs/<arm>-s<seed>/ (run folders), equal-tokens/<level>/ and report.html.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "strobe/study/study_file.h"

namespace strobe {

struct StudyOptions {
  std::string program;         // the strobe that trains
  std::function<bool()> stop;  // asked while runs go on
  bool plan_only = false;
};

/// Steps of each arm, by its name; 0: the recipe's own length.
using StudyPlan = std::map<std::string, int64_t>;

/// Runs what is not finished yet in `folder`. Returns false if it was stopped. Failed runs are
/// recorded by their result.json (or its absence) and do not end the study. Throws Error if the
/// folder holds another study.
bool run_study(const StudyFile& study, const std::string& folder, const StudyOptions& options);

/// "finished", "stopped", "diverged", or "" where a run folder has no result.
std::string run_state(const std::string& run);

}  // namespace strobe
