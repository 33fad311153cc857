// Reading JSON that somebody else wrote: strictly, and with messages that name the file.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace strobe {

/// Reads a file of JSON. Fails, with `operation` first in the message, if it cannot be read, has
/// more than `largest` bytes, is not JSON, is nested more than 32 deep, or has an object in which a
/// key stands twice (which the library would pass over).
nlohmann::json read_json(std::string_view operation, const std::string& file, int64_t largest);

/// The same of a file of strobe's own, of which a killed process may have left anything: null where
/// it is not there or is not JSON.
nlohmann::json read_json_or_null(std::string_view operation, const std::string& file,
                                 int64_t largest);

/// The same as read_json() of a text that `where` names.
nlohmann::json parse_json(std::string_view operation, const std::string& where,
                          std::string_view text);

/// A member of an object; null if it is not there, or if `object` is none.
const nlohmann::json& member(const nlohmann::json& object, const char* key);

/// What a message quotes of a file's own text, which may be of any length: well-formed UTF-8, cut
/// short.
std::string brief(std::string_view text);

/// How a value looks in a message.
std::string shown(const nlohmann::json& value);

}  // namespace strobe
