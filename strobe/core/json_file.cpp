#include "strobe/core/json_file.h"

#include <filesystem>
#include <unordered_set>
#include <vector>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/json_text.h"

namespace strobe {

using Json = nlohmann::json;

Json read_json(std::string_view operation, const std::string& file, int64_t largest) {
  return parse_json(operation, file, read_file(operation, file, largest));
}

Json read_json_or_null(std::string_view operation, const std::string& file, int64_t largest) {
  if (!std::filesystem::exists(file)) return Json();
  Json out = Json::parse(read_file(operation, file, largest), nullptr, /*allow_exceptions=*/false);
  return out.is_discarded() ? Json() : out;
}

Json parse_json(std::string_view operation, const std::string& file, std::string_view text) {
  constexpr size_t deepest = 32;
  std::vector<std::unordered_set<std::string>> keys;
  size_t depth = 0;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start)
      if (++depth > deepest) fail("{}: {}: nested more than {} deep", operation, file, deepest);
    if (event == Event::object_end || event == Event::array_end) --depth;
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second)
        fail("{}: {}: \"{}\" stands twice", operation, file, brief(key));
    }
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const Json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line ..." without the bracket.
    const std::string_view what = error.what();
    fail("{}: {} is not JSON: {}", operation, file, brief(what.substr(what.find(']') + 2)));
  }
}

const Json& member(const Json& object, const char* key) {
  static const Json null;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? null : *found;
}

std::string brief(std::string_view text) {
  constexpr size_t most = 160;
  if (text.size() > most) {
    size_t end = most;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text = text.substr(0, end);
  }
  return valid_utf8(text);
}

std::string shown(const Json& value) {
  return brief(value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace strobe
