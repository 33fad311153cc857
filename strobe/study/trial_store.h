// Writing the journal of a study (strobe/report/journal.h) from several processes, on one machine
// or on several that share a folder.
//
// Whoever writes holds two locks: the file system's own, which goes with its process however that
// ends, and Optuna's (a link beside the journal), so that Optuna may write as well. Lines are
// appended whole and made durable; a last line that a killed process left torn is cut off before
// the next is written, and one that does not fit on the disk is taken back.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "strobe/report/journal.h"
#include "strobe/study/space.h"

namespace strobe {

/// A trial to begin.
struct NewTrial {
  Space space;  // as the journal is to know its parameters
  Point point;
  std::vector<std::pair<std::string, std::string>> attrs;  // user attributes
  std::vector<std::pair<std::string, std::string>> system_attrs;
};

/// Lines to append, collected while the lock is held.
class JournalLines {
 public:
  JournalLines(std::string worker, const Journal& journal);

  void create_study(const std::string& name, const std::string& metric);
  void create_trial(const NewTrial& trial);
  void set_rung(const Trial& trial, int64_t percent, double value);
  void set_attr(const Trial& trial, const std::string& key, const std::string& value);
  void set_attr(const Trial& trial, const std::string& key, double value);
  void set_system_attr(const Trial& trial, const std::string& key, const std::string& value);
  /// Ends it; `value` NaN: none.
  void end(const Trial& trial, TrialState state, double value);
  const std::string& text() const { return text_; }

 private:
  std::string worker_, text_;
  const Journal& journal_;
};

class TrialStore {
 public:
  /// `worker` names the process in the journal.
  TrialStore(std::string file, std::string study, std::string worker);

  /// With the journal locked and read to its end, lets `decide` look and append. Throws Error, with
  /// the journal as it was, when the disk is full.
  void update(const std::function<void(const Journal&, JournalLines&)>& decide);
  /// Reads without locking.
  const Journal& refresh();
  const Journal& journal() const { return journal_; }

 private:
  void append(const std::string& text);

  Journal journal_;
  std::string worker_;
};

}  // namespace strobe
