// A study folder as data (its format: strobe/report/study_report.h).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "strobe/report/importance.h"
#include "strobe/report/journal.h"
#include "strobe/report/run_reader.h"
#include "strobe/report/study_report.h"

namespace strobe {

struct FactorRecord {
  std::string name;
  std::vector<std::string> levels;
};

struct ArmRecord {
  std::string name, folder;  // its runs are runs/<folder>-s<seed>
  std::string arm;           // of the study: itself, or whose search found it
  std::vector<std::pair<std::string, std::string>> levels, overrides;
  std::vector<std::optional<RunRecord>> runs;  // as StudyRecord::seeds; nothing: not there yet
};

/// What a search tried. Its arms are the points that were confirmed, or until then the best so far:
/// of each arm of the study the best one, if there are several.
struct SearchRecord {
  std::string sampler, pruner;
  std::vector<int64_t> rungs;  // percent of a run
  int64_t seeds = 1;           // that every point is run with
  int64_t wanted = 0;          // trials of each arm; 0: as many as the budget gives
  bool complete_rungs = true;
  std::vector<std::string> groups;  // the arms that were searched; one without a name at least
  std::vector<ImportanceInput> parameters;       // without values
  std::vector<std::vector<std::string>> labels;  // of each parameter that is a choice
  std::vector<Trial> trials;
  int64_t torn = 0;  // Journal::torn()
  bool confirmed = false;
  /// The runs of trials that are complete, by number of the trial; for curves.
  std::map<int64_t, RunRecord> runs;
};

struct StudyRecord {
  std::string path, name, question;
  std::vector<FactorRecord> factors;
  std::vector<int64_t> seeds;
  double seconds = 0;  // of training planned for a run; 0: none
  std::string outcome = "val/loss", stopping_rule;
  std::vector<double> targets;
  std::vector<ArmRecord> arms;
  std::vector<std::pair<std::string, std::string>> compare;  // arm, reference; empty: to the first
  std::optional<SearchRecord> search;
  std::optional<TextEntropy> text;
  std::string equal_tokens_factor;
  std::vector<std::pair<std::string, RunRecord>> equal_tokens;  // level, run; those that are there
};

/// A point of a search, over its seeds.
struct PointRecord {
  const Trial* trial = nullptr;  // its first that is complete
  double value = 0;              // the mean of those
  int complete = 0, failed = 0;  // trials
};

/// Points with a complete trial, best first, in the order by which they are chosen to be confirmed:
/// fewer failures, more seeds, the lower mean.
std::vector<PointRecord> ranked_points(const SearchRecord& search);

/// "optimizer.lr=0.0021, model.layers=4"; the name of the point if that is long.
std::string point_text(const SearchRecord& search, const Trial& trial);

/// Throws Error naming the file and what is missing.
StudyRecord read_study_record(const std::string& path);

}  // namespace strobe
