// A prepared dataset: a folder of token shards, made by `strobe data prepare`.
//
//   dataset.json        source, tokenizer, splits with their counts and files, a checksum of itself
//   tokenizer.json      Hugging Face's format
//   <split>-NNNNN.tokens   shards
//   <split>.documents      where each document begins in its split: u64 offsets, in tokens
//
// Every document is followed by the end-of-text token, where the vocabulary has one.
//
// A shard is a 64-byte header and tokens, all little endian:
//
//   offset 0   8 bytes   magic "STRBTOK1"
//          8   u32       format version, 1
//         12   u32       bytes a token: 2 or 4
//         16   u64       tokens
//         24   u64       hash of the vocabulary (Tokenizer::hash)
//         32   u64       checksum of the tokens' bytes (XXH3-64)
//         40   24 bytes  zero
//
// The documents have the same header, with the magic "STRBDOC1" and their number for the tokens'.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "strobe/core/files.h"

namespace strobe {

struct ShardHeader {
  static constexpr char kMagic[9] = "STRBTOK1";
  static constexpr char kDocumentsMagic[9] = "STRBDOC1";
  static constexpr uint32_t kVersion = 1;
  static constexpr size_t kBytes = 64;

  char magic[8];
  uint32_t version, width;
  uint64_t tokens, vocabulary, checksum;
  char zero[24];
};
static_assert(sizeof(ShardHeader) == ShardHeader::kBytes);

/// Bytes a token takes on disk.
constexpr uint32_t token_width(int64_t vocab) { return vocab <= 65536 ? 2 : 4; }

struct SplitInfo {
  std::string name;
  int64_t tokens = 0, documents = 0;
  int64_t bytes = 0;  // of the raw text
  int64_t words = 0;  // of the raw text, separated by white space; for a corpus with an official
                      // count of words, that
  std::vector<std::string> shards;
  uint64_t checksum = 0;  // of the tokens; found when the dataset is opened
};

/// Where a dataset came from, as far as its dataset.json says.
struct DatasetOrigin {
  std::string corpus, source, licence, tokenizer;
  int64_t invalid_utf8 = 0;  // ill-formed sequences, each read as U+FFFD
  bool verified = false;     // dataset.json has a checksum, and it is right
};

/// The text of a dataset.json with the value of its last key, "checksum", which has 16 digits, set
/// to the checksum (XXH3-64) of the text with sixteen zeros there. Without such a key: the text.
std::string with_own_checksum(std::string json);

class Dataset {
 public:
  /// Maps and verifies every shard. Throws Error for what is missing, truncated, damaged or
  /// foreign, naming the file.
  static Dataset open(const std::string& folder);

  const std::string& folder() const { return folder_; }
  int64_t vocab() const { return vocab_; }
  int32_t end_of_text() const { return end_of_text_; }
  std::string tokenizer_file() const { return folder_ + "/tokenizer.json"; }
  /// Of the contents: equal for equal tokens.
  uint64_t hash() const { return hash_; }

  const DatasetOrigin& origin() const { return origin_; }
  const std::vector<SplitInfo>& splits() const { return splits_; }
  bool has_split(const std::string& name) const;
  /// Throws Error listing the splits there are.
  const SplitInfo& split(const std::string& name) const;

  /// The token at which each document of a split begins, ascending.
  std::span<const uint64_t> document_starts(const std::string& split) const;

  /// Tokens [begin, begin + count) of a split.
  void read(const std::string& split, int64_t begin, int64_t count, int32_t* out) const;

 private:
  struct Shard {
    MappedFile file;
    uint32_t width;
    int64_t tokens;
  };

  Shard open_shard(const std::string& name, uint64_t vocabulary, uint64_t& sum);
  MappedFile open_documents(const SplitInfo& split, uint64_t vocabulary);
  size_t index_of(const std::string& split) const;

  std::string folder_;
  int64_t vocab_ = 0;
  int32_t end_of_text_ = -1;
  uint64_t hash_ = 0;
  DatasetOrigin origin_;
  std::vector<SplitInfo> splits_;
  std::vector<std::vector<Shard>> shards_;  // of each split
  std::vector<MappedFile> documents_;       // of each split
};

}  // namespace strobe
