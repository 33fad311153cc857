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

class TokenModel;

/// A vocabulary and the way text is cut into it. Immutable, cheap to copy, safe to share between
/// threads. The kinds are the byte-level BPE of GPT-2 (Radford et al. 2019) and the WordPiece of
/// BERT (Devlin et al. 2019).
class Tokenizer {
 public:
  /// Reads a tokenizer. `spec` is a Hugging Face tokenizer.json, or a folder with one; or
  /// "gpt2:DIR", a folder with encoder.json and vocab.bpe (or vocab.json and merges.txt, as Hugging
  /// Face names them); or "bert:DIR", a folder with vocab.txt, or that file. Of tokenizer.json the
  /// truncation, padding and post-processor are not applied: encode gives what `tokenizers` gives
  /// with add_special_tokens=False. A file that asks for anything that strobe would do otherwise
  /// (another split pattern or normaliser, dropout, ...) is refused.
  static Tokenizer load(const std::string& spec);

  /// Learns a vocabulary. `next` fills its argument with the next document and returns false when
  /// there is none. Deterministic. Fails if `vocab` is too small for the kind or the text has fewer
  /// pairs to offer.
  ///
  /// "bpe": the 256 bytes, vocab - 257 merges, those of Hugging Face's BpeTrainer, and last
  /// <|endoftext|>. "wordpiece", lower-cased, and "wordpiece-cased": see wordpiece_train.h.
  static Tokenizer train(const std::function<bool(std::string&)>& next, int64_t vocab,
                         const std::string& kind = "bpe");

  /// Writes a tokenizer.json that Hugging Face's `tokenizers` loads.
  void save(const std::string& file) const;
  /// Writes into a folder what transformers keeps of a tokenizer whose model takes sequences of at
  /// most `longest` tokens: tokenizer.json, tokenizer_config.json, for WordPiece vocab.txt.
  void save_folder(const std::string& folder, int64_t longest) const;

  int64_t vocab_size() const;

  /// The id of the special token that ends a document, <|endoftext|> or BERT's [SEP]; -1 if the
  /// vocabulary has none.
  int32_t end_of_text() const;
  /// The id of a special token, "[MASK]" for example; -1 if there is none of that name.
  int32_t special(std::string_view name) const;

  /// Appends the ids of `text` to `out`. Special tokens are not recognised in it: whatever stands
  /// in a text is text. Ill-formed UTF-8 is read as Python's errors="replace" reads it, U+FFFD for
  /// each maximal ill-formed subsequence; returns how many there were.
  int64_t encode(std::string_view text, std::vector<int32_t>& out) const;
  /// The same of text in which the names of special tokens stand for them: "a [MASK] b".
  int64_t encode_marked(std::string_view text, std::vector<int32_t>& out) const;

  /// The text of `ids`: of a byte-level BPE the bytes, which need not be whole characters; of
  /// WordPiece the pieces as `tokenizers` puts them together. `continued`: the ids follow others,
  /// which were decoded before. Fails on an id that is not in the vocabulary.
  std::string decode(std::span<const int32_t> ids, bool continued = false) const;

  /// The bytes of one token as the vocabulary has it; a special token's are its name.
  std::string_view token_bytes(int32_t id) const;

  /// A hash of everything that decides ids: equal exactly (up to collisions) where every text has
  /// equal ids. Independent of the file it was read from.
  uint64_t hash() const;

 private:
  explicit Tokenizer(std::shared_ptr<const TokenModel> model);

  std::shared_ptr<const TokenModel> model_;
  int32_t end_of_text_ = -1;
  uint64_t hash_ = 0;
};

}  // namespace strobe
