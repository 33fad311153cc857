// Errors. A user's error says what was found and what would be accepted, and carries no source
// position; a programmer's error carries file:line. Both begin with the operation.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "strobe/core/check.h"

namespace strobe {

/// Something the user can mend. `main` prints it as "strobe: <message>" and exits with status 1.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Throws Error. The message begins with the operation: fail("data prepare: no text in {}", path).
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// The candidate that is one edit from `word`, else the shortest that begins with it, else the
/// nearest by edit distance if it is near; "" if none is.
std::string nearest(std::string_view word, const std::string* candidates, size_t count);

}  // namespace strobe
