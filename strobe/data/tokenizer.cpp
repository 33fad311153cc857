#include "strobe/data/tokenizer.h"

#include <algorithm>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/data/tokenizer_kinds.h"
#include "strobe/data/tokenizer_model.h"
#include "strobe/data/unicode.h"

namespace strobe {

Tokenizer::Tokenizer(std::shared_ptr<const TokenModel> model)
    : model_(std::move(model)), hash_(model_->hash()) {
  end_of_text_ = special(model_->document_end());
}

Tokenizer Tokenizer::load(const std::string& spec) { return Tokenizer(read_tokenizer(spec)); }

Tokenizer Tokenizer::train(const std::function<bool(std::string&)>& next, int64_t vocab,
                           const std::string& kind) {
  const std::unique_ptr<VocabularyTrainer> trainer = make_vocabulary_trainer(kind);
  constexpr int64_t largest = int64_t{1} << 24;
  if (vocab < trainer->smallest() || vocab > largest)
    fail(
        "tokenizer train: a vocabulary of {} entries; {} (what every one of its kind has) to {} "
        "are accepted",
        vocab, trainer->smallest(), largest);
  std::string text, repaired;
  while (next(text)) {
    repaired.clear();
    const bool well_formed = find_ill_formed(text) == text.size();
    if (!well_formed) repair_utf8(text, repaired);
    trainer->add(well_formed ? text : repaired);
  }
  Tokenizer trained(trainer->finish(vocab));
  if (trained.vocab_size() < vocab)
    fail(
        "tokenizer train: the text has pairs for {} entries, {} were asked for; "
        "give more text or a smaller vocabulary",
        trained.vocab_size(), vocab);
  if (trained.vocab_size() > vocab)
    fail(
        "tokenizer train: the characters of the text take {} entries, {} were asked for; give a "
        "larger vocabulary",
        trained.vocab_size(), vocab);
  return trained;
}

void Tokenizer::save(const std::string& file) const {
  write_file("tokenizer", file, model_->to_json());
}

void Tokenizer::save_folder(const std::string& folder, int64_t longest) const {
  save(folder + "/tokenizer.json");
  write_file("tokenizer", folder + "/tokenizer_config.json", model_->config_json(longest));
  for (const auto& [name, text] : model_->vocabulary_files())
    write_file("tokenizer", folder + "/" + name, text);
}

int64_t Tokenizer::vocab_size() const {
  return static_cast<int64_t>(model_->vocabulary().tokens.size());
}

int32_t Tokenizer::end_of_text() const { return end_of_text_; }

int32_t Tokenizer::special(std::string_view name) const {
  const Vocabulary& vocabulary = model_->vocabulary();
  for (const int32_t id : vocabulary.special)
    if (vocabulary.tokens[static_cast<size_t>(id)] == name) return id;
  return -1;
}

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

int64_t Tokenizer::encode_marked(std::string_view text, std::vector<int32_t>& out) const {
  const Vocabulary& vocabulary = model_->vocabulary();
  int64_t replaced = 0;
  size_t plain = 0;
  for (size_t at = 0; at < text.size();) {
    int32_t found = -1;
    size_t size = 0;
    for (const int32_t id : vocabulary.special) {
      const std::string& name = vocabulary.tokens[static_cast<size_t>(id)];
      if (name.size() > size && text.substr(at).starts_with(name)) found = id, size = name.size();
    }
    if (found < 0) {
      ++at;
      continue;
    }
    replaced += encode(text.substr(plain, at - plain), out);
    out.push_back(found);
    plain = at += size;
  }
  return replaced + encode(text.substr(plain), out);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool continued) const {
  for (const int32_t id : ids) token_bytes(id);
  return model_->decode(ids, continued);
}

std::string_view Tokenizer::token_bytes(int32_t id) const {
  if (id < 0 || id >= vocab_size())
    fail("tokenizer: id {} is not in the vocabulary; 0 to {} are", id, vocab_size() - 1);
  return model_->vocabulary().tokens[static_cast<size_t>(id)];
}

uint64_t Tokenizer::hash() const { return hash_; }

}  // namespace strobe
