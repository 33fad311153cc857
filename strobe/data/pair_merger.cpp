#include "strobe/data/pair_merger.h"

#include <utility>

namespace strobe {

void PairMerger::add(std::span<const int32_t> ids, int64_t count) {
  if (ids.size() < 2) return;
  word_ = static_cast<int32_t>(words_.size());
  words_.push_back({static_cast<int64_t>(ids_.size()), static_cast<int64_t>(ids.size()), count});
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  for (size_t i = 0; i + 1 < ids.size(); ++i) change(ids[i], ids[i + 1], 1);
}

bool PairMerger::next(Candidate& top) {
  propose();
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

void PairMerger::merge(const Candidate& top, int32_t id) {
  for (const int32_t index : top.words) {
    word_ = index;
    merge_in_word(words_[static_cast<size_t>(index)], top.pair, id);
  }
}

// The pair stands `times` more often in each occurrence of the current word.
void PairMerger::change(int32_t left, int32_t right, int64_t times) {
  *counts_.insert(left, right).first += times * words_[static_cast<size_t>(word_)].count;
  if (times < 0) return;
  const auto [slot, is_new] = arisen_index_.insert(left, right);
  if (is_new) {
    *slot = static_cast<int32_t>(arisen_.size());
    arisen_.push_back({0, {left, right}, {}});
  }
  std::vector<int32_t>& words = arisen_[static_cast<size_t>(*slot)].words;
  if (words.empty() || words.back() != word_) words.push_back(word_);
}

void PairMerger::merge_in_word(Word& word, const Pair& pair, int32_t id) {
  int32_t* ids = &ids_[static_cast<size_t>(word.begin)];
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

// Puts the pairs that arose since the last time among the candidates.
void PairMerger::propose() {
  for (Candidate& candidate : arisen_) {
    candidate.count = *counts_.find(candidate.pair[0], candidate.pair[1]);
    if (candidate.count > 0) candidates_.push(std::move(candidate));
  }
  arisen_.clear();
  arisen_index_ = {};
}

}  // namespace strobe
