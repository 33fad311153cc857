// The charts of a report as data: what page.js draws.
//
// One JSON object: "groups" (names; a colour each: an arm or a run), "curves" (panels of lines over
// steps, tokens or seconds; a mean has its interval as "low" and "high"), "memory" (stacked bars),
// and for a factorial "effects" (intervals) and "cells" (the outcome of every run).
#pragma once

#include <string>
#include <vector>

#include "strobe/report/study_reader.h"

namespace strobe {

/// More points than this are thinned: each of kMostPoints/2 equal intervals of the curve keeps its
/// least and greatest value, in their order, so that spikes stay.
inline constexpr size_t kMostPoints = 2000;

/// Indices that stay, ascending; all of them if they are few. Values that are NaN count as neither
/// least nor greatest; the first and last index always stay.
std::vector<size_t> thin(const std::vector<double>& values, size_t most = kMostPoints);

/// Runs drawn in one colour. With several runs, each is a thin line and their mean a thick one.
struct ChartGroup {
  std::string name;
  std::vector<const RunRecord*> runs;
};

/// The mean of runs at the steps that all of them logged.
RunRecord mean_run(const std::vector<const RunRecord*>& runs);

/// Memory by part with the layers of a stack added up: "activations: h.*.attn".
std::vector<MemoryPart> merge_layers(const std::vector<MemoryPart>& parts);

/// Parts for a chart, few enough to tell apart: gradients of activations together, and parts that
/// share their first word ("attention qkv", "attention output") together.
std::vector<MemoryPart> memory_families(const std::vector<MemoryPart>& parts);

/// A group for each arm that has runs, which stay the study's.
std::vector<ChartGroup> groups_of(const StudyRecord& study);

/// The charts of some groups, and of a study if there is one.
std::string charts_json(const std::vector<ChartGroup>& groups, const StudyResult* study);

/// True if a curve of these groups is thinned.
bool any_thinned(const std::vector<ChartGroup>& groups);

}  // namespace strobe
