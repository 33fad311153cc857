// What a process of a study does next: a function of the study file and the journal alone, so that
// any number of processes agree and any of them may die.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "strobe/report/journal.h"
#include "strobe/study/study_file.h"
#include "strobe/study/trial_store.h"

namespace strobe {

struct Job {
  enum class Kind { run, wait, done };
  Kind kind = Kind::done;
  int64_t trial = -1;             // the trial to go on with ...
  std::optional<NewTrial> fresh;  // ... or to begin
  std::vector<int64_t> close;     // trials that will not go on: pruned
};

/// `alive` tells whether a process still runs. Failed trials of the phases "arms" and "confirm"
/// with numbers below `retry_below` are tried again.
Job next_job(const StudyFile& study, const std::vector<Trial>& trials, int64_t retry_below,
             const std::function<bool(const std::string& worker)>& alive);

}  // namespace strobe
