#include "strobe/data/shard_writer.h"

#include <algorithm>
#include <cstring>

#include "strobe/core/error.h"

namespace strobe {

namespace {

constexpr int64_t kShardTokens = 100'000'000;

}  // namespace

ShardWriter::ShardWriter(std::string folder, std::string split, int64_t vocab,
                         uint64_t vocabulary_hash)
    : folder_(std::move(folder)),
      split_(std::move(split)),
      width_(token_width(vocab)),
      hash_(vocabulary_hash) {}

void ShardWriter::begin_shard() {
  shards_.push_back(fmt::format("{}-{:05}.tokens", split_, shards_.size()));
  file_ = std::make_unique<FileWriter>("data prepare", folder_ + "/" + shards_.back());
  checksum_ = std::make_unique<StreamingChecksum>();
  in_shard_ = 0;
  const ShardHeader blank{};
  file_->write(&blank, sizeof blank);
}

void ShardWriter::end_shard() {
  ShardHeader header{};
  std::memcpy(header.magic, ShardHeader::kMagic, sizeof header.magic);
  header.version = ShardHeader::kVersion, header.width = width_;
  header.tokens = static_cast<uint64_t>(in_shard_), header.vocabulary = hash_;
  header.checksum = checksum_->value();
  file_->write_at(0, &header, sizeof header);
  file_->commit();
  file_.reset();
}

void ShardWriter::append(std::span<const int32_t> tokens) {
  std::vector<char> packed;
  while (!tokens.empty()) {
    if (!file_) begin_shard();
    const size_t here = std::min(tokens.size(), static_cast<size_t>(kShardTokens - in_shard_));
    packed.resize(here * width_);
    for (size_t i = 0; i < here; ++i) std::memcpy(packed.data() + i * width_, &tokens[i], width_);
    file_->write(packed.data(), packed.size());
    checksum_->add(std::as_bytes(std::span(packed)));
    in_shard_ += static_cast<int64_t>(here), tokens_ += static_cast<int64_t>(here);
    tokens = tokens.subspan(here);
    if (in_shard_ == kShardTokens) end_shard();
  }
}

void ShardWriter::finish() {
  if (file_) end_shard();
}

}  // namespace strobe
