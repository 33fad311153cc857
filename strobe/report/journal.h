// The trials of a study: a journal in the format of Optuna's JournalFileBackend, so that Optuna and
// its dashboard open it too. One JSON object a line, each an operation; the state of the study is
// what they add up to. (Writing: strobe/study/trial_store.h.)
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace strobe {

/// As Optuna numbers them.
enum class TrialState { running = 0, complete = 1, pruned = 2, failed = 3, waiting = 4 };

const char* name_of(TrialState state);

struct Trial {
  int64_t id = 0, number = 0;  // in the journal; in the study
  TrialState state = TrialState::running;
  std::map<std::string, double> params;      // numbers; of a choice the index of its label
  std::map<std::string, std::string> texts;  // the same for people
  double value = std::numeric_limits<double>::quiet_NaN();
  std::map<int64_t, double> rungs;           // percent of the budget, outcome there
  std::map<std::string, std::string> attrs;  // user attributes; strings without their quotes
  std::map<std::string, std::string> system_attrs;
  double start = std::numeric_limits<double>::quiet_NaN();  // seconds since 1970
  double end = std::numeric_limits<double>::quiet_NaN();

  bool ended() const { return state != TrialState::running && state != TrialState::waiting; }
  const std::string& attr(const std::string& key) const;
  double number_attr(const std::string& key) const;  // NaN if absent
};

class Journal {
 public:
  /// Of one study; others in the same file are left alone. The file need not be there yet.
  Journal(std::string file, std::string study);

  /// Reads what was appended since. A last line without its newline is not read: it is being
  /// written, or its writer was killed. Throws Error with file:line for any other line that cannot
  /// be read.
  void refresh();

  const std::string& file() const { return file_; }
  bool has_study() const { return study_ >= 0; }
  int64_t study() const { return study_; }
  const std::vector<Trial>& trials() const { return trials_; }
  /// Bytes that were read: up to the end of the last whole line.
  int64_t read_to() const { return offset_; }
  /// Bytes after that, when it was last read: a line that is being written, or was left torn.
  int64_t torn() const { return torn_; }

 private:
  void apply(const std::string& line);
  Trial* of_id(int64_t id);

  std::string file_, name_;
  int64_t offset_ = 0, line_ = 0, torn_ = 0;
  int64_t studies_ = 0, study_ = -1;
  std::vector<std::string> study_names_;
  std::vector<int64_t> number_of_id_;  // -1: of another study
  std::vector<Trial> trials_;
};

}  // namespace strobe
