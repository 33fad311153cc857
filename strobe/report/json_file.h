// JSON files of runs and studies, read with messages that name file and line.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace strobe {

/// The file's one value. Throws Error naming the file for what cannot be read, is not JSON, or is
/// longer than a file of this kind can be.
nlohmann::ordered_json read_json_file(const std::string& file);

/// Calls `visit` with the object of each line. A last line without its newline that is no object
/// is left out: a process was killed while it wrote it, and the result is true. Any other line
/// that is no object throws Error with file:line.
bool read_json_lines(const std::string& file,
                     const std::function<void(const nlohmann::ordered_json&)>& visit);

/// The number under `key`; NaN if it is absent or not a number.
double number_at(const nlohmann::ordered_json& object, const char* key);

/// The string under `key`, or `otherwise` if it is absent or no string.
std::string text_at(const nlohmann::ordered_json& object, const char* key,
                    const std::string& otherwise = "");

/// A scalar as text: strings without their quotes, anything else as JSON.
std::string scalar_text(const nlohmann::ordered_json& value);

}  // namespace strobe
