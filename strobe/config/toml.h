// A TOML file as a flat list of leaves.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace strobe {

struct TomlEntry {
  std::string path;                 // "optimizer.lr"; quoted keys keep their dots
  std::vector<std::string> keys;    // its parts: a quoted key is one
  std::vector<std::string> values;  // one for a scalar, any number for an array of scalars
  bool array = false;
  bool text = false;  // a TOML string
  int line = 0;
};

/// Of the same content, on whatever lines.
bool operator==(const TomlEntry& a, const TomlEntry& b);

/// In order of lines. Throws Error with file:line:column for what is not TOML.
std::vector<TomlEntry> read_toml(const std::string& file);
std::vector<TomlEntry> parse_toml(std::string_view text, const std::string& origin);

/// `text` as a TOML string, quotes included.
std::string toml_quote(std::string_view text);

}  // namespace strobe
