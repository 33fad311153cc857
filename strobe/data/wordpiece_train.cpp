#include "strobe/data/wordpiece_train.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "strobe/data/pair_merger.h"
#include "strobe/data/unicode.h"
#include "strobe/data/wordpiece.h"
#include "strobe/data/wordpiece_files.h"

namespace strobe {
namespace {

constexpr size_t most_characters = 1000;  // of the alphabet
constexpr int64_t least_count = 2;        // of a pair that is merged

std::u32string characters_of(std::string_view word) {
  std::u32string out;
  for (size_t at = 0; at < word.size();) {
    const CodePoint point = decode_utf8(word, at);
    out += point.value;
    at += point.size;
  }
  return out;
}

// The most frequent characters.
std::set<char32_t> alphabet_of(const std::vector<std::pair<std::u32string, int64_t>>& words) {
  std::map<char32_t, int64_t> counts;
  for (const auto& [word, count] : words)
    for (const char32_t c : word) counts[c] += count;
  std::vector<std::pair<int64_t, char32_t>> order;
  for (const auto& [c, count] : counts) order.emplace_back(-count, c);
  std::sort(order.begin(), order.end());
  if (order.size() > most_characters) order.resize(most_characters);
  std::set<char32_t> out;
  for (const auto& [count, c] : order) out.insert(c);
  return out;
}

// Tokens by id, and ids by token.
class Tokens {
 public:
  explicit Tokens(std::vector<std::string>& list) : list_(list) {}
  int32_t add(std::string token) {
    const auto [known, is_new] = ids_.emplace(token, static_cast<int32_t>(list_.size()));
    if (is_new) list_.push_back(std::move(token));
    return known->second;
  }

 private:
  std::vector<std::string>& list_;
  std::unordered_map<std::string, int32_t> ids_;
};

}  // namespace

WordPieceTrainer::WordPieceTrainer(const BertNormalizerSettings& normalizer)
    : normalizer_(normalizer) {}

void WordPieceTrainer::add(std::string_view text) {
  words_.clear();
  normalizer_.cut(text, words_);
  size_t begin = 0;
  for (const size_t end : words_.ends) {
    key_.assign(words_.text, begin, end - begin);
    ++counts_[key_];
    begin = end;
  }
}

std::unique_ptr<const TokenModel> WordPieceTrainer::finish(int64_t entries) {
  std::vector<std::pair<std::u32string, int64_t>> words;
  for (const auto& [word, count] : counts_) words.emplace_back(characters_of(word), count);
  std::sort(words.begin(), words.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  const std::set<char32_t> alphabet = alphabet_of(words);

  WordPieceVocabulary vocabulary;
  vocabulary.normalizer = normalizer_.settings();
  Tokens tokens(vocabulary.tokens);
  for (const char* name : bert_special_tokens) vocabulary.special.push_back(tokens.add(name));
  std::map<char32_t, int32_t> first, inside;  // ids of characters, by where they stand
  const auto text_of = [](char32_t c) {
    std::string text;
    append_utf8(text, c);
    return text;
  };
  for (const char32_t c : alphabet) first[c] = tokens.add(text_of(c));
  // In the order in which the words have them, so that of equally frequent pairs of a word the
  // first is merged first.
  for (const auto& [word, count] : words)
    for (size_t i = 1; i < word.size(); ++i)
      if (alphabet.contains(word[i]) && !inside.contains(word[i]))
        inside[word[i]] = tokens.add(vocabulary.prefix + text_of(word[i]));

  PairMerger merger;
  std::vector<int32_t> ids;
  for (const auto& [word, count] : words) {
    ids.clear();
    for (size_t i = 0; i < word.size(); ++i)
      if (alphabet.contains(word[i])) ids.push_back(i == 0 ? first[word[i]] : inside[word[i]]);
    merger.add(ids, count);
  }
  PairMerger::Candidate top;
  while (static_cast<int64_t>(vocabulary.tokens.size()) < entries && merger.next(top) &&
         top.count >= least_count) {
    const auto [left, right] = top.pair;
    std::string_view rest = vocabulary.tokens[static_cast<size_t>(right)];
    if (rest.starts_with(vocabulary.prefix)) rest.remove_prefix(vocabulary.prefix.size());
    merger.merge(top, tokens.add(vocabulary.tokens[static_cast<size_t>(left)] + std::string(rest)));
  }
  return std::make_unique<WordPiece>(std::move(vocabulary), "the trained vocabulary");
}

}  // namespace strobe
