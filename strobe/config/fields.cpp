#include "strobe/config/fields.h"

#include <cmath>

#include "strobe/config/toml.h"
#include "strobe/core/error.h"
#include "strobe/core/number.h"

namespace strobe {

namespace {

// How a member's type is named, parsed and printed.
void parse(std::string& value, std::string_view text) {
  try {
    parse_toml("text = " + toml_quote(text), "");  // as the run's own file will say it
  } catch (const Error&) {
    fail("it is not UTF-8");
  }
  value = text;
}
std::string print(const std::string& value) { return value; }

void parse(double& value, std::string_view text) {
  const std::optional<double> parsed = to_number(text);
  if (!parsed) fail("'{}' is not a number", text);
  value = *parsed;
}
std::string print(double value) { return fmt::format("{}", value); }

void parse(int64_t& value, std::string_view text) {
  double parsed = 0;
  parse(parsed, text);
  if (std::abs(parsed) > 9e15) fail("'{}' is beyond 9e15, the largest integer taken", text);
  if (parsed != std::floor(parsed)) fail("'{}' is not an integer", text);
  value = static_cast<int64_t>(parsed);
}
std::string print(int64_t value) { return fmt::format("{}", value); }

void parse(bool& value, std::string_view text) {
  if (text != "true" && text != "false") fail("'{}' is neither true nor false", text);
  value = text == "true";
}
std::string print(bool value) { return value ? "true" : "false"; }

void parse(Length& value, std::string_view text) { value = parse_length(text); }
std::string print(Length value) { return to_string(value); }

template <class T>
void parse(std::optional<T>& value, std::string_view text) {
  if (text == "auto") return value.reset();
  T parsed{};
  parse(parsed, text);
  value = parsed;
}
template <class T>
std::string print(const std::optional<T>& value) {
  return value ? print(*value) : "auto";
}

const char* type_name(const std::string&) { return "text"; }
const char* type_name(double) { return "number"; }
const char* type_name(int64_t) { return "integer"; }
const char* type_name(bool) { return "true or false"; }
const char* type_name(Length) { return "length"; }
const char* type_name(const std::optional<double>&) { return "number or auto"; }
const char* type_name(const std::optional<int64_t>&) { return "integer or auto"; }
const char* type_name(const std::optional<Length>&) { return "length or auto"; }

struct Collector {
  std::vector<Field>& out;
  std::string prefix;

  template <class T>
  void operator()(const char* name, T& member, const char* help) {
    if constexpr (requires { member.fields(*this); }) {
      member.fields(Collector{out, prefix + name + "."});
    } else {
      const std::string path = prefix + name;
      constexpr bool is_text = std::is_same_v<T, std::string> || std::is_same_v<T, Length> ||
                               std::is_same_v<T, std::optional<Length>>;
      out.push_back({path, type_name(member), help, is_text, [&member] { return print(member); },
                     [&member, path](std::string_view text) {
                       try {
                         parse(member, text);
                       } catch (const Error& error) {
                         fail("{}: {}; it takes {}", path, error.what(), type_name(member));
                       }
                     }});
    }
  }
};

}  // namespace

std::vector<Field> fields_of(Config& config) {
  std::vector<Field> out;
  config.fields(Collector{out, ""});
  return out;
}

std::vector<Field> fields_of(CurveConfig& curve) {
  std::vector<Field> out;
  curve.fields(Collector{out, ""});
  return out;
}

}  // namespace strobe
