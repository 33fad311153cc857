// What learns a vocabulary from text: one class a kind of tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "strobe/data/tokenizer_model.h"

namespace strobe {

class VocabularyTrainer {
 public:
  virtual ~VocabularyTrainer() = default;
  /// The fewest entries a vocabulary of the kind has.
  virtual int64_t smallest() const = 0;
  /// Counts the words of well-formed UTF-8; a word does not reach from one call to the next.
  virtual void add(std::string_view text) = 0;
  /// Learns a vocabulary of `entries` tokens; fewer, if the text has no more to offer.
  virtual std::unique_ptr<const TokenModel> finish(int64_t entries) = 0;
};

}  // namespace strobe
