// A study file (TOML): a base recipe, what varies, how long, and what is to be claimed.
//
//   name = "demo"
//   question = "Does it pay?"
//   base = "recipes/demo.toml"
//   overrides = ["model.dropout=0"]  # of the base, for every arm; the command line adds to them
//   seeds = [1, 2, 3]            # every arm, or every point of a search, runs with each of them
//
//   outcome = "val/loss"         # what is compared: a figure of result.json of which less is
//                                # better, val/loss_ema or seconds too (strobe/report/outcomes.cpp)
//   target = [5.8, 5.5]          # values of it to be reached; times to them are reported
//   noise = 0.01                 # standard deviation of a difference between two runs of a seed,
//                                # if known: the plan then says what the seeds can resolve
//
//   [budget]
//   seconds = 25                 # of training, for each run; or tokens = 900000; or flops = 1e15
//                                # (in whole steps: short texts and small batches of a batch that
//                                # grows come to other sums); or the recipe's own length
//   min_tokens = 500000          # lengthen all runs until these arms see so many tokens ...
//   min_tokens_arms = "flash2"   # ... an arm, or a level of a factor; all arms unless given
//   trials = 20                  # points an arm's search tries at most; and for the whole study
//   total_seconds = 3600         # at most: seconds of all processes together,
//   total_tokens = 1e9           # tokens of training,
//   total_flops = 1e18           # operations
//
//   [factors.attention]          # arms are the product of the factors' levels
//   naive = ["attention.algorithm=naive"]
//   flash2 = ["attention.algorithm=flash2"]
//
//   [arms]                       # or named one by one
//   small-lr = ["optimizer.lr=1e-4"]
//
//   [compare]                    # differences to report; unless given, every arm's to the first
//   small-lr = "flash2"           # or a list
//
//   [space]                      # what is searched, for each arm alike (strobe/study/space.h)
//   "optimizer.lr" = { log = [1e-4, 1e-2] }
//   "optimizer.weight_decay" = { float = [0, 0.3], step = 0.1 }
//   "model.layers" = { integer = [2, 8] }
//   "schedule.warmup" = { float = [1, 20], unit = "%" }
//   "schedule.name" = { choice = ["linear", "cosine", "wsd"] }
//   "schedule.cooldown" = { float = [10, 50], unit = "%", when = "schedule.name = wsd" }
//   muon-lr = { log = [5e-3, 5e-2], key = "optimizer.lr", when = "optimizer = muon" }
//
//   [space.regulariser.choice]   # a choice that sets several keys
//   none = ["model.dropout=0", "optimizer.weight_decay=0"]
//   usual = ["model.dropout=0.1", "optimizer.weight_decay=0.1"]
//
//   [sampler]
//   name = "tpe"                 # grid, random, sobol or tpe
//   seed = 0
//   startup = 10                 # tpe: points of a Sobol sequence before the first of its own
//
//   [pruner]
//   name = "none"                # none, median, halving or asha
//   rungs = [0.11, 0.33]         # shares of a run's budget after which it is judged
//   eta = 3                      # halving, asha: one in so many goes on
//   rung = "complete"            # a short run with a whole schedule of its own; or "mid-run"
//
//   [confirm]                    # the best points, again, on seeds that did not choose them
//   seeds = [101, 102, 103]
//   top = 1                      # points of each arm
//   base = true                  # the base recipe too; unless given, where there is one arm
//
//   [equal_tokens]               # also compare the levels of one factor at equal steps
//   factor = "attention"
//   seconds = 5
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "strobe/study/sampler.h"
#include "strobe/study/space.h"

namespace strobe {

struct StudyLevel {
  std::string name;
  std::vector<std::string> overrides;  // "key=value"
};

struct StudyFactor {
  std::string name;
  std::vector<StudyLevel> levels;
};

struct StudyArm {
  std::string name;                 // "flash2-baseline"; empty for the one arm of a plain search
  std::vector<std::string> levels;  // one a factor; empty for a named arm
  std::vector<std::string> overrides;
};

struct PrunerSpec {
  std::string name = "none";  // none, median, halving or asha
  std::vector<double> rungs;  // shares of the budget below 1, ascending
  double eta = 3;
  bool complete = true;  // a rung is a run of its own; otherwise the run is stopped on its way
};

struct ConfirmSpec {
  std::vector<int64_t> seeds;
  int64_t top = 1;
  bool base = false;
};

/// Begins the lines that keep in a study's text what the command line said beside the file.
inline constexpr std::string_view kOnCommandLine = "# on the command line: ";

struct StudyFile {
  std::string text;  // the file as it is, and such lines
  std::string name, question, base;
  std::vector<std::string> overrides;  // of the base, for every arm: "key=value"
  std::vector<int64_t> seeds;
  std::string outcome = "val/loss";
  std::vector<double> targets;
  double noise = 0;
  // Of a run: at most one of these is set; none: the base recipe's own length.
  double seconds = 0, tokens = 0, flops = 0;
  double min_tokens = 0;
  std::string min_tokens_arms;  // an arm's or a level's name; empty: every arm
  int64_t trials = 0;           // of an arm's search; 0: none, or the whole grid
  double total_seconds = 0, total_tokens = 0, total_flops = 0;  // 0: no limit
  std::vector<StudyFactor> factors;
  std::vector<StudyArm> arms;                                // at least one
  std::vector<std::pair<std::string, std::string>> compare;  // arms, and what they are compared to
  Space space;  // empty: a comparison of arms; otherwise a search
  SamplerSpec sampler;
  PrunerSpec pruner;
  ConfirmSpec confirm;
  std::string equal_tokens_factor;
  double equal_tokens_seconds = 5;

  bool searches() const { return !space.empty(); }
  /// Whether budget.min_tokens speaks of this arm.
  bool needs_tokens(const StudyArm& arm) const;
  /// The space as this arm searches it: conditions on factors and arms are settled.
  Space space_of(const StudyArm& arm) const;
  /// The first part of a run that is judged, or 1.
  double first_share() const {
    return pruner.rungs.empty() || !pruner.complete ? 1 : pruner.rungs[0];
  }
  /// How many runs it takes to confirm.
  double confirming_runs() const;
  /// When it ends, in words.
  std::string stopping_rule() const;
};

/// Rungs in percent of a run.
std::vector<int64_t> rung_percents(const StudyFile& study);
/// Evaluations at every multiple of so many percent of a run meet all of its rungs.
int64_t evaluated_percent(const StudyFile& study);

/// Throws Error for what is not a study, naming file and line: unknown keys, impossible ranges, no
/// seeds, values that a configuration refuses. `overrides` are "key=value", as "budget.tokens=1e6"
/// or "seeds=[1, 2]", in place of what the file says; they become a part of its text.
StudyFile read_study(const std::string& file, const std::vector<std::string>& overrides = {});

/// Only the space and the sampler of a study, of parameters that need not be strobe's.
StudyFile read_space(const std::string& file);

}  // namespace strobe
