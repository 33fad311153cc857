// WordPiece (Schuster and Nakajima 2012) as BERT uses it (Devlin et al. 2019): words are cut, from
// the left, into the longest pieces that the vocabulary has.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/data/bert_normalizer.h"
#include "strobe/data/pair_map.h"
#include "strobe/data/pool.h"
#include "strobe/data/tokenizer_model.h"

namespace strobe {

/// Tokens are text; inside a word they begin with `prefix`.
struct WordPieceVocabulary : Vocabulary {
  BertNormalizerSettings normalizer;
  std::string unknown = "[UNK]", prefix = "##";
  int64_t longest_word = 100;  // in characters; longer ones are unknown
  bool cleanup = true;         // decoding takes out the space before . , ! ?
};

/// A word that is longer than `longest_word`, or has a rest that begins with no piece of the
/// vocabulary, is one unknown token. Time is linear in the text: from each place of a word no
/// further than the longest piece reaches, and the longest word is bounded.
class WordPiece final : public TokenModel {
 public:
  /// Checks the vocabulary (the unknown token is there, nothing twice) and fails, naming `source`,
  /// if it is none.
  WordPiece(WordPieceVocabulary vocabulary, const std::string& source);
  ~WordPiece() override;

  void encode(std::string_view text, std::vector<int32_t>& out) const override;
  std::string decode(std::span<const int32_t> ids, bool continued) const override;
  std::string_view document_end() const override { return "[SEP]"; }
  uint64_t hash() const override;
  std::string to_json() const override;
  std::vector<NamedText> vocabulary_files() const override;
  std::string config_json(int64_t longest) const override;

  /// The longest word that a vocabulary may ask for, in characters.
  static constexpr int64_t most_characters = 10000;

 private:
  struct Workspace;
  // A node of the trie of the tokens' bytes.
  static constexpr int32_t word_start = 0, word_inside = 1;

  void insert(int32_t node, std::string_view text, int32_t id);
  void encode_part(std::string_view part, Words& words, std::vector<int32_t>& out) const;
  void encode_word(std::string_view word, std::vector<int32_t>& out) const;

  BertNormalizer normalizer_;
  std::string unknown_, prefix_;
  int64_t longest_word_;
  bool cleanup_;
  int32_t unknown_id_ = -1;
  PairMap<int32_t> children_;      // of a node and a byte, another node
  std::vector<int32_t> token_at_;  // of each node; -1: none ends here
  mutable Pool<Workspace> workspaces_;
};

}  // namespace strobe
