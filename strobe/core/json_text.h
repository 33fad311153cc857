// Writing JSON without a library: enough for flat objects. Reading is nlohmann-json's job.
#pragma once

#include <string>
#include <string_view>

namespace strobe {

/// `text` as a JSON string, quotes included. Bytes that are not UTF-8 become U+FFFD.
std::string json_quote(std::string_view text);

/// `text` with U+FFFD for each byte that is no part of well-formed UTF-8.
std::string valid_utf8(std::string_view text);

/// The shortest text that reads back as the same number; null for what JSON cannot hold.
std::string json_number(double value);
std::string json_number(float value);

}  // namespace strobe
