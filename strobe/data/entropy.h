// What a text's statistics alone achieve: the floor that a language model must get below before it
// can be said to have learned anything.
#pragma once

#include <string>

#include "strobe/data/dataset.h"

namespace strobe {

/// Cross-entropy of a split under counts of the training split.
///
/// Unigram: P(w) = (c(w) + 1) / (n + V). Bigram: Witten-Bell interpolation with the unigram,
/// P(w | v) = (c(v, w) + t(v) P(w)) / (c(v) + t(v)), where t(v) is how many different tokens follow
/// v (Witten & Bell 1991, method C).
struct SplitEntropy {
  double unigram_nats = 0, bigram_nats = 0;                    // a token
  double unigram_bits_per_byte = 0, bigram_bits_per_byte = 0;  // of the split's raw text
};

SplitEntropy split_entropy(const Dataset& dataset, const std::string& split);

}  // namespace strobe
