// Runs one trial: a child process for each rung and one for the whole of it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "strobe/study/study_file.h"
#include "strobe/study/trial_store.h"

namespace strobe {

/// What makes a run of a certain share of the budget long enough: "train.tokens=50000".
using LengthOf = std::function<std::string(const Trial& trial, double share)>;

struct TrialRunner {
  const StudyFile& study;
  std::string folder;              // of the study
  std::string program;             // the one that trains
  std::string worker;              // this process
  std::vector<std::string> extra;  // overrides for every run
  LengthOf length;
  std::function<bool()> stop;
  TrialStore& store;

  /// Goes on with a trial until it ends, waits for others, or `stop`. Throws Error if the outcome
  /// is one that runs do not give.
  void run(int64_t number) const;

 private:
  struct Attempt;
  void finish_rung(const Attempt& attempt) const;
  bool train(Attempt& attempt) const;
  void fail_trial(int64_t number, const std::string& reason, const Attempt& attempt) const;
  const Trial& trial(int64_t number) const;
};

/// Trains or continues one run. A run that fails leaves a result.json that says so. Returns the end
/// of what it wrote to standard error.
std::string train_run(const std::string& program, const std::string& recipe, const std::string& run,
                      const std::vector<std::string>& overrides, const std::function<bool()>& stop);

/// The percentage of its length a run had come to at each evaluation, and the outcome there, from
/// its events.
struct Progressed {
  double percent, value;
};
std::vector<Progressed> evaluations_of(const std::string& run, const std::string& outcome);

}  // namespace strobe
