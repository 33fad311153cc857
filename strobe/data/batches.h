// Batches of token blocks. Both kinds are pure functions of a number, so that resuming a run, or
// repeating it, needs nothing but the number.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "strobe/data/dataset.h"

namespace strobe {

/// Rows in host memory: `sequences` blocks of `length` tokens, and for each the token that follows
/// it, or -1 where nothing is to be predicted. A model whose head picks its rows takes fewer rows
/// too, and targets of those that are picked.
struct HostBatch {
  std::vector<int32_t> tokens, targets;
  std::vector<int32_t> picks;  // the rows that targets, or scores, are of
  std::vector<int32_t> types;  // empty: all 0
  std::vector<float> scores;   // empty: none
  int64_t sequences = 0, length = 0;
  int64_t scored = 0;  // targets that are not -1
  int64_t filler = 0;  // rows at the end that nothing is made of
  /// Where attention begins anew, from 0 to the number of rows; empty: where blocks do.
  std::vector<int32_t> starts;
  int64_t longest = 0;  // no sequence is longer; 0: `length`
};

/// Adds rows that nothing is made of, a sequence of their own, up to a multiple of `unit` or to
/// `most` rows: a device records a step once for each number of rows.
void fill_up(HostBatch& batch, int64_t unit, int64_t most);

/// What a run trains on: micro-batches, each a pure function of its number.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  /// Micro-batch number `index` of a run; sequences are cut to at most `longest` (0: not).
  virtual void fill(HostBatch& out, int64_t index, int64_t longest) const = 0;
  virtual int64_t tokens_per_epoch() const = 0;
  /// Sequences that a micro-batch may have, when they are cut to no less than `shortest`.
  virtual int64_t most_sequences(int64_t shortest) const = 0;
  /// The most rows that a head which picks its rows reads of a micro-batch; 0: it reads all.
  virtual int64_t scored_rows() const { return 0; }
};

/// What a run is evaluated on: batches from 0 to count().
class EvalSource {
 public:
  virtual ~EvalSource() = default;
  virtual int64_t count() const = 0;
  virtual void fill(HostBatch& out, int64_t index) const = 0;
  virtual int64_t most_sequences() const = 0;
};

/// The i-th of [0, n) in an order of the seed's and epoch's own.
uint64_t permuted(uint64_t i, uint64_t n, uint64_t seed, uint32_t epoch);

/// How documents become blocks.
struct Packing {
  /// Each epoch puts the documents in another order and cuts the stream anew; otherwise borders
  /// stay where they are, and blocks alone change their order.
  bool shuffle_documents = false;
  bool mask_documents = false;  // attention ends where a document does
};

/// Training blocks: each epoch visits every block of `length` tokens once, in an order of its own.
class TrainBatches final : public BatchSource {
 public:
  /// Throws Error if the training split is shorter than one block.
  TrainBatches(const Dataset& dataset, uint64_t seed, int64_t sequences, int64_t length,
               Packing packing = {});

  /// Micro-batch number `index` of a run; blocks are cut into sequences of at most `longest` (0:
  /// not).
  void fill(HostBatch& out, int64_t index, int64_t longest = 0) const override;
  int64_t tokens_per_epoch() const override { return blocks_ * length_; }
  /// Sequences that a micro-batch may have, when blocks are cut to no less than `shortest`.
  int64_t most_sequences(int64_t shortest) const override;

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
class EvalBatches final : public EvalSource {
 public:
  /// `max_tokens` 0: the whole split.
  EvalBatches(const Dataset& dataset, std::string split, int64_t sequences, int64_t length,
              int64_t max_tokens = 0, bool mask_documents = false);

  int64_t count() const override;
  void fill(HostBatch& out, int64_t index) const override;
  int64_t most_sequences() const override;

 private:
  const Dataset& dataset_;
  std::string split_;
  int64_t sequences_, length_, scored_;
  bool mask_documents_;
};

}  // namespace strobe
