#include "strobe/config/toml.h"

#include <algorithm>

#define TOML_EXCEPTIONS 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "strobe/core/error.h"
#include "strobe/core/file.h"

namespace strobe {

namespace {

std::string scalar_text(const toml::node& node, const std::string& origin) {
  if (const auto* s = node.as_string()) return s->get();
  if (const auto* i = node.as_integer()) return fmt::format("{}", i->get());
  if (const auto* f = node.as_floating_point()) return fmt::format("{}", f->get());
  if (const auto* b = node.as_boolean()) return b->get() ? "true" : "false";
  fail("{}:{}: dates and nested arrays have no meaning here", origin, node.source().begin.line);
}

void flatten(const toml::table& table, const std::vector<std::string>& above,
             const std::string& origin, std::vector<TomlEntry>& out) {
  for (const auto& [key, node] : table) {
    std::vector<std::string> keys = above;
    keys.emplace_back(key.str());
    if (const auto* inner = node.as_table()) {
      flatten(*inner, keys, origin, out);
      continue;
    }
    TomlEntry entry{.path = fmt::format("{}", fmt::join(keys, ".")),
                    .keys = keys,
                    .values = {},
                    .array = node.is_array(),
                    .text = node.is_string(),
                    .line = static_cast<int>(node.source().begin.line)};
    if (const auto* array = node.as_array())
      for (const auto& element : *array) entry.values.push_back(scalar_text(element, origin));
    else
      entry.values.push_back(scalar_text(node, origin));
    out.push_back(std::move(entry));
  }
}

}  // namespace

std::vector<TomlEntry> parse_toml(std::string_view text, const std::string& origin) {
  std::vector<TomlEntry> out;
  try {
    flatten(toml::parse(text, origin), {}, origin, out);
  } catch (const toml::parse_error& error) {
    fail("{}:{}:{}: {}", origin, error.source().begin.line, error.source().begin.column,
         error.description());
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const TomlEntry& a, const TomlEntry& b) { return a.line < b.line; });
  return out;
}

std::vector<TomlEntry> read_toml(const std::string& file) {
  constexpr int64_t kLargest = 16 << 20;
  return parse_toml(read_file("config", file, kLargest), file);
}

bool operator==(const TomlEntry& a, const TomlEntry& b) {
  return a.keys == b.keys && a.values == b.values && a.array == b.array && a.text == b.text;
}

std::string toml_quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += '\\', out += c;
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      out += fmt::format("\\u{:04X}", static_cast<int>(c));
    else
      out += c;
  }
  return out + '"';
}

}  // namespace strobe
