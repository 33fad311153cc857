// From the runs of a study to its figures.
#pragma once

#include "strobe/report/study_reader.h"
#include "strobe/report/study_report.h"

namespace strobe {

/// Everything analyse_study() gives, from a study already read.
StudyResult analyse(const StudyRecord& study);

/// Configuration keys whose values differ between two runs, other than names, seeds, lengths and
/// what only frees a run from its clock.
std::vector<std::string> settings_that_differ(const RunRecord& a, const RunRecord& b);

/// An outcome for people: "validation loss", "nats a token".
std::pair<std::string, std::string> outcome_words(const std::string& outcome);

/// The first run of an arm that is there, or nullptr.
const RunRecord* first_run(const ArmRecord& arm);

}  // namespace strobe
