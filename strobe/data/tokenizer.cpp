#include "strobe/data/tokenizer.h"

#include <algorithm>

#include "strobe/core/error.h"
#include "strobe/data/bpe.h"
#include "strobe/data/bpe_train.h"
#include "strobe/data/tokenizer_files.h"
#include "strobe/data/tokenizer_model.h"
#include "strobe/data/unicode.h"

namespace strobe {
namespace {

constexpr std::string_view gpt2_prefix = "gpt2:";

// FNV-1a, 64 bits.
class Hash {
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

uint64_t hash_of(const Vocabulary& vocabulary) {
  Hash hash;
  hash.bytes("byte-level BPE, GPT-2 split");
  hash.integer(static_cast<int64_t>(vocabulary.tokens.size()));
  for (const std::string& token : vocabulary.tokens) hash.bytes(token);
  hash.integer(static_cast<int64_t>(vocabulary.merges.size()));
  for (const auto& [left, right] : vocabulary.merges) {
    hash.integer(left);
    hash.integer(right);
  }
  hash.integer(static_cast<int64_t>(vocabulary.special.size()));
  for (const int32_t id : vocabulary.special) hash.integer(id);
  return hash.value();
}

}  // namespace

Tokenizer::Tokenizer(Vocabulary vocabulary, const std::string& source)
    : vocabulary_(std::make_shared<Vocabulary>(std::move(vocabulary))),
      model_(std::make_shared<ByteLevelBpe>(*vocabulary_, source)),
      hash_(hash_of(*vocabulary_)) {
  for (const int32_t id : vocabulary_->special)
    if (vocabulary_->tokens[id] == end_of_text_token) end_of_text_ = id;
}

Tokenizer Tokenizer::load(const std::string& spec) {
  if (spec.starts_with(gpt2_prefix)) {
    const std::string folder = spec.substr(gpt2_prefix.size());
    return Tokenizer(read_gpt2_files(folder), folder);
  }
  return Tokenizer(read_tokenizer_json(spec), spec);
}

Tokenizer Tokenizer::train(const std::function<bool(std::string&)>& next, int64_t vocab) {
  constexpr int64_t smallest = 257, largest = int64_t{1} << 24;
  if (vocab < smallest || vocab > largest)
    fail("tokenizer train: a vocabulary of {} entries; {} (the bytes and {}) to {} are accepted",
         vocab, smallest, end_of_text_token, largest);
  PieceCounts pieces;
  std::string text, repaired;
  while (next(text)) {
    repaired.clear();
    const bool well_formed = find_ill_formed(text) == text.size();
    if (!well_formed) repair_utf8(text, repaired);
    pieces.add(well_formed ? text : repaired);
  }
  Vocabulary vocabulary = train_byte_level_bpe(pieces, vocab - 1);
  const int64_t found = static_cast<int64_t>(vocabulary.tokens.size()) + 1;
  if (found < vocab)
    fail(
        "tokenizer train: the text has pairs for {} entries, {} were asked for; "
        "give more text or a smaller vocabulary",
        found, vocab);
  vocabulary.special.push_back(static_cast<int32_t>(vocabulary.tokens.size()));
  vocabulary.tokens.emplace_back(end_of_text_token);
  return Tokenizer(std::move(vocabulary), "the trained vocabulary");
}

void Tokenizer::save(const std::string& file) const { write_tokenizer_json(file, *vocabulary_); }

int64_t Tokenizer::vocab_size() const { return static_cast<int64_t>(vocabulary_->tokens.size()); }

int32_t Tokenizer::end_of_text() const { return end_of_text_; }

int64_t Tokenizer::encode(std::string_view text, std::vector<int32_t>& out) const {
  if (find_ill_formed(text) == text.size()) {
    model_->encode(text, out);
    return 0;
  }
  std::string repaired;
  const int64_t replaced = repair_utf8(text, repaired);
  model_->encode(repaired, out);
  return replaced;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) text += token_bytes(id);
  return text;
}

std::string_view Tokenizer::token_bytes(int32_t id) const {
  if (id < 0 || id >= vocab_size())
    fail("tokenizer: id {} is not in the vocabulary; 0 to {} are", id, vocab_size() - 1);
  return vocabulary_->tokens[id];
}

uint64_t Tokenizer::hash() const { return hash_; }

}  // namespace strobe
