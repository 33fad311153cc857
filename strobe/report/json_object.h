// Writing the reports' JSON.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "strobe/core/json_text.h"
#include "strobe/report/statistics.h"

namespace strobe {

/// A JSON object, member by member.
class JsonObject {
 public:
  JsonObject& text(const char* key, const std::string& value) {
    return raw(key, json_quote(value));
  }
  JsonObject& number(const char* key, double value) { return raw(key, json_number(value)); }
  JsonObject& interval(const char* key, const Interval& i) {
    return raw(key, JsonObject()
                        .number("estimate", i.estimate)
                        .number("low", i.low)
                        .number("high", i.high)
                        .number("n", i.n)
                        .str());
  }
  JsonObject& raw(const char* key, const std::string& json) {
    body_ += fmt::format("{}{}: {}", body_.empty() ? "" : ", ", json_quote(key), json);
    return *this;
  }
  std::string str() const { return "{" + body_ + "}"; }

 private:
  std::string body_;
};

/// A JSON list of what `print` makes of each element.
template <class List, class Print>
std::string json_array(const List& list, Print print) {
  std::string out;
  for (const auto& element : list) out += (out.empty() ? "" : ", ") + print(element);
  return "[" + out + "]";
}

/// An object of texts.
inline std::string json_entries(const std::vector<std::pair<std::string, std::string>>& list) {
  JsonObject out;
  for (const auto& [key, value] : list) out.text(key.c_str(), value);
  return out.str();
}

}  // namespace strobe
