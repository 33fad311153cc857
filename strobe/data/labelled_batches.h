// Batches of labelled texts: one after another without padding, and the label of each at its first
// row.
#pragma once

#include <vector>

#include "strobe/data/batches.h"
#include "strobe/data/examples.h"
#include "strobe/data/tokenizer.h"

namespace strobe {

/// Examples as ids, of at most `longest` tokens each.
class EncodedExamples {
 public:
  EncodedExamples(const Tokenizer& tokenizer, const Examples& examples, int64_t longest);

  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  int64_t longest() const { return longest_; }
  int64_t cut() const { return cut_; }  // how many were longer
  float label(int64_t i) const { return labels_[static_cast<size_t>(i)]; }
  /// A batch of these examples.
  void fill(HostBatch& out, const std::vector<int64_t>& which) const;

 private:
  int64_t longest_, cut_ = 0;
  bool regression_;
  std::vector<EncodedExample> rows_;
  std::vector<float> labels_;
};

/// Rounds the rows of a batch up, and its longest sequence to a power of two, at most its length: a
/// device records a step once for each shape.
void make_shapes_few(HostBatch& batch, int64_t longest);

/// Every epoch visits every example once, in an order of its own; a batch may hold the end of one
/// and the beginning of the next. Tokens are counted as if all examples were the longest.
class LabelledTrainBatches final : public BatchSource {
 public:
  LabelledTrainBatches(EncodedExamples examples, uint64_t seed, int64_t sequences);
  void fill(HostBatch& out, int64_t index, int64_t longest) const override;
  int64_t tokens_per_epoch() const override { return examples_.size() * examples_.longest(); }
  int64_t most_sequences(int64_t) const override { return sequences_ + 1; }
  int64_t scored_rows() const override { return sequences_; }
  const EncodedExamples& examples() const { return examples_; }

 private:
  EncodedExamples examples_;
  uint64_t seed_;
  int64_t sequences_;
};

/// All examples in their order.
class LabelledEvalBatches final : public EvalSource {
 public:
  LabelledEvalBatches(EncodedExamples examples, int64_t sequences)
      : examples_(std::move(examples)), sequences_(sequences) {}
  int64_t count() const override { return (examples_.size() + sequences_ - 1) / sequences_; }
  void fill(HostBatch& out, int64_t index) const override;
  int64_t most_sequences() const override { return sequences_ + 1; }
  const EncodedExamples& examples() const { return examples_; }

 private:
  EncodedExamples examples_;
  int64_t sequences_;
};

}  // namespace strobe
