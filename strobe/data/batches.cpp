#include "strobe/data/batches.h"

#include <algorithm>
#include <span>
#include <utility>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"

namespace strobe {

void fill_up(HostBatch& batch, int64_t unit, int64_t most) {
  const auto rows = static_cast<int64_t>(batch.tokens.size());
  const int64_t filled = std::min((rows + unit - 1) / unit * unit, most);
  batch.filler = std::max<int64_t>(0, filled - rows);
  if (batch.filler == 0) return;
  batch.tokens.resize(static_cast<size_t>(filled), 0);
  if (!batch.types.empty()) batch.types.resize(static_cast<size_t>(filled), 0);
  batch.starts.push_back(static_cast<int32_t>(filled));
}

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

namespace {

// Appends the sequences of one block: cut at `borders` (within the block) and at `longest`.
void append_starts(std::vector<int32_t>& starts, int64_t begin, int64_t length,
                   const std::vector<int64_t>& borders, int64_t longest) {
  const auto cut = [&](int64_t from, int64_t to) {
    for (int64_t at = from; at < to; at += longest)
      starts.push_back(static_cast<int32_t>(begin + at));
  };
  int64_t from = 0;
  for (const int64_t border : borders) {
    if (border <= from || border >= length) continue;
    cut(from, border);
    from = border;
  }
  cut(from, length);
}

// The most documents that `length` tokens in a row can touch, in whatever order documents come.
int64_t most_documents(std::span<const uint64_t> starts, int64_t tokens, int64_t length) {
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < starts.size(); ++i)
    sizes.push_back((i + 1 < starts.size() ? static_cast<int64_t>(starts[i + 1]) : tokens) -
                    static_cast<int64_t>(starts[i]));
  std::sort(sizes.begin(), sizes.end());
  int64_t count = 0, sum = 0;
  for (const int64_t size : sizes) {
    if (sum + size > length) break;
    sum += size, ++count;
  }
  return std::min(length, count + 2);  // and one at each end
}

std::vector<int64_t> borders_in(std::span<const uint64_t> starts, int64_t begin, int64_t count) {
  std::vector<int64_t> out;
  auto at = std::lower_bound(starts.begin(), starts.end(), static_cast<uint64_t>(begin));
  for (; at != starts.end() && static_cast<int64_t>(*at) < begin + count; ++at)
    out.push_back(static_cast<int64_t>(*at) - begin);
  return out;
}

}  // namespace

TrainBatches::TrainBatches(const Dataset& dataset, uint64_t seed, int64_t sequences, int64_t length,
                           Packing packing)
    : dataset_(dataset), seed_(seed), sequences_(sequences), length_(length), packing_(packing) {
  const int64_t tokens = dataset.split("train").tokens;
  blocks_ = (tokens - 1) / length;
  if (blocks_ < sequences)
    fail("data: the training split of {} has {} tokens; one batch of {} sequences of {} needs {}",
         dataset.folder(), tokens, sequences, length, sequences * length + 1);
}

int64_t TrainBatches::most_sequences(int64_t shortest) const {
  const int64_t pieces = (length_ + shortest - 1) / shortest;
  if (!packing_.mask_documents) return sequences_ * pieces;
  const int64_t documents =
      most_documents(dataset_.document_starts("train"), dataset_.split("train").tokens, length_);
  return sequences_ * std::min(length_, documents + pieces - 1);
}

int64_t TrainBatches::block_at(int64_t position) const {
  const int64_t epoch = position / blocks_;
  return static_cast<int64_t>(permuted(static_cast<uint64_t>(position % blocks_),
                                       static_cast<uint64_t>(blocks_), seed_,
                                       static_cast<uint32_t>(epoch)));
}

const TrainBatches::Stream& TrainBatches::stream_of(int64_t epoch) const {
  if (stream_.epoch == epoch) return stream_;
  const auto starts = dataset_.document_starts("train");
  const auto count = static_cast<uint64_t>(starts.size());
  // Apart from the order of blocks, which the same seed and epoch decide.
  constexpr uint64_t kDocuments = 0x646f63756d656e74;  // "document"
  stream_.epoch = epoch, stream_.documents.clear(), stream_.begins.clear();
  int64_t at = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t document = permuted(i, count, seed_ ^ kDocuments, static_cast<uint32_t>(epoch));
    const uint64_t end = document + 1 < count
                             ? starts[document + 1]
                             : static_cast<uint64_t>(dataset_.split("train").tokens);
    stream_.documents.push_back(static_cast<int64_t>(document));
    stream_.begins.push_back(at);
    at += static_cast<int64_t>(end - starts[document]);
  }
  return stream_;
}

