#include "strobe/data/split_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "strobe/core/error.h"

namespace strobe {

namespace {

constexpr int64_t tokens_a_shard = 100'000'000;

int64_t words_of(std::string_view text, bool line_ends_are_words) {
  int64_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    words += inside && space;
    words += line_ends_are_words && c == '\n';
    inside = !space;
  }
  return words + inside;
}

}  // namespace

ShardWriter::ShardWriter(const std::string& path, const char* magic, uint32_t width,
                         uint64_t vocabulary)
    : writer_("data prepare", path) {
  std::memcpy(header_.magic, magic, sizeof header_.magic);
  header_.version = ShardHeader::kVersion;
  header_.width = width;
  header_.vocabulary = vocabulary;
  writer_.write(&header_, sizeof header_);
}

void ShardWriter::add(const void* items, size_t count) {
  const size_t bytes = count * header_.width;
  writer_.write(items, bytes);
  checksum_.add({static_cast<const std::byte*>(items), bytes});
  header_.tokens += count;
}

void ShardWriter::commit() {
  header_.checksum = checksum_.value();
  writer_.write_at(0, &header_, sizeof header_);
  writer_.commit();
}

SplitWriter::SplitWriter(std::string folder, std::string name, int64_t vocab, uint64_t vocabulary,
                         int32_t end_of_text)
    : folder_(std::move(folder)),
      vocab_(vocab),
      vocabulary_(vocabulary),
      end_of_text_(end_of_text),
      documents_(folder_ + "/" + name + ".documents", ShardHeader::kDocumentsMagic,
                 sizeof(uint64_t), vocabulary) {
  info_.name = std::move(name);
}

void SplitWriter::add(std::string_view text, std::span<const int32_t> tokens, bool last,
                      bool line_ends_are_words) {
  if (!inside_) {
    const auto start = static_cast<uint64_t>(info_.tokens);
    documents_.add(&start, 1);
    ++info_.documents;
  }
  inside_ = !last;
  info_.bytes += static_cast<int64_t>(text.size());
  info_.words += words_of(text, line_ends_are_words);
  write(tokens);
  if (last && end_of_text_ >= 0) write({&end_of_text_, 1});
}

void SplitWriter::write(std::span<const int32_t> tokens) {
  std::vector<uint16_t> narrow;
  while (!tokens.empty()) {
    const bool wide = token_width(vocab_) == sizeof(int32_t);
    if (!shard_) {
      info_.shards.push_back(fmt::format("{}-{:05}.tokens", info_.name, info_.shards.size()));
      shard_.emplace(folder_ + "/" + info_.shards.back(), ShardHeader::kMagic, token_width(vocab_),
                     vocabulary_);
    }
    const auto room = static_cast<size_t>(tokens_a_shard - shard_->items());
    const auto here = tokens.first(std::min(room, tokens.size()));
    if (wide) {
      shard_->add(here.data(), here.size());
    } else {
      narrow.assign(here.begin(), here.end());
      shard_->add(narrow.data(), narrow.size());
    }
    info_.tokens += static_cast<int64_t>(here.size());
    tokens = tokens.subspan(here.size());
    if (shard_->items() == tokens_a_shard) {
      shard_->commit();
      shard_.reset();
    }
  }
}

SplitInfo SplitWriter::finish() {
  if (shard_) shard_->commit();
  shard_.reset();
  documents_.commit();
  return info_;
}

}  // namespace strobe
