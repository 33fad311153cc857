// The search for the most frequent pairs of symbols, which byte-pair encoding and WordPiece learn
// by (Gage 1994; Sennrich et al. 2016).
#pragma once

#include <array>
#include <cstdint>
#include <queue>
#include <span>
#include <vector>

#include "strobe/data/pair_map.h"

namespace strobe {

using Pair = std::array<int32_t, 2>;

/// The distinct words as ids, and how often each pair stands in the text.
class PairMerger {
 public:
  /// A pair that may be merged next. `words` are those where it arose since it was last proposed;
  /// `count` is what it was then, and is looked up again when the pair comes to the top.
  struct Candidate {
    int64_t count;
    Pair pair;
    std::vector<int32_t> words;

    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };

  /// A word of the text, and how often it occurs; before the first next().
  void add(std::span<const int32_t> ids, int64_t count);

  /// Takes the most frequent pair (of equally frequent ones that with the smaller ids) and the
  /// words it is in; false if none is left.
  bool next(Candidate& top);

  /// Replaces the pair by `id` in the words of the candidate.
  void merge(const Candidate& top, int32_t id);

 private:
  struct Word {
    int64_t begin, size;  // in ids_
    int64_t count;
  };

  void change(int32_t left, int32_t right, int64_t times);
  void merge_in_word(Word& word, const Pair& pair, int32_t id);
  void propose();

  std::vector<int32_t> ids_;
  std::vector<Word> words_;
  int32_t word_ = 0;  // the one being changed
  PairMap<int64_t> counts_;
  std::priority_queue<Candidate> candidates_;
  std::vector<Candidate> arisen_;  // pairs of the present merge, not yet proposed
  PairMap<int32_t> arisen_index_;
};

}  // namespace strobe
