// Learning the pieces of a WordPiece vocabulary.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "strobe/data/bert_normalizer.h"
#include "strobe/data/vocabulary_trainer.h"

namespace strobe {

/// Learns as Hugging Face's BertWordPieceTokenizer does: the special tokens, the 1,000 most
/// frequent characters, those of them that stand inside words with "##" before, and what merging
/// the most frequent pair makes, as long as it occurs twice. (Google's own trainer is not
/// published.) Where the package's order is one of hash tables, code points decide.
class WordPieceTrainer final : public VocabularyTrainer {
 public:
  explicit WordPieceTrainer(const BertNormalizerSettings& normalizer);

  int64_t smallest() const override { return 6; }
  void add(std::string_view text) override;
  std::unique_ptr<const TokenModel> finish(int64_t entries) override;

 private:
  BertNormalizer normalizer_;
  Words words_;
  std::string key_;
  std::unordered_map<std::string, int64_t> counts_;  // of each word
};

}  // namespace strobe
