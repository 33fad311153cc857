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
  // Standard output of `strobe <words>`, which must end with `expected`.
  std::string strobe(const std::string& words, int expected = 0) {
    return shell(std::string(STROBE_BINARY) + " " + words, expected);
  }
  std::string shell(const std::string& line, int expected) {
    const ProgramResult result = result_of(line);
    EXPECT_EQ(result.status, expected) << line << "\n" << result.out << result.error;
    return result.out;
  }
  // `line` is read by the shell, in the test's folder.
  ProgramResult result_of(const std::string& line) {
    const std::string command =
        "cd " + folder_.path() + " && " + line + " 2> " + folder_.file("errors");
    FILE* pipe = ::popen(command.c_str(), "r");
    std::string out;
    char buffer[4096];
    for (size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
      out.append(buffer, got);
    const int status = ::pclose(pipe);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out, slurp(folder_.file("errors"))};
  }

  TemporaryFolder folder_;
};

}  // namespace strobe::reference
