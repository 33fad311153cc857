// Before the first run of a study: can its arms run, can they give the outcome, and do they set
// anything in vain?
#pragma once

#include "strobe/study/dry_runs.h"
#include "strobe/study/study_file.h"

namespace strobe {

/// Throws Error if an arm cannot run at some points of its space, if it cannot give the outcome, if
/// a choice has an unknown name, or if one step is longer than the shortest run of the study. Says
/// on standard error which keys are set in vain.
void check_arms(const StudyFile& study, const DryRuns& runs);

}  // namespace strobe
