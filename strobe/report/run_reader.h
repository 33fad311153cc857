// A run folder as data. Reads what training wrote and nothing else, also while it still writes.
#pragma once

#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace strobe {

inline constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

/// A training step. What the log does not have, or has as null, is NaN.
struct TrainPoint {
  double step, tokens, seconds;  // done after this step; seconds of training alone
  double loss, lr, grad_norm, tokens_per_second, mfu;
};

/// An evaluation on the validation split, after `step` steps.
struct EvalPoint {
  double step, tokens, seconds, flops;
  double loss, token_perplexity, word_perplexity, bits_per_byte;
  double error = kMissing;  // of labelled texts: 1 minus the mean of the metrics
  double loss_ema = kMissing, loss_lawa = kMissing;  // with averages of the weights in their place
  double loss_averaged = kMissing;  // of the average that the run keeps; loss where it keeps none
};

struct MemoryPart {
  std::string part;  // "parameters", "activations: h.0.attn"
  double bytes;
};

/// How a run ended. Figures that are missing are NaN.
struct RunResult {
  std::string state = "unfinished";  // finished, stopped, diverged; unfinished: no result yet
  double steps = kMissing, tokens = kMissing, seconds = kMissing;
  double loss = kMissing, bits_per_byte = kMissing, word_perplexity = kMissing;  // validation
  double token_perplexity = kMissing, error = kMissing;
  double tokens_per_second = kMissing, parameters = kMissing;
  double peak_bytes = kMissing, planned_bytes = kMissing;
  double loss_ema = kMissing, loss_lawa = kMissing, train_loss = kMissing;
  double loss_averaged = kMissing;
};

struct RunRecord {
  std::string path;                                              // as given
  std::string name;                                              // the folder's own name
  std::vector<std::pair<std::string, std::string>> config;       // dotted path, value
  std::vector<std::pair<std::string, std::string>> environment;  // as text, in the file's order
  std::vector<MemoryPart> memory;
  std::vector<TrainPoint> training;
  std::vector<EvalPoint> evaluations;
  RunResult result;
  std::string samples;
  std::vector<std::string> notes;  // what to know before believing it, one sentence each
};

/// Reads a run folder. Only config.toml must be there; a missing file leaves its part empty, and a
/// torn last line of events.jsonl (the process was killed) is left out with a note. Throws Error
/// naming file and line for a folder that is no run and for what cannot be read.
RunRecord read_run(const std::string& path);

/// The share of a run's training time that went into steps at less than half of its median speed;
/// much of it means that something else was using the machine.
double slow_share(const RunRecord& run);

/// True if `path` has a study.json (a study) and not a config.toml (a run).
bool is_study_folder(const std::string& path);

/// The value of a configuration key or environment entry; "" if absent.
std::string value_of(const std::vector<std::pair<std::string, std::string>>& entries,
                     const std::string& key);

}  // namespace strobe
