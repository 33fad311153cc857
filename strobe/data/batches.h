// Batches of token blocks. Both kinds are pure functions of a number, so that resuming a run, or
// repeating it, needs nothing but the number.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "strobe/data/dataset.h"

namespace strobe {

/// Rows in host memory: `sequences` blocks of `length` tokens, and for each the token that follows
/// it, or -1 where nothing is to be predicted.
struct HostBatch {
  std::vector<int32_t> tokens, targets;
  int64_t sequences = 0, length = 0;
  int64_t scored = 0;  // targets that are not -1
};

/// Training blocks: each epoch visits every block of `length` tokens once, in an order of its own.
class TrainBatches {
 public:
  /// Throws Error if the training split is shorter than one block.
  TrainBatches(const Dataset& dataset, uint64_t seed, int64_t sequences, int64_t length);

  /// Micro-batch number `index` of a run.
  void fill(HostBatch& out, int64_t index) const;
  int64_t tokens_per_epoch() const { return blocks_ * length_; }

 private:
  int64_t block_at(int64_t position) const;

  const Dataset& dataset_;
  uint64_t seed_;
  int64_t sequences_, length_, blocks_;
};

/// A whole split in non-overlapping blocks, the last partial one too. Every token but the first is
/// scored once.
class EvalBatches {
 public:
  /// `max_tokens` 0: the whole split.
  EvalBatches(const Dataset& dataset, std::string split, int64_t sequences, int64_t length,
              int64_t max_tokens = 0);

  int64_t count() const;
  void fill(HostBatch& out, int64_t index) const;

 private:
  const Dataset& dataset_;
  std::string split_;
  int64_t sequences_, length_, scored_;
};

}  // namespace strobe
