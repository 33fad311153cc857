// How much memory the machine has left for this process.
#pragma once

#include <cstdint>
#include <string>

namespace strobe {

/// Bytes that the system could give now: what is available, and no more than control groups leave
/// this process, as a container's limit does. 0 where the system does not tell. `root`: where /proc
/// and /sys are.
int64_t available_bytes(const std::string& root = "");

}  // namespace strobe
