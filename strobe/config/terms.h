// The small language of options in one text: what a curve, or a group of parameters, is written in.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "strobe/config/config.h"

namespace strobe {

/// "a=1, b=2 %" as pairs; separators are commas, or blanks before the next key. Throws Error
/// beginning with `what`.
std::vector<std::pair<std::string, std::string>> parse_options(std::string_view text,
                                                               const std::string& what);

/// "cosine", "linear(floor=0.1, warmup=5 %)": the name of a shape, and options of CurveConfig.
/// Throws Error beginning with `key`.
CurveConfig parse_curve(std::string_view text, const std::string& key);

/// "50 %, 75 %"
std::vector<Length> parse_lengths(std::string_view text, const std::string& key);

/// Without blanks at either end.
std::string_view trimmed(std::string_view text);

}  // namespace strobe
