// Text to a dataset: reads, splits, tokenises, writes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "strobe/data/dataset.h"
#include "strobe/data/text_source.h"

namespace strobe {

struct PrepareOptions {
  std::string out;  // the folder to make; must not exist
  TextOptions text;
  /// "train:N" learns a byte-level BPE of N entries from the training split, "train:KIND:N" another
  /// kind; anything else is what Tokenizer::load reads.
  std::string tokenizer = "train:2048";
  /// Shares of the documents, drawn by a hash of their numbers; where that leaves a split without
  /// any (one book, say), shares of the text by position: train, then valid, then test. Not used
  /// where the files' names say train, valid, test.
  double valid = 0.05, test = 0.05;

  // What a named corpus knows of itself.
  std::string corpus, licence;
  bool line_ends_are_words = false;  // as the counts of WikiText's <eos>
  std::vector<SplitInfo> official;   // words of the splits, verified
};

/// What the work has come to, a few times a second.
struct PrepareProgress {
  std::string phase;  // "counting documents", "learning the vocabulary", "tokenising"
  int64_t documents = 0, bytes = 0, tokens = 0;
};

struct PrepareResult {
  std::vector<SplitInfo> splits;
  int64_t vocab = 0;
  bool cut_by_position = false;  // for want of documents
  int64_t invalid_utf8 = 0;      // ill-formed sequences, each read as U+FFFD
  std::vector<std::string> skipped;
};

/// Writes the dataset under a temporary name beside `out` and renames it when it is whole. Memory
/// does not depend on the size of the text. Throws Error, leaving nothing behind; also when
/// `stop`, asked now and then, returns true.
PrepareResult prepare(const PrepareOptions& options,
                      const std::function<void(const PrepareProgress&)>& progress,
                      const std::function<bool()>& stop);

}  // namespace strobe
