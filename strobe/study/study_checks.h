// What a study file may say: names, ranges, budgets and rungs that can be.
#pragma once

#include <string>

#include "strobe/study/study_file.h"

namespace strobe {

/// Throws Error, naming the file, for a study that cannot be run.
void check_study(const StudyFile& study, const std::string& file);
/// The part of it that concerns the space, the sampler and the pruner.
void check_search(const StudyFile& study, const std::string& file);

}  // namespace strobe
