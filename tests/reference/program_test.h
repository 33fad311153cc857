// Tests of the program itself, in a folder of their own.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <string>

#include "strobe/core/error.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe::reference {

/// `text` with `to` in the place of the first `from`, which must be there.
inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << "no '" << from << "' in:\n" << text;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

/// What a command line came to.
struct ProgramResult {
  int status = -1;  // -1: a signal ended it
  std::string out, error;
};

class ProgramTest : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return folder_.file(name); }

  /// `line` is read by the shell, in the test's folder.
  ProgramResult result_of(const std::string& line) {
    const std::string command =
        fmt::format("cd '{}' && {{ {}\n}} 2> errors < /dev/null", folder_.path(), line);
    FILE* pipe = ::popen(command.c_str(), "r");
    std::string out;
    char buffer[4096];
    for (size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
      out.append(buffer, got);
    const int status = ::pclose(pipe);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out, slurp(at("errors"))};
  }
  /// Of `strobe <words>`.
  ProgramResult run(const std::string& words) { return result_of(kStrobe + words); }

  /// Standard output, of what must end with `expected`.
  std::string shell(const std::string& line, int expected) {
    const ProgramResult result = result_of(line);
    EXPECT_EQ(result.status, expected) << line << "\n" << result.out << result.error;
    return result.out;
  }
  std::string strobe(const std::string& words, int expected = 0) {
    return shell(kStrobe + words, expected);
  }
  /// That `strobe <words>` ends with a message that says `part`.
  ProgramResult expect_refused(const std::string& words, const std::string& part) {
    SCOPED_TRACE("strobe " + words);
    ProgramResult result = run(words);
    EXPECT_EQ(result.status, 1) << result.out;
    EXPECT_NE(result.error.find(part), std::string::npos)
        << "should say: " << part << "\nsaid: " << result.error;
    EXPECT_EQ(result.error.find("internal error"), std::string::npos) << result.error;
    return result;
  }

  inline static const std::string kStrobe = std::string(STROBE_BINARY) + " ";
  TemporaryFolder folder_;
};

}  // namespace strobe::reference
