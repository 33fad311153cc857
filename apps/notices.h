// What a command says on the way, on standard error.
#pragma once

#include <cstdio>

#include "strobe/core/error.h"
#include "strobe/optim/unread.h"

namespace strobe {

/// A line for each key of `said` that the optimizer or schedule of `config` does not read.
inline void note_unread_keys(const Config& config, const LoadedConfig& said) {
  for (const std::string& sentence : unread_keys(config, said))
    fmt::print(stderr, "config: {}\n", sentence);
}

}  // namespace strobe
