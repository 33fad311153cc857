// Words of a command line, and words to whoever watches a study.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "strobe/core/error.h"

namespace strobe {

using Words = std::vector<std::string>;

inline Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// Prints, and at once: a study may be watched through a pipe.
template <class... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  fmt::print(format, std::forward<Args>(args)...);
  std::fflush(stdout);
}

}  // namespace strobe
