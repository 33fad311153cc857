#include "strobe/data/labelled_batches.h"

#include <algorithm>

#include "strobe/core/error.h"

namespace strobe {

EncodedExamples::EncodedExamples(const Tokenizer& tokenizer, const Examples& examples,
                                 int64_t longest)
    : longest_(longest), regression_(examples.regression()) {
  for (const Example& example : examples.rows) {
    rows_.push_back(encode_example(tokenizer, example, examples.pairs, longest));
    labels_.push_back(example.label);
  }
}

void EncodedExamples::fill(HostBatch& out, const std::vector<int64_t>& which) const {
  out.tokens.clear(), out.types.clear(), out.picks.clear(), out.targets.clear();
  out.scores.clear(), out.starts.assign(1, 0);
  out.sequences = static_cast<int64_t>(which.size()), out.length = longest_;
  int64_t longest = 0;
  for (const int64_t i : which) {
    const EncodedExample& row = rows_[static_cast<size_t>(i)];
    const float label = labels_[static_cast<size_t>(i)];
    out.picks.push_back(static_cast<int32_t>(out.tokens.size()));
    out.targets.push_back(regression_ ? 0 : static_cast<int32_t>(label));
    out.scores.push_back(label);
    out.tokens.insert(out.tokens.end(), row.ids.begin(), row.ids.end());
    for (size_t k = 0; k < row.ids.size(); ++k)
      out.types.push_back(static_cast<int32_t>(k) < row.first_size ? 0 : 1);
    out.starts.push_back(static_cast<int32_t>(out.tokens.size()));
    longest = std::max(longest, static_cast<int64_t>(row.ids.size()));
  }
  out.scored = out.sequences;
  // A device records a step once for every shape: rows that nothing is made of, a sequence of their
  // own, and a longest sequence that is rounded up, make them few.
  constexpr int64_t kRows = 64, kLongest = 32;
  const auto up = [](int64_t n, int64_t to) { return (n + to - 1) / to * to; };
  const int64_t room = out.sequences * longest_;
  const auto rows = static_cast<int64_t>(out.tokens.size());
  const int64_t filled = std::min(up(rows, std::min(kRows, longest_)), room);
  out.longest = std::min(std::max(up(longest, kLongest), filled - rows), longest_);
  if (filled > rows && filled - rows <= out.longest) {
    out.tokens.resize(static_cast<size_t>(filled), 0);
    out.types.resize(static_cast<size_t>(filled), 0);
    out.starts.push_back(static_cast<int32_t>(filled));
  }
}

LabelledTrainBatches::LabelledTrainBatches(EncodedExamples examples, uint64_t seed,
                                           int64_t sequences)
    : examples_(std::move(examples)), seed_(seed), sequences_(sequences) {
  if (examples_.size() < 1) fail("texts: there is no example to train on");
}

void LabelledTrainBatches::fill(HostBatch& out, int64_t index, int64_t) const {
  std::vector<int64_t> which;
  const auto size = static_cast<uint64_t>(examples_.size());
  for (int64_t s = 0; s < sequences_; ++s) {
    const auto position = static_cast<uint64_t>(index * sequences_ + s);
    which.push_back(static_cast<int64_t>(
        permuted(position % size, size, seed_, static_cast<uint32_t>(position / size))));
  }
  examples_.fill(out, which);
}

void LabelledEvalBatches::fill(HostBatch& out, int64_t index) const {
  std::vector<int64_t> which;
  for (int64_t i = index * sequences_; i < std::min((index + 1) * sequences_, examples_.size());
       ++i)
    which.push_back(i);
  examples_.fill(out, which);
}

}  // namespace strobe
