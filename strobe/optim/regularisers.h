// The catalogue of what holds a run back from over-fitting or from diverging. Where each is done is
// said here once, for people; what does it are the keys' readers.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace strobe {

struct RegulariserEntry {
  std::string name, formula;
  std::vector<std::string> keys;  // of the configuration, where their defaults and help stand
  std::string source;
};

std::span<const RegulariserEntry> regularisers();

}  // namespace strobe
