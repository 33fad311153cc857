// What the sentences of a report share (strobe/report/conclusions.h).
#pragma once

#include <string>

#include "strobe/report/statistics.h"
#include "strobe/report/study_report.h"

namespace strobe {

enum class Finding { better, worse, unresolved };
/// `corrected`: its p among several comparisons; NaN: it is the only one.
Finding finding(const Interval& loss, double corrected = kMissing);

std::string after_space(const std::string& text);

/// The interval of a change of loss, seen as a gain if the loss fell.
std::string size_of(const Interval& loss, const char* words);

/// "lowered the validation loss by 0.212 nats a token (95 % interval 0.164 to 0.260)".
std::string change(const Interval& loss, const std::string& noun, double corrected = kMissing);

/// Headline of a comparison of arms, some of which have an outcome: the best, and its lead.
void conclude_ranking(StudyResult& result);
/// Headline and sentences of a search.
void conclude_search(StudyResult& result);

}  // namespace strobe
