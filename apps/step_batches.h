// What `strobe bench step` times a step on.
#pragma once

#include "strobe/config/config.h"
#include "strobe/train/engine.h"

namespace strobe {

/// The batches of a recipe's labelled texts, or else of random tokens: blocks for GPT-2; for BERT's
/// masked words the same, with a share mask.rate of rows chosen; for its other heads texts of about
/// `mean_length` tokens, log-normally distributed (sigma 0.6), from 5 to the sequence length.
class StepBatches {
 public:
  /// Completes `config` by what its texts say: classes, vocabulary. `vocab`: of random tokens.
  StepBatches(Config& config, int64_t vocab, double mean_length);

  EngineShape shape() const { return shape_; }
  /// Steps that differ, which are taken in turn: several where texts have lengths of their own.
  int64_t count() const { return static_cast<int64_t>(steps_.size()); }
  const std::vector<HostBatch>& of_step(int64_t step) const {
    return steps_[static_cast<size_t>(step % count())];
  }
  /// Tokens of a step that are in a sequence, in the mean.
  double tokens() const;

 private:
  EngineShape shape_;
  std::vector<std::vector<HostBatch>> steps_;
};

}  // namespace strobe
