// A study file (TOML): a base recipe, arms, seeds and a budget.
//
//   name = "demo"
//   question = "Does it pay?"
//   base = "recipes/demo.toml"
//   seeds = [1, 2, 3]
//
//   [budget]
//   seconds = 25                 # of training, for each run: turned into steps before the first;
//                                # or tokens = 900000; or the recipe's own length
//   min_tokens = 500000          # lengthen all runs until these arms see so many tokens ...
//   min_tokens_arms = "flash2"   # ... an arm, or a level of a factor; all arms unless given
//
//   [factors.attention]          # arms are the product of the factors' levels
//   naive = ["attention.algorithm=naive"]
//   flash2 = ["attention.algorithm=flash2"]
//
//   [arms]                       # or named one by one
//   small-lr = ["optimizer.lr=1e-4"]
//
//   [equal_tokens]               # also compare the levels of one factor at equal steps
//   factor = "attention"
//   seconds = 5
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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
  std::string name;                 // "flash2-baseline"
  std::vector<std::string> levels;  // one a factor; empty for a named arm
  std::vector<std::string> overrides;
};

struct StudyFile {
  std::string text;  // the file as it is
  std::string name, question, base;
  std::vector<int64_t> seeds;
  double seconds = 0, tokens = 0;  // of one or the other; 0 both: the base recipe's own length
  double min_tokens = 0;
  std::string min_tokens_arms;  // an arm's or a level's name; empty: every arm
  std::vector<StudyFactor> factors;
  std::vector<StudyArm> arms;
  std::string equal_tokens_factor;
  double equal_tokens_seconds = 5;

  /// Whether budget.min_tokens speaks of this arm.
  bool needs_tokens(const StudyArm& arm) const;
};

/// Throws Error for what is not a study, naming file and line: unknown keys, no arms, no seeds,
/// values that a configuration refuses.
StudyFile read_study(const std::string& file);

}  // namespace strobe