void TrainBatches::read(int64_t epoch, int64_t begin, int64_t count, int32_t* out,
                        std::vector<int64_t>& borders) const {
  const auto starts = dataset_.document_starts("train");
  if (!packing_.shuffle_documents) {
    dataset_.read("train", begin, count, out);
    borders = borders_in(starts, begin, count);
    return;
  }
  const Stream& stream = stream_of(epoch);
  borders.clear();
  auto next = std::upper_bound(stream.begins.begin(), stream.begins.end(), begin);
  for (int64_t done = 0; done < count; ++next) {
    const auto i = static_cast<size_t>(next - stream.begins.begin()) - 1;  // the document here
    const int64_t skipped = begin + done - stream.begins[i];
    const int64_t end = next == stream.begins.end() ? dataset_.split("train").tokens : *next;
    const int64_t take = std::min(count - done, end - (begin + done));
    if (skipped == 0) borders.push_back(done);
    const auto first = static_cast<int64_t>(starts[static_cast<size_t>(stream.documents[i])]);
    if (take > 0) dataset_.read("train", first + skipped, take, out + done);
    done += take;
  }
}

void TrainBatches::fill(HostBatch& out, int64_t index, int64_t longest) const {
  out.sequences = sequences_, out.length = length_, out.scored = sequences_ * length_;
  out.tokens.resize(static_cast<size_t>(out.scored));
  out.targets.resize(static_cast<size_t>(out.scored));
  out.starts.clear();
  out.longest = longest > 0 ? std::min(longest, length_) : length_;
  const bool cuts = packing_.mask_documents || out.longest < length_;
  std::vector<int32_t> block(static_cast<size_t>(length_) + 1);
  std::vector<int64_t> borders;
  for (int64_t s = 0; s < sequences_; ++s) {
    const int64_t position = index * sequences_ + s;
    read(position / blocks_, block_at(position) * length_, length_ + 1, block.data(), borders);
    std::copy(block.begin(), block.end() - 1, out.tokens.begin() + s * length_);
    std::copy(block.begin() + 1, block.end(), out.targets.begin() + s * length_);
    if (!packing_.mask_documents) borders.clear();
    if (cuts) append_starts(out.starts, s * length_, length_, borders, out.longest);
  }
  if (cuts) out.starts.push_back(static_cast<int32_t>(out.scored));
}

EvalBatches::EvalBatches(const Dataset& dataset, std::string split, int64_t sequences,
                         int64_t length, int64_t max_tokens, bool mask_documents)
    : dataset_(dataset),
      split_(std::move(split)),
      sequences_(sequences),
      length_(length),
      mask_documents_(mask_documents) {
  scored_ = dataset.split(split_).tokens - 1;
  if (scored_ < 1)
    fail("data: the split '{}' of {} has no token to predict", split_, dataset.folder());
  if (max_tokens > 0) scored_ = std::min(scored_, max_tokens);
}

int64_t EvalBatches::count() const {
  const int64_t rows = sequences_ * length_;
  return (scored_ + rows - 1) / rows;
}

int64_t EvalBatches::most_sequences() const {
  if (!mask_documents_) return sequences_;
  return sequences_ *
         most_documents(dataset_.document_starts(split_), dataset_.split(split_).tokens, length_);
}

void EvalBatches::fill(HostBatch& out, int64_t index) const {
  const int64_t rows = sequences_ * length_, begin = index * rows;
  out.sequences = sequences_, out.length = length_;
  out.scored = std::min(rows, scored_ - begin);
  out.tokens.assign(static_cast<size_t>(rows), 0);
  out.targets.assign(static_cast<size_t>(rows), -1);
  out.starts.clear(), out.longest = length_;
  std::vector<int32_t> text(static_cast<size_t>(out.scored) + 1);
  dataset_.read(split_, begin, out.scored + 1, text.data());
  std::copy(text.begin(), text.end() - 1, out.tokens.begin());
  std::copy(text.begin() + 1, text.end(), out.targets.begin());
  if (!mask_documents_) return;
  for (int64_t s = 0; s < sequences_; ++s)
    append_starts(out.starts, s * length_, length_,
                  borders_in(dataset_.document_starts(split_), begin + s * length_, length_),
                  length_);
  out.starts.push_back(static_cast<int32_t>(rows));
}

}  // namespace strobe
