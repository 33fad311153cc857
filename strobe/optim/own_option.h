// A key that an entry of the catalogue reads beside those that all of its kind do.
#pragma once

#include <string>
#include <vector>

#include "strobe/core/error.h"

namespace strobe {

struct OwnOption {
  std::string key;    // "beta2", of [optimizer] or of a curve
  std::string usual;  // its default, for people
};

/// "beta1 (0.9), beta2 (0.95)"
inline std::string to_string(const std::vector<OwnOption>& options) {
  std::string out;
  for (const OwnOption& option : options)
    out += fmt::format("{}{} ({})", out.empty() ? "" : ", ", option.key, option.usual);
  return out;
}

}  // namespace strobe
