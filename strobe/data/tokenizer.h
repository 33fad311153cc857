// Tokenizers: text to token ids and back.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strobe {

struct Vocabulary;
class TokenModel;

/// The token that ends a document.
inline constexpr std::string_view end_of_text_token = "<|endoftext|>";

/// A vocabulary and the way text is cut into it. Immutable, cheap to copy, safe to share between
/// threads. Today's only kind is the byte-level BPE of GPT-2 (Radford et al. 2019).
class Tokenizer {
 public:
  /// Reads a tokenizer. `spec` is "gpt2:DIR", a folder with encoder.json and vocab.bpe (or
  /// vocab.json and merges.txt, as Hugging Face names them), or a Hugging Face tokenizer.json.
  /// Of the latter the truncation, padding and post-processor are not applied: encode gives what
  /// `tokenizers` gives with add_special_tokens=False. A file that asks for anything that strobe
  /// would do otherwise (another split pattern, a normaliser, dropout, ...) is refused.
  static Tokenizer load(const std::string& spec);

  /// Learns a byte-level BPE of `vocab` entries: the 256 bytes, vocab - 257 merges, and last
  /// <|endoftext|>. `next` fills its argument with the next document and returns false when there
  /// is none. Deterministic: the merges are those of Hugging Face's BpeTrainer. Fails if `vocab`
  /// is below 257 or the text has fewer merges to offer.
  static Tokenizer train(const std::function<bool(std::string&)>& next, int64_t vocab);

  /// Writes a tokenizer.json that Hugging Face's `tokenizers` loads.
  void save(const std::string& file) const;

  int64_t vocab_size() const;

  /// The id of <|endoftext|>; -1 if the vocabulary has none.
  int32_t end_of_text() const;

  /// Appends the ids of `text` to `out`. Special tokens are not recognised in it: whatever stands
  /// in a text is text. Ill-formed UTF-8 is read as Python's errors="replace" reads it, U+FFFD for
  /// each maximal ill-formed subsequence; returns how many there were.
  int64_t encode(std::string_view text, std::vector<int32_t>& out) const;

  /// The bytes of `ids`, which need not be whole UTF-8 characters. Fails on an id that is not in
  /// the vocabulary.
  std::string decode(std::span<const int32_t> ids) const;

  /// The bytes of one token; a special token's are its name.
  std::string_view token_bytes(int32_t id) const;

  /// A hash of the vocabulary, the merges and the kind: equal exactly (up to collisions) where
  /// every text has equal ids. Independent of the file it was read from.
  uint64_t hash() const;

 private:
  Tokenizer(Vocabulary vocabulary, const std::string& source);

  std::shared_ptr<const Vocabulary> vocabulary_;
  std::shared_ptr<const TokenModel> model_;
  int32_t end_of_text_ = -1;
  uint64_t hash_ = 0;
};

}  // namespace strobe
