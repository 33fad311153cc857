// Child processes: the runs of a study.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace strobe {

/// Exit status of a program that was asked to stop and did so in order.
inline constexpr int kInterrupted = 130;

struct ChildResult {
  int status = 0;      // exit status; 128 + the signal that ended it
  std::string output;  // of standard output, where captured
  std::string errors;  // the end of standard error

  /// The last line of `errors`, without the name of the program; or its exit status.
  std::string reason() const;
};

/// Runs `command` and waits. When `stop` says so the child is asked to stop (SIGTERM) and waited
/// for. The child is asked the same if this process dies. Throws Error if it cannot be started.
ChildResult run_child(const std::vector<std::string>& command, bool capture,
                      const std::function<bool()>& stop, bool pass_errors_on = true);

}  // namespace strobe
