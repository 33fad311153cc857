// What a kind of tokenizer is made of: a vocabulary, and a model that cuts text into it and puts it
// together again. tokenizer_kinds.h lists the kinds; Tokenizer is what everybody else uses.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace strobe {

/// What every kind has.
struct Vocabulary {
  std::vector<std::string> tokens;  // text or bytes by id; a special token's is its name
  std::vector<int32_t> special;     // ids that stand for no text, ascending
};

/// FNV-1a, 64 bits, of a tokenizer's data.
class VocabularyHash {
 public:
  void bytes(std::string_view text) {
    integer(static_cast<int64_t>(text.size()));
    for (const char c : text) byte(static_cast<uint8_t>(c));
  }
  void integer(int64_t value) {
    for (int i = 0; i < 8; ++i) byte(static_cast<uint8_t>(value >> 8 * i));
  }
  uint64_t value() const { return value_; }

 private:
  void byte(uint8_t b) { value_ = (value_ ^ b) * 0x100000001B3u; }
  uint64_t value_ = 0xCBF29CE484222325u;
};

/// A file's name and contents.
using NamedText = std::pair<std::string, std::string>;

/// One kind's way of cutting text. Immutable; every method is thread-safe.
class TokenModel {
 public:
  explicit TokenModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  virtual ~TokenModel() = default;

  const Vocabulary& vocabulary() const { return vocabulary_; }

  /// Appends the ids of well-formed UTF-8 to `out`.
  virtual void encode(std::string_view text, std::vector<int32_t>& out) const = 0;
  /// The bytes of ids of the vocabulary. `continued`: they follow others, so that a kind that keeps
  /// no white space puts some before the first.
  virtual std::string decode(std::span<const int32_t> ids, bool continued) const = 0;
  /// The name of the special token that stands at a document's end, if the vocabulary has it.
  virtual std::string_view document_end() const = 0;
  /// Of everything that decides the ids of a text.
  virtual uint64_t hash() const = 0;
  /// The text of a Hugging Face tokenizer.json.
  virtual std::string to_json() const = 0;
  /// The files beside tokenizer.json and tokenizer_config.json that Hugging Face keeps of the kind.
  virtual std::vector<NamedText> vocabulary_files() const = 0;
  /// The text of tokenizer_config.json, for sequences of at most `longest` tokens.
  virtual std::string config_json(int64_t longest) const = 0;

 private:
  Vocabulary vocabulary_;
};

}  // namespace strobe
