// A study folder as data (its format: strobe/report/study_report.h).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "strobe/report/run_reader.h"
#include "strobe/report/study_report.h"

namespace strobe {

struct StudyFactor {
  std::string name;
  std::vector<std::string> levels;
};

struct StudyArm {
  std::string name;
  std::vector<std::pair<std::string, std::string>> levels, overrides;
  std::vector<std::optional<RunRecord>> runs;  // as StudyFolder::seeds; nothing: not there yet
};

struct StudyFolder {
  std::string path, name, question;
  std::vector<StudyFactor> factors;
  std::vector<int64_t> seeds;
  std::vector<StudyArm> arms;
  std::optional<TextEntropy> text;
  std::string equal_tokens_factor;
  std::vector<std::pair<std::string, RunRecord>> equal_tokens;  // level, run; those that are there
};

/// Throws Error naming the file and what is missing.
StudyFolder read_study(const std::string& path);

}  // namespace strobe
