#include "strobe/config/terms.h"

#include <algorithm>

#include "strobe/config/fields.h"
#include "strobe/core/error.h"

namespace strobe {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\n";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::vector<std::pair<std::string, std::string>> parse_options(std::string_view text,
                                                               const std::string& what) {
  std::vector<std::pair<std::string, std::string>> out;
  const auto is_key = [](char c) {
    return (c >= 'a' && c <= 'z') || c == '_' || c == '1' || c == '2';
  };
  for (std::string_view rest = trimmed(text); !rest.empty();) {
    const size_t equals = rest.find('=');
    const std::string_view key = trimmed(rest.substr(0, equals));
    if (equals == std::string_view::npos || key.empty() ||
        !std::all_of(key.begin(), key.end(), is_key))
      fail("{}: '{}' is not key=value", what, rest);
    rest.remove_prefix(equals + 1);
    // The value ends at a comma, or before the word in front of the next '='.
    size_t end = rest.find(',');
    if (const size_t next = rest.find('='); next < end) {
      size_t word = next;
      while (word > 0 && (is_key(rest[word - 1]) || rest[word - 1] == ' ') &&
             !(rest[word - 1] == ' ' && word < next && rest[word] != ' '))
        --word;
      end = word;
    }
    const std::string_view value = trimmed(rest.substr(0, end));
    if (value.empty()) fail("{}: '{}' has no value", what, key);
    out.emplace_back(key, value);
    rest = end >= rest.size() ? std::string_view{} : rest.substr(end);
    if (!rest.empty() && rest.front() == ',') rest.remove_prefix(1);
    rest = trimmed(rest);
  }
  return out;
}

CurveConfig parse_curve(std::string_view text, const std::string& key) {
  const std::string_view whole = trimmed(text);
  const size_t open = whole.find('(');
  CurveConfig curve;
  curve.name = std::string(trimmed(whole.substr(0, open)));
  if (open == std::string_view::npos) return curve;
  if (whole.back() != ')')
    fail("{}: '{}' lacks a closing bracket; write 'linear(floor=0.1, warmup=5 %)'", key, text);
  std::vector<Field> fields = fields_of(curve);
  for (const auto& option : parse_options(whole.substr(open + 1, whole.size() - open - 2), key)) {
    const std::string& name = option.first;
    const auto field =
        std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.path == name; });
    if (field == fields.end() || name == "name") {
      std::vector<std::string> names;
      for (const Field& f : fields)
        if (f.path != "name") names.push_back(f.path);
      fail("{}: a curve has no option '{}'; known are {}", key, name, fmt::join(names, ", "));
    }
    try {
      field->set(option.second);
    } catch (const Error& error) {
      fail("{}: {}", key, error.what());
    }
  }
  return curve;
}

std::vector<Length> parse_lengths(std::string_view text, const std::string& key) {
  std::vector<Length> out;
  for (std::string_view rest = text; !trimmed(rest).empty();) {
    const size_t comma = rest.find(',');
    try {
      out.push_back(parse_length(rest.substr(0, comma)));
    } catch (const Error& error) {
      fail("{}: {}", key, error.what());
    }
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
  }
  return out;
}

}  // namespace strobe
