// Where a run stands, and the state.json of a checkpoint that keeps it.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace strobe {

/// Where a run stands: all that resuming needs beside the tensors.
struct TrainState {
  int64_t step = 0;                // updates done
  double tokens = 0, seconds = 0;  // by which the length of the run is measured
  double tokens_seen = 0;          // that there were: fewer than room for where texts are shorter
  double flops = 0;  // operations so far; NaN: what began with an older version did not count them
  double best_loss = std::numeric_limits<double>::infinity();  // least loss, or error, so far
  int64_t best_step = -1;                                      // -1: never evaluated
  /// Figures there by name, "val/accuracy"; empty: best_loss is the validation loss.
  std::vector<std::pair<std::string, double>> best_scores;
  bool evaluation_due = false;                                      // stopped before it was made
  double best_tied_loss = std::numeric_limits<double>::infinity();  // the loss there
  int64_t since_best = 0;                // evaluations since best_loss fell
  int64_t ema_steps = 0, snapshots = 0;  // that averages are made of
  double lr_most = 0, lr_squares = 0;    // the largest learning rate, and the sum of its squares
  double plateau_best = std::numeric_limits<double>::infinity(), plateau_factor = 1;
  int64_t plateau_bad = 0;  // see optim/schedule.h
  std::string gemm_plans;   // Backend::gemm_plans()
};

/// What state.json holds.
struct StateFile {
  TrainState state;
  std::map<std::string, std::string> checksums;  // of the checkpoint's other files, by name
};

/// With a checksum of its own at the end.
std::string to_text(const StateFile& file);

/// Of a checkpoint's folder. Throws Error for one that is damaged or is none. What an older version
/// did not write has its default.
StateFile read_state(const std::string& checkpoint);

}  // namespace strobe
