// A study folder as data (its format: strobe/report/study_report.h).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "strobe/report/run_reader.h"
#include "strobe/report/study_report.h"

namespace strobe {

struct FactorRecord {
  std::string name;
  std::vector<std::string> levels;
};

struct ArmRecord {
  std::string name;
  std::vector<std::pair<std::string, std::string>> levels, overrides;
  std::vector<std::optional<RunRecord>> runs;  // as StudyRecord::seeds; nothing: not there yet
};

struct StudyRecord {
  std::string path, name, question;
  std::vector<FactorRecord> factors;
  std::vector<int64_t> seeds;
  double seconds = 0;  // of training planned for a run; 0: none
  std::vector<ArmRecord> arms;
  std::optional<TextEntropy> text;
  std::string equal_tokens_factor;
  std::vector<std::pair<std::string, RunRecord>> equal_tokens;  // level, run; those that are there
};

/// Throws Error naming the file and what is missing.
StudyRecord read_study_record(const std::string& path);

}  // namespace strobe
