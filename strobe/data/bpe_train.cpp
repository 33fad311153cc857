#include "strobe/data/bpe_train.h"

#include <algorithm>
#include <queue>
#include <vector>

#include "strobe/data/bpe.h"
#include "strobe/data/pair_map.h"
#include "strobe/data/pretokenize.h"

namespace strobe {
namespace {

using Pair = std::array<int32_t, 2>;

// A pair that may be merged next. `words` are those where it arose since it was last proposed;
// `count` is what it was then, and is looked up again when the pair comes to the top.
struct Candidate {
  int64_t count;
  Pair pair;
  std::vector<int32_t> words;

  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

// The distinct pieces as ids, and how often each pair stands in the text.
class Merger {
 public:
  explicit Merger(const PieceCounts& pieces) {
    std::array<int32_t, 256> byte_ids;
    for (int32_t id = 0; id < 256; ++id) byte_ids[gpt2_byte_order()[id]] = id;
    for (const auto& [piece, count] : pieces.counts()) {
      if (piece.size() < 2) continue;
      words_.push_back(
          {static_cast<int64_t>(ids_.size()), static_cast<int64_t>(piece.size()), count});
      for (const char byte : piece) ids_.push_back(byte_ids[static_cast<uint8_t>(byte)]);
    }
    for (word_ = 0; word_ < static_cast<int32_t>(words_.size()); ++word_) {
      const Word& word = words_[word_];
      const int32_t* ids = &ids_[word.begin];
      for (int64_t i = 0; i + 1 < word.size; ++i) change(ids[i], ids[i + 1], 1);
    }
    propose();
  }

  // Takes the most frequent pair and the words it is in; false if none is left.
  bool next(Candidate& top) {
    while (!candidates_.empty()) {
      top = candidates_.top();
      candidates_.pop();
      const int64_t now = *counts_.find(top.pair[0], top.pair[1]);
      if (now == top.count) return true;
      top.count = now;
      if (now > 0) candidates_.push(std::move(top));
    }
    return false;
  }

  // Replaces the pair by `id` in the words of the candidate.
  void merge(const Candidate& top, int32_t id) {
    for (const int32_t index : top.words) {
      word_ = index;
      merge_in_word(words_[index], top.pair, id);
    }
    propose();
  }

 private:
  struct Word {
    int64_t begin, size;  // in ids_
    int64_t count;
  };

  // The pair stands `times` more often in each occurrence of the current word.
  void change(int32_t left, int32_t right, int64_t times) {
    *counts_.insert(left, right).first += times * words_[word_].count;
    if (times < 0) return;
    const auto [slot, is_new] = arisen_index_.insert(left, right);
    if (is_new) {
      *slot = static_cast<int32_t>(arisen_.size());
      arisen_.push_back({0, {left, right}, {}});
    }
    std::vector<int32_t>& words = arisen_[*slot].words;
    if (words.empty() || words.back() != word_) words.push_back(word_);
  }

  void merge_in_word(Word& word, const Pair& pair, int32_t id) {
    int32_t* ids = &ids_[word.begin];
    int64_t kept = 0;
    for (int64_t i = 0; i < word.size; ++i) {
      if (i + 1 == word.size || ids[i] != pair[0] || ids[i + 1] != pair[1]) {
        ids[kept++] = ids[i];
        continue;
      }
      if (kept > 0) {
        change(ids[kept - 1], pair[0], -1);
        change(ids[kept - 1], id, 1);
      }
      if (i + 2 < word.size) {
        change(pair[1], ids[i + 2], -1);
        change(id, ids[i + 2], 1);
      }
      ids[kept++] = id;
      ++i;
    }
    word.size = kept;
  }

  void propose() {
    for (Candidate& candidate : arisen_) {
      candidate.count = *counts_.find(candidate.pair[0], candidate.pair[1]);
      if (candidate.count > 0) candidates_.push(std::move(candidate));
    }
    arisen_.clear();
    arisen_index_ = {};
  }

  std::vector<int32_t> ids_;
  std::vector<Word> words_;
  int32_t word_ = 0;  // the one being changed
  PairMap<int64_t> counts_;
  std::priority_queue<Candidate> candidates_;
  std::vector<Candidate> arisen_;  // pairs of the present merge, not yet proposed
  PairMap<int32_t> arisen_index_;
};

}  // namespace

void PieceCounts::add(std::string_view text) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = gpt2_piece_end(text, begin);
    key_.assign(text.substr(begin, end - begin));
    ++counts_[key_];
    begin = end;
  }
}

Vocabulary train_byte_level_bpe(const PieceCounts& pieces, int64_t entries) {
  Vocabulary vocabulary;
  std::unordered_map<std::string, int32_t> ids;
  for (const uint8_t byte : gpt2_byte_order()) {
    vocabulary.tokens.emplace_back(1, static_cast<char>(byte));
    ids.emplace(vocabulary.tokens.back(), static_cast<int32_t>(ids.size()));
  }
  Merger merger(pieces);
  Candidate top;
  std::vector<Pair> merges;
  while (static_cast<int64_t>(vocabulary.tokens.size()) < entries && merger.next(top)) {
    std::string token = vocabulary.tokens[top.pair[0]] + vocabulary.tokens[top.pair[1]];
    // Two pairs may make the same token ("a"+"bc", "ab"+"c"); it has one id.
    const auto [known, is_new] = ids.emplace(token, static_cast<int32_t>(ids.size()));
    if (is_new) vocabulary.tokens.push_back(std::move(token));
    merges.push_back(top.pair);
    merger.merge(top, known->second);
  }
  // A pair merged twice (it arose again after its first turn) has its later rank.
  PairMap<bool> seen;
  for (auto pair = merges.rbegin(); pair != merges.rend(); ++pair)
    if (seen.insert((*pair)[0], (*pair)[1]).second) vocabulary.merges.push_back(*pair);
  std::reverse(vocabulary.merges.begin(), vocabulary.merges.end());
  return vocabulary;
}

}  // namespace strobe
