// What a process of a study does next: a function of the study file and the journal alone, so that
// any number of processes agree and any of them may die.
//
// A trial is one point (an arm, or a point of its search) with one seed. Its attributes say which:
//   phase   "arms": every arm with every seed; "search": points of a search; "confirm": the best of
//           a search, again, on fresh seeds
//   name    of the point: "flash2-baseline", "p7", "muon-p7", "base"; its runs are
//           runs/<name>-s<seed> and, for a rung, runs/<name>-s<seed>-r<percent>
//   arm, point, seed, and once known wall, tokens, flops, share, reason (of a failure)
// The system attribute "strobe:worker" names the process that works on it; "" while it waits to be
// compared with others.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "strobe/report/journal.h"
#include "strobe/study/study_file.h"
#include "strobe/study/trial_store.h"

namespace strobe {

inline constexpr const char* kWorkerAttr = "strobe:worker";

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

/// After a rung.
enum class Verdict { go_on, wait, prune };
Verdict after_rung(const StudyFile& study, const std::vector<Trial>& trials, const Trial& trial,
                   int64_t percent, double value);

const StudyArm& arm_of(const StudyFile& study, const Trial& trial);
/// Its point in the arm's space.
Point point_of(const Space& space, const Trial& trial);
/// "key=value" of the arm and the point.
std::vector<std::string> overrides_of(const StudyFile& study, const Trial& trial);

/// The points of an arm's search that have a value, best first. Those that have one for more seeds
/// come before: a pruner may let each seed choose other points.
struct Candidate {
  std::string name;
  int64_t trial;            // one of its trials
  size_t failed, complete;  // seeds
  double value;             // mean over those that are complete
};
std::vector<Candidate> candidates(const StudyFile& study, const StudyArm& arm,
                                  const std::vector<Trial>& trials);

/// The trial that counts for a point and a seed: the newest; nullptr if there is none.
const Trial* trial_of(const std::vector<Trial>& trials, const std::string& phase,
                      const std::string& name, int64_t seed);

}  // namespace strobe
