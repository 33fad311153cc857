// The part of a study's page on what its arms and factors do: differences with their intervals and
// verdicts, and the analysis of variance.
#pragma once

#include <string>
#include <vector>

#include "strobe/report/plots.h"
#include "strobe/report/study_report.h"

namespace strobe {

/// HTML; "" of a study that compares nothing.
std::string effects_section(const StudyResult& study, const std::vector<Plot>& plots);

}  // namespace strobe
