// The table of algorithms chosen by timing, as text: a first line that names what it holds for,
// then a line each of a product's key and the library's description of the algorithm. Kept in the
// user's cache by GPU and library, and in checkpoints.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace strobe::cuda {

using PlanTable = std::map<std::string, std::string>;

std::string plan_key_text(const int64_t* key, size_t length);
std::string to_hex(const void* bytes, size_t size);
/// False unless `text` is exactly `size` bytes.
bool from_hex(const std::string& text, void* bytes, size_t size);

std::string plans_text(const std::string& library_version, const PlanTable& table);
/// Empty for text of another GPU or library, and without lines that are not as written.
PlanTable parse_plans(const std::string& library_version, const std::string& text);

/// "" where there is none. Failing to write is no error: it is a cache.
std::string read_cached_plans(const std::string& library_version);
void write_cached_plans(const std::string& library_version, const std::string& text);

}  // namespace strobe::cuda
