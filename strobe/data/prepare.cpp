#include "strobe/data/prepare.h"

#include <array>
#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/rng.h"
#include "strobe/core/threads.h"
#include "strobe/data/shard_writer.h"
#include "strobe/data/text_source.h"
#include "strobe/data/tokenizer.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

constexpr std::array kSplits = {"train", "valid", "test"};
constexpr size_t kBatchBytes = 24 << 20;  // of text tokenised at a time

struct Split {
  std::unique_ptr<ShardWriter> shards;
  int64_t documents = 0, bytes = 0, words = 0;
};

int64_t count_words(std::string_view text) {
  int64_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    words += inside && space ? 0 : (!inside && !space);
    inside = !space;
  }
  return words;
}

// The split of a document whose file says nothing: a function of its number alone.
size_t drawn_split(int64_t number, const PrepareOptions& options) {
  const double u = static_cast<double>(
                       random_block(0, RandomUse::shuffle, 0, static_cast<uint64_t>(number))[0]) *
                   0x1p-32;
  return u < options.valid ? 1 : u < options.valid + options.test ? 2 : 0;
}

Tokenizer tokenizer_for(const PrepareOptions& options) {
  constexpr std::string_view kTrain = "train:";
  if (!options.tokenizer.starts_with(kTrain)) return Tokenizer::load(options.tokenizer);
  int64_t vocab = 0;
  try {
    vocab = std::stoll(options.tokenizer.substr(kTrain.size()));
  } catch (const std::logic_error&) {
    fail("data prepare: --tokenizer '{}' should be train:ENTRIES, for example train:2048",
         options.tokenizer);
  }
  // Only text that will be trained on may shape the vocabulary.
  std::vector<std::string> training;
  int64_t number = 0;
  for_each_document(options.inputs, options.jsonl_field, [&](Document& document) {
    const bool train =
        document.split.empty() ? drawn_split(number, options) == 0 : document.split == kSplits[0];
    ++number;
    if (train) training.push_back(std::move(document.text));
    return true;
  });
  size_t next = 0;
  return Tokenizer::train(
      [&](std::string& text) {
        if (next == training.size()) return false;
        text = std::move(training[next++]);
        return true;
      },
      vocab);
}

// A folder that is renamed when complete and removed otherwise.
class PendingFolder {
 public:
  explicit PendingFolder(std::string path) : final_(std::move(path)), path_(final_ + ".partial") {
    if (fs::exists(final_))
      fail("data prepare: {} exists; remove it, or name another with --out", final_);
    std::error_code error;
    fs::remove_all(path_, error);
    fs::create_directories(path_, error);
    if (error) fail("data prepare: cannot make {}: {}", path_, error.message());
  }
  ~PendingFolder() {
    std::error_code error;
    if (!done_) fs::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }
  void complete() {
    sync_folder(path_);
    std::error_code error;
    fs::rename(path_, final_, error);
    if (error) fail("data prepare: cannot name {}: {}", final_, error.message());
    sync_folder(fs::path(final_).parent_path());
    done_ = true;
  }

 private:
  std::string final_, path_;
  bool done_ = false;
};

class Preparer {
 public:
  Preparer(const PrepareOptions& options, const Tokenizer& tokenizer, const std::string& folder)
      : options_(options), tokenizer_(tokenizer) {
    for (size_t i = 0; i < splits_.size(); ++i)
      splits_[i].shards = std::make_unique<ShardWriter>(folder, kSplits[i], tokenizer.vocab_size(),
                                                        tokenizer.hash());
  }

  PrepareResult run() {
    size_t pending_bytes = 0;
    for_each_document(options_.inputs, options_.jsonl_field, [&](Document& document) {
      pending_bytes += document.text.size();
      pending_.push_back(std::move(document));
      if (pending_bytes >= kBatchBytes) flush(), pending_bytes = 0;
      return true;
    });
    flush();
    for (Split& split : splits_) split.shards->finish();
    result_.ill_formed = ill_formed_;
    return result_;
  }

  std::string describe() const;

 private:
  // Tokenises in parallel and writes in order.
  void flush() {
    std::vector<std::vector<int32_t>> tokens(pending_.size());
    parallel_for(static_cast<int64_t>(pending_.size()), [&](int64_t i) {
      std::vector<int32_t>& out = tokens[static_cast<size_t>(i)];
      ill_formed_ += tokenizer_.encode(pending_[static_cast<size_t>(i)].text, out);
      if (tokenizer_.end_of_text() >= 0) out.push_back(tokenizer_.end_of_text());
    });
    for (size_t i = 0; i < pending_.size(); ++i) {
      const Document& document = pending_[i];
      size_t index = drawn_split(result_.documents, options_);
      for (size_t s = 0; s < kSplits.size(); ++s)
        if (document.split == kSplits[s]) index = s;
      Split& split = splits_[index];
      split.shards->append(tokens[i]);
      split.documents += 1;
      split.bytes += static_cast<int64_t>(document.text.size());
      split.words += count_words(document.text);
      result_.documents += 1;
      result_.bytes += static_cast<int64_t>(document.text.size());
      result_.tokens += static_cast<int64_t>(tokens[i].size());
    }
    pending_.clear();
    if (options_.progress) options_.progress(result_.documents, result_.bytes);
  }

  const PrepareOptions& options_;
  const Tokenizer& tokenizer_;
  std::array<Split, kSplits.size()> splits_;
  std::vector<Document> pending_;
  std::atomic<int64_t> ill_formed_ = 0;
  PrepareResult result_;
};

std::string Preparer::describe() const {
  nlohmann::ordered_json json = {{"format", 1},
                                 {"source", options_.source},
                                 {"tokenizer", options_.tokenizer},
                                 {"ill_formed_utf8", ill_formed_.load()},
                                 {"splits", nlohmann::ordered_json::array()}};
  for (size_t i = 0; i < splits_.size(); ++i) {
    const Split& split = splits_[i];
    if (split.documents == 0) continue;
    json["splits"].push_back({{"name", kSplits[i]},
                              {"tokens", split.shards->tokens()},
                              {"documents", split.documents},
                              {"bytes", split.bytes},
                              {"words", split.words},
                              {"shards", split.shards->shards()}});
  }
  return json.dump(2) + "\n";
}

}  // namespace

PrepareResult prepare(const PrepareOptions& options) {
  if (!(options.valid >= 0 && options.test >= 0 && options.valid + options.test < 1))
    fail("data prepare: shares of {} and {} for valid and test leave nothing to train on",
         options.valid, options.test);
  PendingFolder folder(options.out);
  const Tokenizer tokenizer = tokenizer_for(options);
  tokenizer.save(folder.path() + "/tokenizer.json");
  Preparer preparer(options, tokenizer, folder.path());
  const PrepareResult result = preparer.run();
  if (result.documents == 0) fail("data prepare: no text in {}", fmt::join(options.inputs, ", "));
  write_file("data prepare", folder.path() + "/dataset.json", preparer.describe());
  folder.complete();
  return result;
}

}  // namespace strobe
