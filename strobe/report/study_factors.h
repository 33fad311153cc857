// What the factors of a study do, each arm one cell of a factorial (strobe/report/factorial.h).
#pragma once

#include <optional>

#include "strobe/report/study_reader.h"
#include "strobe/report/study_report.h"

namespace strobe {

/// From the arms of `out` to its effects and, of two factors of two levels, to its factorial.
void add_effects(const StudyRecord& study, StudyResult& out);

/// What factors do to the time to a target: to its steps, and to the seconds of one. Nothing
/// unless, for some seed, the run of every cell reached it.
std::optional<TimeSplit> time_split(const StudyRecord& study, double target);

/// The arm with these levels of a 2x2 factorial (0 or 1 each), or nullptr.
const ArmRecord* arm_at(const StudyRecord& study, size_t first, size_t second);

}  // namespace strobe
