// What a study found: reads its folder, computes effects with their intervals, says them in words.
//
// A study is a folder:
//   study.json          {"name", "question", "factors": {"attention": ["naive", "flash2"], ...},
//                        "seeds": [1, 2, 3], "seconds": 25,
//                        "arms": [{"name", "levels": {"attention": "naive"}, "overrides": {...}}],
//                        "text": {"unigram_bits_per_byte", "bigram_bits_per_byte",
//                                 "unigram_nats", "bigram_nats"},
//                        "equal_tokens": {"factor": "attention",
//                                         "runs": {"naive": "runs/equal-naive", ...}}}
//   runs/<arm>-s<seed>/ run folders
// "factors" keeps its order, and the first level of each is the one that others are compared with.
// "seconds" are those of training planned for a run. "text" and "equal_tokens" may be absent, and
// so may runs: what is missing is said in the notes. Runs of "equal_tokens" had the same seed and
// the same number of steps. "outcome" is what is compared ("val/loss"), "targets" and
// "compare" ([{"arm", "reference"}], absent: every arm to the first) and "stopping_rule" were
// stated before the first run. A search also has "space", "sampler", "pruner", "rungs",
// "confirm_seeds", and its trials in journal.log (strobe/report/journal.h).
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "strobe/report/factorial.h"
#include "strobe/report/run_reader.h"
#include "strobe/report/stability.h"
#include "strobe/report/statistics.h"
#include "strobe/report/targets.h"

namespace strobe {

/// One run of an arm. Figures are NaN unless it finished.
struct SeedResult {
  int64_t seed = 0;
  std::string folder;                     // "runs/naive-baseline-s1"
  std::string state;                      // as RunResult's, or "missing"
  double loss;                            // the study's outcome, the validation loss unless stated
  double bits_per_byte, word_perplexity;  // validation, at the end
  double tokens, seconds, tokens_per_second, peak_bytes;

  bool finished() const { return state == "finished"; }
};

/// Validation losses with averages of the weights in their place, and how far they lie from those
/// of the weights themselves, run by run.
struct AverageResult {
  Interval loss, difference;
};

struct ArmResult {
  std::string name;
  std::string point, arm;  // of a search: "lion-p3", and "lion"; otherwise both the name
  std::vector<std::pair<std::string, std::string>> levels, overrides;
  std::vector<SeedResult> runs;                           // in order of seeds
  Interval loss, bits_per_byte, word_perplexity;          // over its finished runs
  AverageResult ema, lawa;                                // where it averages
  double tokens, seconds, tokens_per_second, peak_bytes;  // means over them
  // How steady it is. The standard deviation of the outcome over seeds with its interval; means
  // over all runs that logged steps; how many runs diverged, and failed otherwise.
  Interval deviation;
  double clipped, loss_spikes, norm_spikes, logged_steps;
  int diverged, failed;

  /// Runs that ended without a result: means are over what is left, which flatters.
  int lost() const { return diverged + failed; }
  /// Whether it ranks before another: the fewer lost runs first, then the lower mean.
  bool ranks_before(const ArmResult& other) const {
    return lost() != other.lost() ? lost() < other.lost() : loss.estimate < other.loss.estimate;
  }
};

/// A factor of a 2x2 factorial. Ratios are of `to` over `from`, over seeds and the other factor.
struct FactorResult {
  std::string name, from, to;
  Interval loss;                    // main effect on the validation loss, nats a token
  double corrected = kMissing;      // its p after Holm's correction, among all contrasts
  std::array<Interval, 2> loss_at;  // at either level of the other factor
  Interval tokens_per_second, peak_bytes, tokens;  // ratios
};

/// Paired by seed, over seeds whose four runs finished.
struct FactorialResult {
  std::array<FactorResult, 2> factors;
  Interval interaction, both;
  // p after Holm's correction: of the interaction among all contrasts, of both together among those
  // and itself.
  double interaction_corrected = kMissing, both_corrected = kMissing;
  std::vector<int64_t> seeds;
};

/// An arm against the first one, or what the study names, over seeds where both finished.
struct ComparisonResult {
  std::string arm, reference;
  Interval loss;
  double superiority;   // P(a run of the arm has the lower loss)
  double p, corrected;  // two-sided, of the interval's method; Holm's, among all comparisons

