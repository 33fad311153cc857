// Labelled texts: what a model is fine-tuned on.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "strobe/data/text_table.h"
#include "strobe/data/tokenizer.h"

namespace strobe {

struct Example {
  std::string first, second;  // second: "" for single texts
  float label = 0;            // a class's number, or a score
};

struct Examples {
  bool pairs = false;
  std::vector<std::string> classes;  // names by number; empty: labels are scores
  std::vector<Example> rows;

  bool regression() const { return classes.empty(); }
};

struct ExampleColumns {
  std::vector<std::string> texts;  // one or two
  std::string label = {};          // "": none, all labels are 0
  bool regression = false;
  /// The classes' names in order; empty: whatever the file has, in the order of their names.
  std::vector<std::string> classes = {};
};

/// Reads examples from a file. Throws Error, naming the line, for a label that is blank, no number
/// or none of the classes, and for fewer or more classes than a classifier is for.
/// `skipped` receives how many broken rows were left out, where the options allow it.
Examples read_examples(const std::string& file, const ExampleColumns& columns,
                       const TableOptions& options = {}, int64_t* skipped = nullptr);

/// Splits off a share of the rows for validation, drawn by the seed: at least one, at most all but
/// one. Both keep their order. The first of the two is the rest.
std::pair<Examples, Examples> hold_out(Examples examples, double share, uint64_t seed);

/// A text or pair as BERT reads it: [CLS] a [SEP] or [CLS] a [SEP] b [SEP].
struct EncodedExample {
  std::vector<int32_t> ids;
  int32_t first_size = 0;  // with [CLS] and the first [SEP]: tokens of type 0, the others are 1
  bool cut = false;        // there was more text than room
};

/// How many tokens of a pair of `first` and `second` tokens are kept when together they may be
/// `room`: the longer loses first (`longest_first` of Hugging Face's tokenizers).
std::pair<int64_t, int64_t> truncate_longest_first(int64_t first, int64_t second, int64_t room);

/// Encodes an example in at most `longest` tokens. Throws Error if the tokenizer lacks [CLS] or
/// [SEP], or `longest` leaves no room for text.
EncodedExample encode_example(const Tokenizer& tokenizer, const Example& example, bool pair,
                              int64_t longest);

}  // namespace strobe
