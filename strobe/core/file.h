// Whole files, read and written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace strobe {

/// The bytes of a file. Fails, with `operation` first in the message, if it cannot be read or has
/// more than `largest` bytes. What cannot tell its size (a pipe) is read to its end.
std::string read_file(std::string_view operation, const std::string& file, int64_t largest);

/// Writes a file whole or not at all: under a temporary name beside it, fsynced, renamed, the
/// folder fsynced. A link's target is what is replaced; a device or a pipe is written to. Fails,
/// with `operation` first in the message, and leaves what was there.
void write_file(std::string_view operation, const std::string& name, std::string_view bytes);

}  // namespace strobe
