// Writing the tokens of one split.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "strobe/core/files.h"
#include "strobe/data/dataset.h"

namespace strobe {

/// Appends tokens to shards of a bounded size; see dataset.h for the format.
class ShardWriter {
 public:
  ShardWriter(std::string folder, std::string split, int64_t vocab, uint64_t vocabulary_hash);

  void append(std::span<const int32_t> tokens);
  /// Completes the last shard. What was written and where.
  void finish();
  int64_t tokens() const { return tokens_; }
  const std::vector<std::string>& shards() const { return shards_; }

 private:
  void begin_shard();
  void end_shard();

  std::string folder_, split_;
  uint32_t width_;
  uint64_t hash_;
  int64_t tokens_ = 0, in_shard_ = 0;
  std::vector<std::string> shards_;
  std::unique_ptr<FileWriter> file_;
  std::unique_ptr<StreamingChecksum> checksum_;
};

}  // namespace strobe
