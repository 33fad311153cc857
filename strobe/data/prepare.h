// Text to a dataset folder.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace strobe {

struct PrepareOptions {
  std::vector<std::string> inputs;  // see text_source.h
  std::string source;               // what dataset.json says the text is
  std::string tokenizer;            // "gpt2:DIR", a tokenizer.json, or "train:ENTRIES"
  std::string jsonl_field = "text";
  double valid = 0.05, test = 0.05;  // shares of documents, where file names do not say
  std::string out;
  /// Called now and then with documents and bytes of text so far.
  std::function<void(int64_t documents, int64_t bytes)> progress;
};

struct PrepareResult {
  int64_t documents = 0, bytes = 0, tokens = 0;
  int64_t ill_formed = 0;  // UTF-8 sequences replaced by U+FFFD
};

/// Tokenises in parallel and in bounded memory. Each document is followed by the end-of-text token.
/// The folder appears whole or not at all. Throws Error if it exists, if there is no text, or if
/// a split stays empty.
PrepareResult prepare(const PrepareOptions& options);

}  // namespace strobe