  /// Told apart although so many were compared.
  bool resolved() const { return corrected < 0.05; }
};

/// A factorial of any size, over seeds whose runs all finished.
struct EffectsResult {
  std::vector<FactorialContrast> contrasts;
  std::vector<VarianceTest> variance;
  size_t seeds = 0;
};

/// What it took the runs of an arm to reach a target: medians over seeds, infinite where half of
/// them or more missed it or did not finish.
struct ArmTarget {
  std::string arm;
  int reached = 0, runs = 0;
  double seconds, tokens, steps, flops;
  double seconds_with_search = kMissing;  // of a stated target that the base reaches later
};
/// log(seconds to a target) = log(steps to it) + log(seconds a step): what a choice saves in steps
/// and in the time of one. Contrasts of a factorial's natural logarithms, each list in the same
/// order, over the seeds whose every run reached the target; exp() of one is a ratio, of an
/// interaction a ratio of ratios.
struct TimeSplit {
  std::vector<FactorialContrast> seconds, steps, seconds_a_step;
  size_t seeds = 0;
};
struct TargetResult {
  double target = 0;
  bool stated = false;  // before the first run; otherwise it is what the first arm came to
  std::vector<ArmTarget> arms;
  std::optional<TimeSplit> split;  // if factors make the arms and some seed is whole
};

/// A trial of a search.
struct TrialResult {
  int64_t number = 0, seed = 0;
  std::string name, arm, phase, state, reason, text;  // text: its point
  std::vector<double> parameters;                     // as SearchResult::parameters; NaN: not its
  std::map<int64_t, double> rungs;
  double value, best, wall, seconds, tokens, flops;  // best: of the search up to here
};

/// How well a rung ranks what the whole run ranks.
struct RungResult {
  int64_t percent = 0;
  size_t trials = 0;
  Interval complete, mid_run;  // Spearman's; of short whole runs, and of the whole run on its way
  Interval difference;         // complete - mid_run, over the trials that have both
};

/// How far a searched number may lie from the best: of an arm that varies nothing else.
struct BandResult {
  std::string arm, parameter;
  Band band;
  double tolerance = 0;
  size_t points = 0, failed = 0;  // failed: points of which a run diverged or failed
};

struct SearchResult {
  std::string sampler, pruner;
  bool confirmed = false;
  int64_t wanted = 0, points = 0;  // of each arm, at most and on average; wanted 0: no limit
  int64_t seeds = 1, arms = 1;     // of each point; that were searched
  bool mid_run = false;            // runs are judged on their way
  std::vector<std::string> parameters;
  std::vector<std::vector<std::string>> labels;  // of parameters that are choices
  std::vector<bool> log;
  std::vector<double> importance;  // shares; empty while there are too few trials
  std::vector<TrialResult> trials;
  int complete = 0, pruned = 0, failed = 0, running = 0;  // of the search itself
  double wall = 0, tokens = 0, flops = 0;                 // the search itself
  double confirm_wall = 0;
  int64_t best = -1;             // index in `trials`, of the first complete trial of the best point
  double best_value = kMissing;  // the mean of the point's
  int best_seeds = 0;
  std::vector<RungResult> rungs;
  std::vector<size_t> front;  // trials no other beats in both outcome and seconds of training
  std::vector<BandResult> bands;
  std::vector<std::string> edges;  // parameters at an end of whose range the best lies
};

/// The same training, step for step, with either level of a factor.
struct EqualTokensResult {
  std::string factor;
  std::array<std::string, 2> levels;
  std::array<double, 2> loss, tokens_per_second, peak_bytes;  // loss: validation, at the end
  double tokens, steps;                                       // of the shorter
  double largest_training_difference;  // of the training loss at any common step
};

/// Entropies of the validation text under models that only count.
struct TextEntropy {
  double unigram_bits_per_byte, bigram_bits_per_byte, unigram_nats, bigram_nats;
};

struct StudyResult {
  std::string folder, name, question;
  std::vector<int64_t> seeds;
  double seconds = 0;  // of training planned for a run; 0: none
  /// A figure of the text, given in two units, in the outcome's; NaN if that is another.
  double in_unit(double nats_a_token, double bits_a_byte) const {
    return unit == "nats a token" ? nats_a_token : unit == "bits a byte" ? bits_a_byte : NAN;
  }
  std::string outcome, noun, unit, stopping_rule;  // "val/loss", "validation loss", "nats a token"
  std::vector<ArmResult> arms;
  std::optional<FactorialResult> factorial;  // if two factors of two levels make the arms
  std::optional<EffectsResult> effects;      // if factors make the arms
  std::vector<ComparisonResult> comparisons;
  bool compare_stated = false;  // they are what the study file asks for
  std::vector<TargetResult> targets;
  std::optional<Profile> profile;  // arms in order; instances are targets and seeds
  std::vector<size_t> front_of_seconds, front_of_memory;  // arms, against the outcome
  std::optional<SearchResult> search;
  std::optional<TextEntropy> text;
  std::optional<EqualTokensResult> equal_tokens;
  std::string headline;  // answers the question
  std::vector<std::string>
      sentences;                   // one a factor, one for both, what is alike, what is not shown
  std::vector<std::string> notes;  // missing, failed and torn runs
};

/// Reads a study folder and computes. Throws Error if it is no study or cannot be read; runs that
/// are missing or did not finish are left out of every figure and named in the notes.
StudyResult analyse_study(const std::string& folder);

/// The arm with the lowest outcome among those called `wanted`: an arm's name, a point's, or an arm
/// of the study whose search found them; among all if it is empty. Null if none has finished.
const ArmResult* best_arm(const StudyResult& result, const std::string& wanted);

/// The table of arms and the sentences, for a terminal.
std::string console_summary(const StudyResult& result);

/// Every figure as one JSON object: "value" is of what the study compares, "outcome"; "charts",
/// where they are given, has the curves, their bands and the parts of memory (charts.h), thinned
/// and to six digits as the page draws them.
std::string study_json(const StudyResult& result, const std::string& charts = "");
/// The same of a study folder, with its charts.
std::string study_json(const std::string& folder);

/// Writes the report of a study as one HTML file, whole or not at all.
void write_study_report(const std::string& folder, const std::string& out);

}  // namespace strobe
