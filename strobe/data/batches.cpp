#include "strobe/data/batches.h"

#include <algorithm>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"

namespace strobe {

namespace {

// A permutation of [0, n) without a table: a four-round Feistel network over the next power of
// four, walked until it lands in range (Black & Rogaway 2002, "Ciphers with arbitrary finite
// domains"). Its round function is Philox, keyed by the seed and the epoch.
uint64_t permuted(uint64_t i, uint64_t n, uint64_t seed, uint32_t epoch) {
  int half = 1;
  while ((uint64_t{1} << (2 * half)) < n) ++half;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  do {
    uint64_t left = i >> half, right = i & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      const uint64_t mixed =
          random_block(seed, RandomUse::shuffle, epoch, right << 2 | round)[0] & mask;
      left = std::exchange(right, left ^ mixed);
    }
    i = left << half | right;
  } while (i >= n);
  return i;
}

}  // namespace

TrainBatches::TrainBatches(const Dataset& dataset, uint64_t seed, int64_t sequences, int64_t length)
    : dataset_(dataset), seed_(seed), sequences_(sequences), length_(length) {
  const int64_t tokens = dataset.split("train").tokens;
  blocks_ = (tokens - 1) / length;
  if (blocks_ < sequences)
    fail("data: the training split of {} has {} tokens; one batch of {} sequences of {} needs {}",
         dataset.folder(), tokens, sequences, length, sequences * length + 1);
}

int64_t TrainBatches::block_at(int64_t position) const {
  const int64_t epoch = position / blocks_;
  return static_cast<int64_t>(permuted(static_cast<uint64_t>(position % blocks_),
                                       static_cast<uint64_t>(blocks_), seed_,
                                       static_cast<uint32_t>(epoch)));
}

void TrainBatches::fill(HostBatch& out, int64_t index) const {
  out.sequences = sequences_, out.length = length_, out.scored = sequences_ * length_;
  out.tokens.resize(static_cast<size_t>(out.scored));
  out.targets.resize(static_cast<size_t>(out.scored));
  std::vector<int32_t> block(static_cast<size_t>(length_) + 1);
  for (int64_t s = 0; s < sequences_; ++s) {
    dataset_.read("train", block_at(index * sequences_ + s) * length_, length_ + 1, block.data());
    std::copy(block.begin(), block.end() - 1, out.tokens.begin() + s * length_);
    std::copy(block.begin() + 1, block.end(), out.targets.begin() + s * length_);
  }
}

EvalBatches::EvalBatches(const Dataset& dataset, std::string split, int64_t sequences,
                         int64_t length, int64_t max_tokens)
    : dataset_(dataset), split_(std::move(split)), sequences_(sequences), length_(length) {
  scored_ = dataset.split(split_).tokens - 1;
  if (scored_ < 1)
    fail("data: the split '{}' of {} has no token to predict", split_, dataset.folder());
  if (max_tokens > 0) scored_ = std::min(scored_, max_tokens);
}

int64_t EvalBatches::count() const {
  const int64_t rows = sequences_ * length_;
  return (scored_ + rows - 1) / rows;
}

void EvalBatches::fill(HostBatch& out, int64_t index) const {
  const int64_t rows = sequences_ * length_, begin = index * rows;
  out.sequences = sequences_, out.length = length_;
  out.scored = std::min(rows, scored_ - begin);
  out.tokens.assign(static_cast<size_t>(rows), 0);
  out.targets.assign(static_cast<size_t>(rows), -1);
  std::vector<int32_t> text(static_cast<size_t>(out.scored) + 1);
  dataset_.read(split_, begin, out.scored + 1, text.data());
  std::copy(text.begin(), text.end() - 1, out.tokens.begin());
  std::copy(text.begin() + 1, text.end(), out.targets.begin());
}

}  // namespace strobe
