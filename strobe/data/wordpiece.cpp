#include "strobe/data/wordpiece.h"

#include <unordered_map>

#include "strobe/core/error.h"
#include "strobe/core/json_file.h"
#include "strobe/data/word_cache.h"

namespace strobe {
namespace {

int64_t characters_in(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) count += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  return count;
}

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
}

// The replacements of `tokenizers` and transformers, in their order.
void clean_up(std::string& text) {
  constexpr std::pair<std::string_view, std::string_view> table[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [what, by] : table) replace_all(text, what, by);
}

}  // namespace

struct WordPiece::Workspace {
  WordCache cache;
  Words words;
};

WordPiece::WordPiece(WordPieceVocabulary given, const std::string& source)
    : TokenModel(std::move(static_cast<Vocabulary&>(given))),
      normalizer_(given.normalizer),
      unknown_(std::move(given.unknown)),
      prefix_(std::move(given.prefix)),
      longest_word_(given.longest_word),
      cleanup_(given.cleanup),
      token_at_{-1, -1} {
  if (prefix_.empty())
    fail("tokenizer: {}: the prefix inside words is empty; \"##\" is usual", source);
  if (longest_word_ < 1 || longest_word_ > most_characters)
    fail("tokenizer: {}: words of at most {} characters; 1 to {} are accepted", source,
         longest_word_, most_characters);
  const std::vector<std::string>& tokens = vocabulary().tokens;
  std::unordered_map<std::string_view, int32_t> ids;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const std::string_view token = tokens[i];
    const auto [known, is_new] = ids.emplace(token, id);
    if (!is_new)
      fail("tokenizer: {}: ids {} and {} are the same token \"{}\"", source, known->second, id,
           brief(token));
    if (token == unknown_) unknown_id_ = id;
    if (token.starts_with(prefix_)) insert(word_inside, token.substr(prefix_.size()), id);
    insert(word_start, token, id);
  }
  if (unknown_id_ < 0)
    fail("tokenizer: {}: the vocabulary has no \"{}\", which stands for unknown words", source,
         brief(unknown_));
}

WordPiece::~WordPiece() = default;

void WordPiece::insert(int32_t node, std::string_view text, int32_t id) {
  if (text.empty()) return;  // no part of a word
  for (const char byte : text) {
    const auto [child, is_new] = children_.insert(node, static_cast<uint8_t>(byte));
    if (is_new) {
      *child = static_cast<int32_t>(token_at_.size());
      token_at_.push_back(-1);
    }
    node = *child;
  }
  token_at_[static_cast<size_t>(node)] = id;
}

void WordPiece::encode(std::string_view text, std::vector<int32_t>& out) const {
  const Pool<Workspace>::Lease workspace(workspaces_);
  for (size_t begin = 0; begin < text.size();) {
    if (BertNormalizer::separates(text[begin])) {
      ++begin;
      continue;
    }
    size_t end = begin + 1;
    while (end < text.size() && !BertNormalizer::separates(text[end])) ++end;
    const std::string_view part = text.substr(begin, end - begin);
    if (part.size() > WordCache::longest_word)
      encode_part(part, workspace->words, out);
    else
      workspace->cache.append(part, out,
                              [&](auto& ids) { encode_part(part, workspace->words, ids); });
    begin = end;
  }
}

// Text without a byte that separates.
void WordPiece::encode_part(std::string_view part, Words& words, std::vector<int32_t>& out) const {
  words.clear();
  normalizer_.cut(part, words);
  size_t begin = 0;
  for (const size_t end : words.ends) {
    encode_word(std::string_view(words.text).substr(begin, end - begin), out);
    begin = end;
  }
}

void WordPiece::encode_word(std::string_view word, std::vector<int32_t>& out) const {
  const size_t before = out.size();
  const auto give_up = [&] {
    out.resize(before);
    out.push_back(unknown_id_);
  };
  if (word.size() > static_cast<size_t>(longest_word_) && characters_in(word) > longest_word_)
    return give_up();
  int32_t root = word_start;
  while (!word.empty()) {
    int32_t node = root, found = -1;
    size_t size = 0;
    for (size_t i = 0; i < word.size(); ++i) {
      const int32_t* child = children_.find(node, static_cast<uint8_t>(word[i]));
      if (!child) break;
      node = *child;
      if (const int32_t id = token_at_[static_cast<size_t>(node)]; id >= 0)
        found = id, size = i + 1;
    }
    if (found < 0) return give_up();
    out.push_back(found);
    word.remove_prefix(size);
    root = word_inside;
  }
}

std::string WordPiece::decode(std::span<const int32_t> ids, bool continued) const {
  std::string text, token;
  for (const int32_t id : ids) {
    token = vocabulary().tokens[static_cast<size_t>(id)];
    if (continued) {
      if (token.starts_with(prefix_))
        token.erase(0, prefix_.size());
      else
        token.insert(0, 1, ' ');
    }
    continued = true;
    if (cleanup_) clean_up(token);
    text += token;
  }
  return text;
}

uint64_t WordPiece::hash() const {
  const BertNormalizerSettings& s = normalizer_.settings();
  VocabularyHash hash;
  hash.bytes("WordPiece, BERT's words");
  hash.integer(static_cast<int64_t>(vocabulary().tokens.size()));
  for (const std::string& token : vocabulary().tokens) hash.bytes(token);
  hash.integer(static_cast<int64_t>(vocabulary().special.size()));
  for (const int32_t id : vocabulary().special) hash.integer(id);
  for (const bool on :
       {s.clean_text, s.handle_chinese_chars, s.strip_accents.value_or(s.lowercase), s.lowercase})
    hash.integer(on);
  hash.bytes(unknown_);
  hash.bytes(prefix_);
  hash.integer(longest_word_);
  return hash.value();
}

}  // namespace strobe
