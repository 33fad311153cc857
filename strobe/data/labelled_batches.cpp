#include "strobe/data/labelled_batches.h"

#include <algorithm>
#include <bit>

#include "strobe/core/error.h"

namespace strobe {

EncodedExamples::EncodedExamples(const Tokenizer& tokenizer, const Examples& examples,
                                 int64_t longest)
    : longest_(longest), regression_(examples.regression()) {
  for (const Example& example : examples.rows) {
    rows_.push_back(encode_example(tokenizer, example, examples.pairs, longest));
    labels_.push_back(example.label);
    cut_ += rows_.back().cut;
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
  make_shapes_few(out, longest);
}

void make_shapes_few(HostBatch& batch, int64_t longest) {
  constexpr int64_t kRows = 64;
  fill_up(batch, std::min(kRows, batch.length), batch.sequences * batch.length);
  const auto up = std::bit_ceil(static_cast<uint64_t>(std::max(longest, batch.filler)));
  batch.longest = std::min(static_cast<int64_t>(up), batch.length);
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
