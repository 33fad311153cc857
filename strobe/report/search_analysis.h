// What a search found and what it cost.
#pragma once

#include "strobe/report/study_reader.h"
#include "strobe/report/study_report.h"

namespace strobe {

/// `study.search` must be there.
SearchResult search_result(const StudyRecord& study);

}  // namespace strobe
