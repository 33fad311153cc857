#include "tests/reference/tiny_dataset.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "strobe/data/dataset.h"
#include "strobe/data/tokenizer.h"

namespace strobe::reference {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  std::string name = fs::temp_directory_path() / "strobe-test-XXXXXX";
  check(::mkdtemp(name.data()) != nullptr, "test: no temporary folder");
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code error;
  fs::remove_all(path_, error);
}

std::string slurp(const std::string& file) {
  std::ostringstream out;
  out << std::ifstream(file, std::ios::binary).rdbuf();
  return out.str();
}

namespace {

constexpr int64_t kVocab = 270;

// Each token is one of three that follow the one before it.
std::vector<uint16_t> tokens_of(int64_t count, uint32_t stream) {
  RandomSequence random(1, RandomUse::sample, stream);
  std::vector<uint16_t> out;
  uint64_t token = 0;
  for (int64_t i = 0; i < count; ++i) {
    token = (token * 7 + random.below(3) * 31 + 11) % kVocab;
    out.push_back(static_cast<uint16_t>(token));
  }
  return out;
}

template <class Item>
void write_items(const std::string& file, const char* magic, const std::vector<Item>& items,
                 uint64_t vocabulary) {
  ShardHeader header{};
  std::memcpy(header.magic, magic, sizeof header.magic);
  header.version = ShardHeader::kVersion, header.width = sizeof(Item);
  header.tokens = items.size(), header.vocabulary = vocabulary;
  header.checksum = checksum(std::as_bytes(std::span(items)));
  std::ofstream out(file, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&header), sizeof header);
  out.write(reinterpret_cast<const char*>(items.data()),
            static_cast<std::streamsize>(sizeof(Item) * items.size()));
}

void write_split(const std::string& folder, const std::string& name,
                 const std::vector<uint16_t>& tokens, const std::vector<uint64_t>& documents,
                 uint64_t vocabulary) {
  const std::string path = folder + "/" + name;
  write_items(path + "-00000.tokens", ShardHeader::kMagic, tokens, vocabulary);
  write_items(path + ".documents", ShardHeader::kDocumentsMagic, documents, vocabulary);
}

// Where documents begin.
std::vector<uint64_t> documents_of(int64_t tokens, int64_t size) {
  std::vector<uint64_t> starts;
  for (int64_t at = 0, i = 0; at < tokens; ++i) {
    starts.push_back(static_cast<uint64_t>(at));
    at += size <= 0 ? tokens : i % 3 == 0 ? size : i % 3 == 1 ? size / 2 : 2 * size;
  }
  return starts;
}

}  // namespace

void write_tiny_dataset(const std::string& folder, int64_t train_tokens, int64_t valid_tokens,
                        const std::string& learnt, int64_t document) {
  fs::create_directories(folder);
  bool given = false;
  const Tokenizer tokenizer = Tokenizer::train(
      [&](std::string& text) {
        text = learnt;
        return !std::exchange(given, true);
      },
      kVocab);
  tokenizer.save(folder + "/tokenizer.json");
  write_split(folder, "train", tokens_of(train_tokens, 1), documents_of(train_tokens, document),
              tokenizer.hash());
  write_split(folder, "valid", tokens_of(valid_tokens, 2), documents_of(valid_tokens, document),
              tokenizer.hash());
  const auto split = [&](const char* name, int64_t tokens) {
    return fmt::format(
        R"({{"name": "{}", "tokens": {}, "documents": {}, "bytes": {}, "words": {}, "shards": ["{}-00000.tokens"]}})",
        name, tokens, documents_of(tokens, document).size(), 4 * tokens, tokens, name);
  };
  std::ofstream(folder + "/dataset.json")
      << fmt::format("{{\"format\": 1, \"splits\": [{}, {}]}}\n", split("train", train_tokens),
                     split("valid", valid_tokens));
}

}  // namespace strobe::reference
