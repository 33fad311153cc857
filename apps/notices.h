// What several commands say beside what they were asked for.
#pragma once

#include <string>

#include "strobe/config/load.h"

namespace strobe {

/// A line on standard error for each key of `said` that the optimizer or schedule of `config` does
/// not read.
void note_unread_keys(const Config& config, const LoadedConfig& said);

/// A line of its own.
void print_note(const std::string& note);

/// Of a run of labelled texts, what predictions will be made with, and what that is worth.
void print_score(const std::string& folder);

}  // namespace strobe
