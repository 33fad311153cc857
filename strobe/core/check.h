// check(), apart from error.h because nvcc's front end does not take fmt, which error.h needs.
#pragma once

#include <string_view>

namespace strobe {

/// Throws std::logic_error with the caller's file:line unless `condition` holds: a mistake in
/// strobe or in code that uses it, never in the user's input.
void check(bool condition, std::string_view what, const char* file = __builtin_FILE(),
           int line = __builtin_LINE());

}  // namespace strobe
