// The sentences of a report: what was found, in words that claim no more than the figures do.
#pragma once

#include "strobe/report/study_reader.h"
#include "strobe/report/study_report.h"

namespace strobe {

/// Fills `result.headline` and `result.sentences` from its figures. An effect whose interval covers
/// zero is called unresolved, whatever its estimate.
void conclude(const StudyRecord& study, StudyResult& result);

}  // namespace strobe
