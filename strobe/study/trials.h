// What the trials of a study's journal stand for.
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

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "strobe/report/journal.h"
#include "strobe/study/study_file.h"

namespace strobe {

inline constexpr const char* kWorkerAttr = "strobe:worker";

/// The process that works on it; "" of none.
const std::string& worker_of(const Trial& trial);
/// A process works on it, or is to find that the one that did has died.
bool under_way(const Trial& trial);
/// It has not ended, and waits to be compared with others.
bool waits(const Trial& trial);

const StudyArm& arm_of(const StudyFile& study, const Trial& trial);
/// Its point in the arm's space.
Point point_of(const Space& space, const Trial& trial);
/// "key=value" of the arm and the point.
std::vector<std::string> overrides_of(const StudyFile& study, const Trial& trial);

/// The trial that counts for a point and a seed: the newest; nullptr if there is none.
const Trial* trial_of(const std::vector<Trial>& trials, const std::string& phase,
                      const std::string& name, int64_t seed);

/// Those of an arm's search; and by their points, each with a trial a seed.
std::vector<const Trial*> searched(const std::vector<Trial>& trials, const StudyArm& arm);
std::map<int64_t, std::vector<const Trial*>> points_of(const std::vector<Trial>& trials,
                                                       const StudyArm& arm);

/// The points of an arm's search that have a value, best first. Those that have one for more seeds
/// come before: a pruner may let each seed choose other points.
struct Candidate {
  std::string name;
  int64_t trial;            // one of its trials
  size_t failed, complete;  // seeds
  double value;             // mean over those that are complete
};
std::vector<Candidate> candidates(const std::vector<Trial>& trials, const StudyArm& arm);

}  // namespace strobe
