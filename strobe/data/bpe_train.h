// Learning the merges of a byte-level BPE.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "strobe/data/tokenizer_model.h"

namespace strobe {

/// How often each piece of gpt2_piece_end occurs in the text it was given.
class PieceCounts {
 public:
  /// Counts the pieces of well-formed UTF-8; a piece does not reach from one call to the next.
  void add(std::string_view text);
  const std::unordered_map<std::string, int64_t>& counts() const { return counts_; }

 private:
  std::unordered_map<std::string, int64_t> counts_;
  std::string key_;
};

/// Merges the most frequent pair until the vocabulary has `entries` tokens, of which the first 256
/// are the bytes in gpt2_byte_order(); of equally frequent pairs the one with the smaller ids.
/// Stops early when no pair is left.
Vocabulary train_byte_level_bpe(const PieceCounts& pieces, int64_t entries);

}  // namespace strobe
