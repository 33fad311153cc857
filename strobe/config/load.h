// Where a configuration's values come from: defaults < preset < recipe file < preset on the command
// line < command line.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/config/config.h"

namespace strobe {

inline constexpr const char* kCommandLine = "command line";  // an origin

struct LoadedConfig {
  Config config;
  /// Path -> "recipes/demo.toml:7", "command line", "preset gpt2-124m"; absent: the default.
  std::map<std::string, std::string> origins;
};

/// `file` may be empty. Each override is "key=value". Unknown keys and ill-typed values throw
/// Error, with the nearest known key, or strobe's own name for a key of another trainer.
LoadedConfig load_config(const std::string& file, const std::vector<std::string>& overrides);

/// The same over a configuration that there is, whose values count as defaults.
LoadedConfig load_config(const Config& base, const std::vector<std::string>& overrides);

/// The key that `path` probably means: "optimizer.lr" for "learning_rate"; "" if nothing is near.
std::string suggest_key(std::string_view path);

/// Throws Error unless `path` is a key and `value` fits its type.
void check_override(std::string_view path, std::string_view value);

/// A complete recipe file.
std::string to_toml(const Config& config);

/// One line a field: key, value, where the value came from.
std::string print_config(const LoadedConfig& loaded);

/// Key, type, default and meaning of every field, for --help.
std::string describe_config();

/// Every field as (path, value), for tables.
std::vector<std::pair<std::string, std::string>> flatten(const Config& config);

}  // namespace strobe
