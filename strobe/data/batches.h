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
  /// Where attention begins anew, from 0 to the number of rows; empty: where blocks do.
  std::vector<int32_t> starts;
  int64_t longest = 0;  // no sequence is longer; 0: `length`
};

/// How documents become blocks.
struct Packing {
  /// Each epoch puts the documents in another order and cuts the stream anew; otherwise borders
  /// stay where they are, and blocks alone change their order.
  bool shuffle_documents = false;
  bool mask_documents = false;  // attention ends where a document does
};

/// Training blocks: each epoch visits every block of `length` tokens once, in an order of its own.
class TrainBatches {
 public:
  /// Throws Error if the training split is shorter than one block.
  TrainBatches(const Dataset& dataset, uint64_t seed, int64_t sequences, int64_t length,
               Packing packing = {});

  /// Micro-batch number `index` of a run; blocks are cut into sequences of at most `longest` (0:
  /// not).
  void fill(HostBatch& out, int64_t index, int64_t longest = 0) const;
  int64_t tokens_per_epoch() const { return blocks_ * length_; }
  /// Sequences that a micro-batch may have, when blocks are cut to no less than `shortest`.
  int64_t most_sequences(int64_t shortest) const;

 private:
  /// The documents of one epoch, in its order.
  struct Stream {
    int64_t epoch = -1;
    std::vector<int64_t> documents, begins;  // their numbers; where each begins in the stream
  };
  int64_t block_at(int64_t position) const;
  const Stream& stream_of(int64_t epoch) const;
  /// Tokens [begin, begin + count) of an epoch, and where documents begin among them.
  void read(int64_t epoch, int64_t begin, int64_t count, int32_t* out,
            std::vector<int64_t>& borders) const;

  const Dataset& dataset_;
  uint64_t seed_;
  int64_t sequences_, length_, blocks_;
  Packing packing_;
  mutable Stream stream_;
};

/// A whole split in non-overlapping blocks, the last partial one too. Every token but the first is
/// scored once.
class EvalBatches {
 public:
  /// `max_tokens` 0: the whole split.
  EvalBatches(const Dataset& dataset, std::string split, int64_t sequences, int64_t length,
              int64_t max_tokens = 0, bool mask_documents = false);

  int64_t count() const;
  void fill(HostBatch& out, int64_t index) const;
  int64_t most_sequences() const;

 private:
  const Dataset& dataset_;
  std::string split_;
  int64_t sequences_, length_, scored_;
  bool mask_documents_;
};

}  // namespace strobe
