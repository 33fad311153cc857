// A Config as a flat list of named text fields.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/config/config.h"

namespace strobe {

struct Field {
  std::string path;  // "optimizer.lr"
  std::string type;  // "number", "integer", "text", "true or false", "length", "number or auto"
  std::string help;
  bool text;  // to be quoted in TOML
  std::function<std::string()> get;
  std::function<void(std::string_view)> set;  // throws Error naming the path
};

/// Every field of `config`, in order of declaration; `config` must outlive the list.
std::vector<Field> fields_of(Config& config);
std::vector<Field> fields_of(CurveConfig& curve);

}  // namespace strobe
