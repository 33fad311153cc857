// What the sentences of a report share (strobe/report/conclusions.h).
#pragma once

#include <string>

#include "strobe/report/statistics.h"
#include "strobe/report/study_report.h"

namespace strobe {

enum class Finding { better, worse, unresolved };
Finding finding(const Interval& loss);

std::string after_space(const std::string& text);

/// The interval of a change of loss, seen as a gain if the loss fell.
std::string size_of(const Interval& loss, const char* words);

/// "lowered the validation loss by 0.212 nats a token (95 % interval 0.164 to 0.260)".
std::string change(const Interval& loss, const std::string& noun);

/// Headline of a comparison of arms: the best, and its lead.
void conclude_ranking(StudyResult& result);
/// Headline and sentences of a search.
void conclude_search(StudyResult& result);

}  // namespace strobe
