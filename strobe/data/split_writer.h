// Writes the files of one split of a dataset (the format is in dataset.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "strobe/core/files.h"
#include "strobe/data/dataset.h"

namespace strobe {

/// A file of a dataset: a header, and items that come in pieces.
class ShardWriter {
 public:
  ShardWriter(const std::string& path, const char* magic, uint32_t width, uint64_t vocabulary);
  void add(const void* items, size_t count);
  int64_t items() const { return static_cast<int64_t>(header_.tokens); }
  /// Writes the header and gives the file its name.
  void commit();

 private:
  FileWriter writer_;
  StreamingChecksum checksum_;
  ShardHeader header_{};
};

class SplitWriter {
 public:
  /// `end_of_text` -1: documents follow each other without a token between them.
  SplitWriter(std::string folder, std::string name, int64_t vocab, uint64_t vocabulary,
              int32_t end_of_text);

  /// Adds a piece of a document: its text, of which `line_ends_are_words` says how words are
  /// counted, and its tokens.
  void add(std::string_view text, std::span<const int32_t> tokens, bool last,
           bool line_ends_are_words);

  /// Completes the files.
  SplitInfo finish();

 private:
  void write(std::span<const int32_t> tokens);

  std::string folder_;
  int64_t vocab_;
  uint64_t vocabulary_;
  int32_t end_of_text_;
  SplitInfo info_;
  bool inside_ = false;  // a document
  std::optional<ShardWriter> shard_;
  ShardWriter documents_;
};

}  // namespace strobe
