// The clock that durations are measured by.
#pragma once

#include <chrono>

namespace strobe {

/// Seconds since a fixed moment of the past, never set back: for differences alone.
inline double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace strobe
