// Sections that the reports of runs and of studies share. Each is HTML; "" if there is nothing to
// show.
#pragma once

#include <string>
#include <vector>

#include "strobe/report/charts.h"
#include "strobe/report/run_reader.h"

namespace strobe {

/// Title, the sentence that answers, and the way to the sections; with the switch of light and
/// dark.
std::string page_head(const std::string& kind, const std::string& name, const std::string& question,
                      const std::string& headline, const std::vector<std::string>& sentences);

/// The curves' frame; page.js draws into it.
std::string curves_section(const std::vector<ChartGroup>& groups, bool study);

/// Planned memory: stacked bars and a table by part; one column a group.
std::string memory_section(const std::vector<ChartGroup>& groups);

/// Resolved configurations and environments, one column a group (its first run).
std::string configuration_section(const std::vector<ChartGroup>& groups);
std::string environment_section(const std::vector<ChartGroup>& groups);

/// What the models wrote, one block a run that has samples.
std::string samples_section(const std::vector<ChartGroup>& groups);

/// A bulleted list of sentences under a heading.
std::string notes_section(const std::vector<std::string>& notes);

}  // namespace strobe
