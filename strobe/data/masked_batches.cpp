#include "strobe/data/masked_batches.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"

namespace strobe {

namespace {

constexpr int64_t kFrame = 2;  // [CLS] and [SEP]

// A device records a step once for each shape: as many rows for the head in every batch, and nearly
// always as many rows.
void fill_up_rows(HostBatch& batch, int64_t scored) {
  constexpr int64_t kRows = 64;
  batch.picks.resize(static_cast<size_t>(scored), 0);
  batch.targets.resize(static_cast<size_t>(scored), -1);
  fill_up(batch, std::min(kRows, batch.longest), batch.sequences * batch.length);
}

// The seed of evaluations: the words that a split is judged by are always the same.
constexpr uint64_t kEvaluation = 0x6d61736b6564;  // "masked"

}  // namespace

int64_t MaskedWords::text_length(int64_t length) {
  if (length <= kFrame)
    fail("train.sequence: {} tokens have no room for text beside [CLS] and [SEP]", length);
  return length - kFrame;
}

MaskedWords::MaskedWords(const Tokenizer& tokenizer, const Masking& masking, uint64_t seed)
    : masking_(masking),
      seed_(seed),
      cls_(tokenizer.special("[CLS]")),
      sep_(tokenizer.special("[SEP]")),
      mask_(tokenizer.special("[MASK]")) {
  if (cls_ < 0 || sep_ < 0 || mask_ < 0)
    fail(
        "mask: the tokenizer of the data has no [CLS], [SEP] and [MASK]; 'strobe data prepare "
        "--tokenizer train:wordpiece:8192', for example, learns one that has");
  if (!(masking.rate > 0 && masking.rate < 1))
    fail("mask.rate: {} is not a share between 0 and 1", masking.rate);
  if (!(masking.masked >= 0 && masking.random >= 0 && masking.masked + masking.random <= 1))
    fail("mask: masked ({}) and random ({}) are shares that make at most 1 together",
         masking.masked, masking.random);
  const auto vocab = static_cast<size_t>(tokenizer.vocab_size());
  special_.resize(vocab), continues_.resize(vocab);
  for (const char* name : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"})
    if (const int32_t id = tokenizer.special(name); id >= 0)
      special_[static_cast<size_t>(id)] = true;
  for (size_t id = 0; id < vocab; ++id)
    continues_[id] = tokenizer.token_bytes(static_cast<int32_t>(id)).starts_with("##");
}

int64_t MaskedWords::scored_rows(int64_t sequences, int64_t length) const {
  return std::max<int64_t>(
      1, static_cast<int64_t>(std::ceil(masking_.rate * static_cast<double>(sequences * length))));
}

void MaskedWords::fill(HostBatch& out, const HostBatch& text, int64_t rows, int64_t length,
                       uint64_t number) const {
  std::vector<int32_t> borders = text.starts;
  if (borders.empty())
    for (int64_t s = 0; s <= text.sequences; ++s)
      borders.push_back(static_cast<int32_t>(s * text.length));
  out.tokens.clear(), out.types.clear(), out.scores.clear(), out.starts.assign(1, 0);
  out.sequences = text.sequences, out.length = length, out.longest = length;
  int64_t block = 0, room = length;  // of the block at hand, rows that it may still take
  for (size_t i = 0; i + 1 < borders.size(); ++i) {
    const int64_t begin = borders[i], end = std::min<int64_t>(borders[i + 1], rows);
    if (begin >= end) continue;
    if (begin / text.length != block) block = begin / text.length, room = length;
    int64_t take = std::min(end - begin, room - kFrame);
    const auto* ids = text.tokens.data() + begin;
    if (take > 0 && ids[take - 1] == sep_) --take;  // a document's end
    if (take <= 0) continue;
    out.tokens.push_back(cls_);
    out.tokens.insert(out.tokens.end(), ids, ids + take);
    out.tokens.push_back(sep_);
    out.starts.push_back(static_cast<int32_t>(out.tokens.size()));
    room -= take + kFrame;
  }
  // Ends of documents alone are one empty text: a batch has rows.
  if (out.tokens.empty()) out.tokens = {cls_, sep_}, out.starts.push_back(kFrame);
  choose(out, number);
}

void MaskedWords::choose(HostBatch& out, uint64_t number) const {
  RandomSequence random(seed_ ^ (number >> 32 << 32), RandomUse::mask,
                        static_cast<uint32_t>(number));
  const auto is_special = [&](int32_t id) { return special_[static_cast<size_t>(id)]; };
  const auto rows = static_cast<int32_t>(out.tokens.size());
  std::vector<int32_t> words;  // where each begins
  for (int32_t row = 0; row < rows; ++row) {
    const int32_t id = out.tokens[static_cast<size_t>(row)];
    if (is_special(id)) continue;
    const bool inside = masking_.whole_words && row > 0 && continues_[static_cast<size_t>(id)] &&
                        !is_special(out.tokens[static_cast<size_t>(row - 1)]);
    if (!inside) words.push_back(row);
  }
  const auto size_of_word = [&](int32_t row) {
    int32_t end = row + 1;
    while (masking_.whole_words && end < rows &&
           continues_[static_cast<size_t>(out.tokens[static_cast<size_t>(end)])])
      ++end;
    return end - row;
  };
  const auto wanted =
      std::max<int64_t>(1, std::llround(std::floor(masking_.rate * static_cast<double>(rows))));
  out.picks.clear(), out.targets.clear();
  // Words in a random order (Fisher and Yates), as long as they fit.
  for (size_t i = 0; i < words.size() && static_cast<int64_t>(out.picks.size()) < wanted; ++i) {
    std::swap(words[i], words[i + static_cast<size_t>(random.below(words.size() - i))]);
    const int32_t size = size_of_word(words[i]);
    if (static_cast<int64_t>(out.picks.size()) + size > wanted) continue;
    for (int32_t k = 0; k < size; ++k) out.picks.push_back(words[i] + k);
  }
  std::sort(out.picks.begin(), out.picks.end());
  const auto vocab = static_cast<uint64_t>(special_.size());
  for (const int32_t row : out.picks) {
    int32_t& id = out.tokens[static_cast<size_t>(row)];
    out.targets.push_back(id);
    const double fate = random.uniform();
    if (fate < masking_.masked) {
      id = mask_;
    } else if (fate < masking_.masked + masking_.random) {
      do id = static_cast<int32_t>(random.below(vocab));
      while (is_special(id));
    }
  }
  out.scored = static_cast<int64_t>(out.picks.size());
  // A batch without words, or one whose words do not fit: a row that is not scored.
  if (out.picks.empty()) out.picks.push_back(0), out.targets.push_back(-1);
}

MaskedTrainBatches::MaskedTrainBatches(const Dataset& dataset, const Tokenizer& tokenizer,
                                       const Masking& masking, uint64_t seed, int64_t sequences,
                                       int64_t length, Packing packing)
    : sequences_(sequences),
      length_(length),
      words_(tokenizer, masking, seed),
      text_(dataset, seed, sequences, MaskedWords::text_length(length), packing) {}

void MaskedTrainBatches::fill(HostBatch& out, int64_t index, int64_t longest) const {
  HostBatch text;
  text_.fill(text, index, longest > 0 ? MaskedWords::text_length(longest) : 0);
  words_.fill(out, text, text.scored, length_, static_cast<uint64_t>(index));
  if (longest > 0) out.longest = std::min(longest, length_);
  fill_up_rows(out, words_.scored_rows(sequences_, length_));
}

int64_t MaskedTrainBatches::tokens_per_epoch() const {
  return text_.tokens_per_epoch() / MaskedWords::text_length(length_) * length_;
}

int64_t MaskedTrainBatches::most_sequences(int64_t shortest) const {
  return text_.most_sequences(MaskedWords::text_length(shortest)) + 1;  // and what fills up
}

MaskedEvalBatches::MaskedEvalBatches(const Dataset& dataset, const Tokenizer& tokenizer,
                                     const Masking& masking, const std::string& split,
                                     int64_t sequences, int64_t length, int64_t max_tokens,
                                     bool mask_documents)
    : length_(length),
      words_(tokenizer, masking, kEvaluation),
      text_(dataset, split, sequences, MaskedWords::text_length(length), max_tokens,
            mask_documents) {}

void MaskedEvalBatches::fill(HostBatch& out, int64_t index) const {
  HostBatch text;
  text_.fill(text, index);
  words_.fill(out, text, text.scored, length_, static_cast<uint64_t>(index));
  fill_up_rows(out, words_.scored_rows(out.sequences, length_));
}

}  // namespace strobe
