#include "strobe/data/dataset.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/threads.h"
#include "strobe/data/tokenizer.h"

namespace strobe {

namespace {

using Json = nlohmann::json;

int64_t count_of(const Json& object, const char* key, const std::string& file) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer() || found->get<int64_t>() < 0)
    fail("dataset: {}: '{}' is missing or not a count", file, key);
  return found->get<int64_t>();
}

// A name inside the folder; never a path out of it.
std::string plain_name(const Json& value, const std::string& file) {
  if (!value.is_string()) fail("dataset: {}: a name is not text", file);
  std::string name = value.get<std::string>();
  if (name.empty() || name.find('/') != std::string::npos || name[0] == '.')
    fail("dataset: {}: '{}' is not the name of a split or a shard in this folder", file, name);
  return name;
}

// The header of a file of this folder, once everything that it says has been verified.
ShardHeader verified_header(const MappedFile& file, const std::string& path, const char* magic,
                            uint32_t width, uint64_t vocabulary) {
  const std::span<const std::byte> bytes = file.bytes();
  ShardHeader header;
  if (bytes.size() < sizeof header)
    fail("dataset: {} is truncated: {} bytes, less than a header", path, bytes.size());
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, magic, sizeof header.magic) != 0)
    fail("dataset: {} is not strobe's, or not what its name says", path);
  if (header.version != ShardHeader::kVersion)
    fail("dataset: {} has format version {}; this strobe reads version {}", path, header.version,
         ShardHeader::kVersion);
  if (std::any_of(std::begin(header.zero), std::end(header.zero), [](char c) { return c != 0; }))
    fail("dataset: {} is damaged: what should be zero in its header is not", path);
  if (header.vocabulary != vocabulary)
    fail("dataset: {} was made with another vocabulary than the tokenizer.json beside it", path);
  const size_t body = bytes.size() - sizeof header;
  if (header.width != width || header.tokens != body / width || body % width != 0)
    fail("dataset: {} is truncated or damaged: {} items of {} bytes do not make its {} bytes", path,
         header.tokens, header.width, body);
  const uint64_t sum = checksum(bytes.subspan(sizeof header));
  if (sum != header.checksum)
    fail("dataset: {} is damaged: its checksum is {:016x}, the header says {:016x}", path, sum,
         header.checksum);
  return header;
}

std::span<const uint64_t> numbers_after_header(const MappedFile& file) {
  const std::span<const std::byte> body = file.bytes().subspan(ShardHeader::kBytes);
  return {reinterpret_cast<const uint64_t*>(body.data()), body.size() / sizeof(uint64_t)};
}

// What is missing stays empty: nothing depends on it.
DatasetOrigin origin_of(const Json& json) {
  const auto text = [](const Json& object, const char* key) -> std::string {
    const auto found = object.find(key);
    if (found == object.end()) return "";
    if (found->is_string()) return found->get<std::string>();
    std::vector<std::string> all;
    if (found->is_array())
      for (const Json& item : *found)
        if (item.is_string()) all.push_back(item.get<std::string>());
    return fmt::format("{}", fmt::join(all, ", "));
  };
  DatasetOrigin out;
  out.corpus = text(json, "corpus");
  out.source = text(json, "source");
  out.licence = text(json, "licence");
  if (const auto t = json.find("tokenizer"); t != json.end() && t->is_object())
    out.tokenizer = text(*t, "spec");
  if (const auto n = json.find("invalid_utf8"); n != json.end() && n->is_number_integer())
    out.invalid_utf8 = n->get<int64_t>();
  return out;
}

}  // namespace

std::string with_own_checksum(std::string json) {
  constexpr std::string_view kKey = "\"checksum\": \"";
  constexpr size_t kDigits = 16;
  const size_t key = json.rfind(kKey), at = key + kKey.size();
  if (key == json.npos || json.size() < at + kDigits) return json;
  json.replace(at, kDigits, kDigits, '0');
  const uint64_t sum = checksum(std::as_bytes(std::span<const char>(json)));
  return json.replace(at, kDigits, fmt::format("{:016x}", sum));
}

