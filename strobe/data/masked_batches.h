// Masked words (Devlin et al. 2019, 3.1): sequences [CLS] text [SEP] packed of a dataset's blocks,
// some of whose words are to be predicted. Of the words chosen most become [MASK], some another
// word, and the rest stay.
#pragma once

#include <memory>
#include <vector>

#include "strobe/data/batches.h"
#include "strobe/data/tokenizer.h"

namespace strobe {

struct Masking {
  double rate = 0.15;                 // of the words are chosen ...
  double masked = 0.8, random = 0.1;  // ... and become [MASK], or any other
  bool whole_words = false;           // pieces of one word are chosen together
};

/// Turns a batch of plain text into one of masked words.
class MaskedWords {
 public:
  /// Throws Error for a tokenizer without [MASK], [CLS] and [SEP], and for shares that are none.
  MaskedWords(const Tokenizer& tokenizer, const Masking& masking, uint64_t seed);

  /// `text` has rows in blocks of text_length() of `length`; the first `rows` of them count. Each
  /// of its sequences gets its own [CLS] and [SEP], as long as a block has no more than `length`
  /// rows. The same `number` is masked in the same way.
  void fill(HostBatch& out, const HostBatch& text, int64_t rows, int64_t length,
            uint64_t number) const;
  /// Tokens of text in a sequence of `length`. Throws Error where none are left.
  static int64_t text_length(int64_t length);
  /// The rows that a batch of `sequences` of `length` has chosen, at most.
  int64_t scored_rows(int64_t sequences, int64_t length) const;

 private:
  void choose(HostBatch& out, uint64_t number) const;

  Masking masking_;
  uint64_t seed_;
  int32_t cls_, sep_, mask_;
  std::vector<bool> special_, continues_;  // of each token
};

class MaskedTrainBatches final : public BatchSource {
 public:
  MaskedTrainBatches(const Dataset& dataset, const Tokenizer& tokenizer, const Masking& masking,
                     uint64_t seed, int64_t sequences, int64_t length, Packing packing);
  void fill(HostBatch& out, int64_t index, int64_t longest) const override;
  int64_t tokens_per_epoch() const override;
  int64_t most_sequences(int64_t shortest) const override;
  int64_t scored_rows() const override { return words_.scored_rows(sequences_, length_); }

 private:
  int64_t sequences_, length_;
  MaskedWords words_;
  TrainBatches text_;
};

class MaskedEvalBatches final : public EvalSource {
 public:
  MaskedEvalBatches(const Dataset& dataset, const Tokenizer& tokenizer, const Masking& masking,
                    const std::string& split, int64_t sequences, int64_t length, int64_t max_tokens,
                    bool mask_documents);
  int64_t count() const override { return text_.count(); }
  void fill(HostBatch& out, int64_t index) const override;
  int64_t most_sequences() const override { return text_.most_sequences() + 1; }

 private:
  int64_t length_;
  MaskedWords words_;
  EvalBatches text_;
};

}  // namespace strobe
