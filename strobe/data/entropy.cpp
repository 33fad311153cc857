#include "strobe/data/entropy.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "strobe/core/error.h"
#include "strobe/data/pair_map.h"

namespace strobe {

namespace {

constexpr int64_t kBlock = 1 << 20;  // tokens read at a time

// Calls visit(previous, token) for every token of a split but the first.
template <class Visit>
void for_each_pair(const Dataset& dataset, const std::string& split, Visit visit) {
  const int64_t tokens = dataset.split(split).tokens;
  std::vector<int32_t> block(static_cast<size_t>(std::min(tokens, kBlock)));
  int32_t previous = -1;
  for (int64_t begin = 0; begin < tokens; begin += kBlock) {
    const int64_t count = std::min(kBlock, tokens - begin);
    dataset.read(split, begin, count, block.data());
    for (int64_t i = 0; i < count; ++i) {
      if (previous >= 0) visit(previous, block[static_cast<size_t>(i)]);
      previous = block[static_cast<size_t>(i)];
    }
  }
}

}  // namespace

SplitEntropy split_entropy(const Dataset& dataset, const std::string& split) {
  const auto vocab = static_cast<size_t>(dataset.vocab());
  std::vector<double> count(vocab), context(vocab), followers(vocab);
  PairMap<uint32_t> pairs;
  double total = 0;
  for_each_pair(dataset, "train", [&](int32_t previous, int32_t token) {
    count[static_cast<size_t>(token)] += 1, context[static_cast<size_t>(previous)] += 1, total += 1;
    const auto [together, is_new] = pairs.insert(previous, token);
    ++*together;
    if (is_new) followers[static_cast<size_t>(previous)] += 1;
  });

  double unigram = 0, bigram = 0, scored = 0;
  for_each_pair(dataset, split, [&](int32_t previous, int32_t token) {
    const double p = (count[static_cast<size_t>(token)] + 1) / (total + static_cast<double>(vocab));
    const double seen = context[static_cast<size_t>(previous)];
    const double types = followers[static_cast<size_t>(previous)];
    const uint32_t* pair = pairs.find(previous, token);
    const double together = pair ? *pair : 0;
    unigram -= std::log(p);
    bigram -= std::log(seen > 0 ? (together + types * p) / (seen + types) : p);
    scored += 1;
  });
  if (scored == 0)
    fail("data: the split '{}' of {} has no token to predict", split, dataset.folder());
  const double bits = 1 / std::numbers::ln2 / static_cast<double>(dataset.split(split).bytes);
  return {unigram / scored, bigram / scored, unigram * bits, bigram * bits};
}

}  // namespace strobe