Dataset Dataset::open(const std::string& folder) {
  const std::string file = folder + "/dataset.json";
  if (!std::filesystem::exists(file))
    fail(
        "dataset: {} is not a dataset: it has no dataset.json; 'strobe data prepare --text FILES "
        "--out {}' makes one",
        folder, folder);
  constexpr int64_t kLargest = 64 << 20;
  const std::string text = read_file("dataset", file, kLargest);
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("splits") || !json["splits"].is_array() ||
      json["splits"].empty())
    fail("dataset: {} is damaged or not strobe's", file);
  if (json.contains("checksum") && with_own_checksum(text) != text)
    fail("dataset: {} is damaged: its checksum is not that of what it says", file);

  Dataset out;
  out.folder_ = folder;
  const Tokenizer tokenizer = Tokenizer::load(out.tokenizer_file());
  out.vocab_ = tokenizer.vocab_size();
  out.end_of_text_ = tokenizer.end_of_text();
  out.origin_ = origin_of(json);
  out.origin_.verified = json.contains("checksum");
  for (const Json& entry : json["splits"]) {
    if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() ||
        !entry.contains("shards") || !entry["shards"].is_array())
      fail("dataset: {} is damaged: a split without name or shards", file);
    SplitInfo info;
    info.name = plain_name(entry["name"], file);
    info.tokens = count_of(entry, "tokens", file);
    info.documents = count_of(entry, "documents", file);
    info.bytes = count_of(entry, "bytes", file);
    info.words = count_of(entry, "words", file);
    std::vector<Shard> shards;
    int64_t tokens = 0;
    for (const Json& name : entry["shards"]) {
      info.shards.push_back(plain_name(name, file));
      shards.push_back(out.open_shard(info.shards.back(), tokenizer.hash(), info.checksum));
      tokens += shards.back().tokens;
    }
    if (tokens != info.tokens)
      fail("dataset: {}: split '{}' should have {} tokens; its shards hold {}", file, info.name,
           info.tokens, tokens);
    out.documents_.push_back(out.open_documents(info, tokenizer.hash()));
    out.splits_.push_back(std::move(info));
    out.shards_.push_back(std::move(shards));
  }
  return out;
}

Dataset::Shard Dataset::open_shard(const std::string& name, uint64_t vocabulary, uint64_t& sum) {
  const std::string path = folder_ + "/" + name;
  MappedFile file("dataset", path);
  const ShardHeader header =
      verified_header(file, path, ShardHeader::kMagic, token_width(vocab_), vocabulary);
  const auto* own = reinterpret_cast<const std::byte*>(&header.checksum);
  hash_ = checksum({own, sizeof header.checksum}, hash_ ^ vocabulary);
  sum = checksum({own, sizeof header.checksum}, sum);
  return {std::move(file), header.width, static_cast<int64_t>(header.tokens)};
}

MappedFile Dataset::open_documents(const SplitInfo& split, uint64_t vocabulary) {
  const std::string path = folder_ + "/" + split.name + ".documents";
  MappedFile file("dataset", path);
  const ShardHeader header =
      verified_header(file, path, ShardHeader::kDocumentsMagic, sizeof(uint64_t), vocabulary);
  const auto starts = numbers_after_header(file);
  if (header.tokens != static_cast<uint64_t>(split.documents) ||
      !std::is_sorted(starts.begin(), starts.end()) ||
      (!starts.empty() && starts.back() >= static_cast<uint64_t>(split.tokens)))
    fail("dataset: {} does not fit the split '{}' of {} documents and {} tokens", path, split.name,
         split.documents, split.tokens);
  return file;
}

bool Dataset::has_split(const std::string& name) const {
  return std::any_of(splits_.begin(), splits_.end(), [&](const auto& s) { return s.name == name; });
}

size_t Dataset::index_of(const std::string& split) const {
  std::vector<std::string> names;
  for (size_t i = 0; i < splits_.size(); ++i) {
    if (splits_[i].name == split) return i;
    names.push_back(splits_[i].name);
  }
  fail("dataset: {} has no split '{}'; it has {}", folder_, split, fmt::join(names, ", "));
}

const SplitInfo& Dataset::split(const std::string& name) const { return splits_[index_of(name)]; }

std::span<const uint64_t> Dataset::document_starts(const std::string& split) const {
  return numbers_after_header(documents_[index_of(split)]);
}

void Dataset::read(const std::string& split, int64_t begin, int64_t count, int32_t* out) const {
  const size_t index = index_of(split);
  check(begin >= 0 && count >= 0 && begin + count <= splits_[index].tokens,
        "dataset: tokens out of range");
  for (const Shard& shard : shards_[index]) {
    if (count == 0) return;
    if (begin >= shard.tokens) {
      begin -= shard.tokens;
      continue;
    }
    const int64_t here = std::min(count, shard.tokens - begin);
    const std::byte* data = shard.file.bytes().data() + ShardHeader::kBytes;
    for (int64_t i = 0; i < here; ++i) {
      uint32_t token = 0;
      std::memcpy(&token, data + (begin + i) * shard.width, shard.width);
      if (token >= vocab_)
        fail("dataset: a shard of {} holds token {}, the vocabulary has {} entries", folder_, token,
             vocab_);
      *out++ = static_cast<int32_t>(token);
    }
    begin = 0, count -= here;
  }
}

}  // namespace strobe
