// Studies with a script in the place of the program that trains.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>

#include "strobe/study/study.h"
#include "strobe/study/study_file.h"
#include "tests/reference/text_files.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe::reference {

class StudyTest : public testing::Test {
 protected:
  /// `length` of the recipe: "steps = 5".
  explicit StudyTest(const std::string& length) {
    write_tiny_dataset(folder_.file("data"));
    std::ofstream(folder_.file("base.toml"))
        << "[data]\npath = \"" << folder_.file("data") << "\"\n[train]\n"
        << length << "\n";
  }
  /// With values in the place of words: of "@log" the file that log() reads.
  void write_program(std::string text, std::map<std::string, std::string> words = {}) {
    words["log"] = folder_.file("log");
    for (const auto& [word, value] : words)
      for (size_t at; (at = text.find("@" + word)) != std::string::npos;)
        text.replace(at, word.size() + 1, value);
    std::ofstream(folder_.file("program")) << text;
    ::chmod(folder_.file("program").c_str(), 0755);
  }
  StudyFile read(const std::string& body) {
    std::ofstream(folder_.file("study.toml"))
        << "name = \"test\"\nbase = \"" << folder_.file("base.toml") << "\"\n"
        << body;
    return read_study(folder_.file("study.toml"));
  }
  StudyOutcome run(const StudyFile& study, std::function<bool()> stop = {}) {
    return run_study(study, out_, {.program = folder_.file("program"), .stop = std::move(stop)});
  }
  void expect_refused(const std::string& body, const std::string& part) {
    expect_fails([&] { read(body); }, part);
  }
  /// What the program wrote there.
  std::string log() const { return slurp(folder_.file("log")); }

  TemporaryFolder folder_;
  const std::string out_ = folder_.file("out");
};

}  // namespace strobe::reference
