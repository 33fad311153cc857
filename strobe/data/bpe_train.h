// Learning the merges of a byte-level BPE.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "strobe/data/vocabulary_trainer.h"

namespace strobe {

/// Merges the most frequent pair of tokens until the vocabulary is large enough: the 256 bytes in
/// gpt2_byte_order(), what the merges make, and last <|endoftext|>.
class BpeTrainer final : public VocabularyTrainer {
 public:
  int64_t smallest() const override { return 257; }
  void add(std::string_view text) override;
  std::unique_ptr<const TokenModel> finish(int64_t entries) override;

 private:
  std::unordered_map<std::string, int64_t> counts_;  // of each piece of gpt2_piece_end
  std::string key_;
};

}  // namespace strobe
