// Loss and perplexity of a whole split.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "strobe/data/dataset.h"
#include "strobe/train/engine.h"

namespace strobe {

/// Non-overlapping blocks of the context, the last partial one too. Perplexities are of the tokens
/// scored; word perplexity and bits per byte are normalised by the words and bytes of the raw split
/// (in proportion, if only a part of the split was evaluated).
struct Evaluation {
  std::string split;
  int64_t tokens = 0;  // scored
  double loss = 0;     // nats a token
  double token_perplexity = 0, word_perplexity = 0, bits_per_byte = 0;
  bool stopped = false;  // before the end, when asked to
  /// Of labelled texts, by name: "accuracy". A correlation with what is all alike is none: NaN.
  std::vector<std::pair<std::string, double>> scores;
  /// 1 minus the mean of the scores, of one metric the share that is wrong; a score that is none
  /// counts 0. NaN without scores.
  double error() const;
  /// What the best checkpoint has least of: the loss, or where there are scores, the error.
  double rank() const { return scores.empty() ? loss : error(); }
  /// Loss with averages of the weights in their place, by name: "ema", "lawa".
  std::vector<std::pair<std::string, double>> averages;
};

/// `max_tokens` 0: the whole split. Stops early, with what it has, when `stop` returns true.
Evaluation evaluate(Engine& engine, const Dataset& dataset, const std::string& split,
                    const EvalSource& batches, const std::function<bool()>& stop);

/// The same of masked words: their loss and perplexity alone.
Evaluation evaluate_masked(Engine& engine, const std::string& split, const EvalSource& batches,
                           const std::function<bool()>& stop);

/// One JSON object: split, tokens, loss, token_perplexity, word_perplexity, bits_per_byte; of
/// labelled texts also the scores and the error.
std::string to_json(const Evaluation& evaluation);

}  // namespace strobe
