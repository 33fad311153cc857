#include "strobe/report/json_file.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/core/file.h"

namespace strobe {

using Json = nlohmann::ordered_json;

namespace {

constexpr int64_t kLargestFile = int64_t{64} << 20;
constexpr int64_t kLargestLog = int64_t{4} << 30;

}  // namespace

Json read_json_file(const std::string& file) {
  const std::string text = read_file("report", file, kLargestFile);
  Json value = Json::parse(text, nullptr, false);
  if (value.is_discarded()) fail("report: {} is not JSON ({} bytes)", file, text.size());
  return value;
}

bool read_json_lines(const std::string& file, const std::function<void(const Json&)>& visit) {
  const std::string text = read_file("report", file, kLargestLog);
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size(); ++number) {
    const size_t end = text.find('\n', begin);
    const bool whole = end != std::string::npos;
    const std::string_view line(text.data() + begin, (whole ? end : text.size()) - begin);
    begin += line.size() + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const Json value = Json::parse(line, nullptr, false);
    if (!value.is_object()) {
      if (!whole) return true;
      fail("report: {}:{} is not a JSON object: {:?}", file, number + 1,
           std::string(line.substr(0, 60)));
    }
    visit(value);
  }
  return false;
}

double number_at(const Json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_number() ? at->get<double>() : NAN;
}

std::string text_at(const Json& object, const char* key, const std::string& otherwise) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : otherwise;
}

std::string scalar_text(const Json& value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace strobe
