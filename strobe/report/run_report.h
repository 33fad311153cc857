// The report of one run, or of several side by side.
#pragma once

#include <string>
#include <vector>

#include "strobe/report/run_reader.h"

namespace strobe {

/// The page as HTML. At least one run.
std::string run_report(const std::vector<RunRecord>& runs);

/// Writes it as one HTML file, whole or not at all.
void write_run_report(const std::vector<std::string>& folders, const std::string& out);

}  // namespace strobe
