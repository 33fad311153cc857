// The pruners of a search: which trials go on after a rung.
#pragma once

#include <cstdint>
#include <vector>

#include "strobe/report/journal.h"
#include "strobe/study/study_file.h"

namespace strobe {

enum class Verdict { go_on, wait, prune };

/// What becomes of a trial that had `value` at the rung of `percent`.
Verdict after_rung(const StudyFile& study, const std::vector<Trial>& trials, const Trial& trial,
                   int64_t percent, double value);

/// Of an arm's trials that wait at a rung, one that goes on; nullptr: none. `last`: no point will
/// be added to the arm.
const Trial* promoted(const StudyFile& study, const std::vector<Trial>& trials, const StudyArm& arm,
                      bool last);

}  // namespace strobe
