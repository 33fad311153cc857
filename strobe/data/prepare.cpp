#include "strobe/data/prepare.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/rng.h"
#include "strobe/core/threads.h"
#include "strobe/data/split_writer.h"
#include "strobe/data/tokenizer.h"

namespace strobe {

namespace {

namespace fs = std::filesystem;

constexpr size_t batch_bytes = 8 << 20;
const char* const split_names[] = {"train", "valid", "test"};

// Removes a folder unless it has been given its final name.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {
    std::error_code error;
    fs::create_directories(path_, error);
    if (error) fail("data prepare: cannot make the folder {}: {}", path_, error.message());
  }
  ~TemporaryFolder() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  void become(const std::string& name) {
    sync_folder(path_);
    std::error_code error;
    fs::rename(path_, name, error);
    if (error) fail("data prepare: cannot name the dataset {}: {}", name, error.message());
    sync_folder(fs::absolute(name).parent_path());
  }

 private:
  std::string path_;
};

// The split of each document: that of its file, or one drawn for its number.
class Splits {
 public:
  Splits(const std::vector<TextFile>& files, double valid, double test)
      : named_(are_named(files)), valid_(valid), test_(test) {}

  static bool are_named(const std::vector<TextFile>& files) {
    const auto any = [&](const char* split) {
      return std::any_of(files.begin(), files.end(),
                         [&](const auto& f) { return f.split == split; });
    };
    return any("train") && (any("valid") || any("test"));
  }

  bool named() const { return named_; }
  std::string of(const TextFile& file, int64_t document) const {
    if (named_) return file.split;
    const uint32_t drawn = random_block(0, RandomUse::split, 0, static_cast<uint64_t>(document))[0];
    const double place = drawn * 0x1p-32;
    return place < valid_ ? "valid" : place < valid_ + test_ ? "test" : "train";
  }

  /// Fails unless each split that was asked for has a document.
  void require(const std::map<std::string, int64_t>& found) const {
    int64_t documents = 0;
    for (const auto& [name, count] : found) documents += count;
    if (documents == 0) fail("data prepare: the text is empty: no document with a word in it");
    for (const char* name : split_names) {
      if (!wanted(name) || found.contains(name)) continue;
      if (named_) fail("data prepare: the files of the split '{}' hold no text", name);
      fail(
          "data prepare: of {} document{} none falls to the split '{}'; give more text (articles "
          "under '= Title =' lines, several files, or .jsonl), files whose names say train, valid "
          "and test, or other shares (--valid {} --test {} now; 0 makes no such split)",
          documents, documents == 1 ? "" : "s", name, valid_, test_);
    }
  }

 private:
  bool wanted(std::string_view name) const {
    if (name == "train") return true;
    return !named_ && (name == "valid" ? valid_ : test_) > 0;
  }

  bool named_;
  double valid_, test_;
};

struct BatchPiece {
  TextPiece piece;
  std::string split;
  std::vector<int32_t> tokens;
  int64_t invalid = 0;
};

// Pieces with their splits, as many as make a batch; none at the end.
class BatchReader {
 public:
  BatchReader(const std::vector<TextFile>& files, const TextOptions& options, const Splits& splits)
      : files_(files), splits_(splits), source_(files, options) {}

  std::vector<BatchPiece> read() {
    std::vector<BatchPiece> batch;
    BatchPiece next;
    for (size_t bytes = 0; bytes < batch_bytes && source_.next(next.piece);) {
      if (!inside_) ++found_[split_ = splits_.of(files_[next.piece.file], documents_++)];
      inside_ = !next.piece.last;
      bytes += next.piece.text.size();
      next.split = split_;
      batch.push_back(std::move(next));
    }
    return batch;
  }
  int64_t documents() const { return documents_; }
  /// Documents of each split that has any.
  const std::map<std::string, int64_t>& found() const { return found_; }

 private:
  const std::vector<TextFile>& files_;
  const Splits& splits_;
  TextSource source_;
  std::string split_;
  int64_t documents_ = 0;
  std::map<std::string, int64_t> found_;
  bool inside_ = false;
};

struct Work {
  const PrepareOptions& options;
  const std::function<void(const PrepareProgress&)>& progress;
  const std::function<bool()>& stop;

  void report(const PrepareProgress& state) const {
    if (stop()) fail("data prepare: stopped; nothing was written");
    progress(state);
  }
};

Tokenizer learn_tokenizer(const Work& work, const std::vector<TextFile>& files,
                          const Splits& splits, int64_t vocab) {
  BatchReader reader(files, work.options.text, splits);
  std::vector<BatchPiece> batch;
  size_t next = 0;
  PrepareProgress state{.phase = "learning the vocabulary"};
  const auto next_text = [&](std::string& text) {
    while (true) {
      if (next == batch.size()) {
        batch = reader.read();
        next = 0;
        state.documents = reader.documents();
        work.report(state);
        if (batch.empty()) {
          splits.require(reader.found());
          return false;
        }
      }
      BatchPiece& piece = batch[next++];
      state.bytes += static_cast<int64_t>(piece.piece.text.size());
      if (piece.split != "train") continue;
      text = std::move(piece.piece.text);
      return true;
    }
  };
  return Tokenizer::train(next_text, vocab);
}

std::vector<SplitInfo> tokenise(const Work& work, const std::vector<TextFile>& files,
                                const Splits& splits, const Tokenizer& tokenizer,
                                const std::string& folder, int64_t& invalid) {
  BatchReader reader(files, work.options.text, splits);
  std::map<std::string, std::unique_ptr<SplitWriter>> writers;
  PrepareProgress state{.phase = "tokenising"};
  // The next batch is read, and decompressed, while this one is tokenised.
  const auto read = [&] { return reader.read(); };
  auto coming = std::async(std::launch::async, read);
  for (auto batch = coming.get(); !batch.empty(); batch = coming.get()) {
    coming = std::async(std::launch::async, read);
    parallel_for(static_cast<int64_t>(batch.size()), [&](int64_t i) {
      BatchPiece& b = batch[static_cast<size_t>(i)];
      b.invalid = tokenizer.encode(b.piece.text, b.tokens);
    });
    for (const BatchPiece& b : batch) {
      auto& writer = writers[b.split];
      if (!writer)
        writer = std::make_unique<SplitWriter>(folder, b.split, tokenizer.vocab_size(),
                                               tokenizer.hash(), tokenizer.end_of_text());
      writer->add(b.piece.text, b.tokens, b.piece.last, work.options.line_ends_are_words);
      invalid += b.invalid;
      state.documents += b.piece.last;
      state.bytes += static_cast<int64_t>(b.piece.text.size());
      state.tokens += static_cast<int64_t>(b.tokens.size());
    }
    work.report(state);
  }
  splits.require(reader.found());
  std::vector<SplitInfo> out;
  for (const char* name : split_names)
    if (const auto writer = writers.find(name); writer != writers.end())
      out.push_back(writer->second->finish());
  return out;
}

// Standard input can be read once: a vocabulary to be learned needs it twice.
std::string spool_standard_input(const std::string& folder) {
  const std::string file = folder + "/standard-input";
  FileWriter writer("data prepare", file);
  std::vector<char> buffer(1 << 20);
  while (const size_t got = std::fread(buffer.data(), 1, buffer.size(), stdin))
    writer.write(buffer.data(), got);
  writer.commit();
  return file;
}

// Of "train:N" N, of anything else 0.
int64_t vocab_to_learn(const std::string& spec) {
  constexpr std::string_view prefix = "train:";
  if (!spec.starts_with(prefix)) return 0;
  const std::string number = spec.substr(prefix.size());
  const bool digits =
      !number.empty() && number.size() <= 9 &&
      std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits)
    fail("data prepare: '{}' does not say how many entries to learn; for example train:2048", spec);
  return std::stoll(number);
}

void check_official_words(const PrepareOptions& options, std::vector<SplitInfo>& splits) {
  for (const SplitInfo& official : options.official)
    for (SplitInfo& split : splits)
      if (split.name == official.name && split.words != official.words)
        fail(
            "data prepare: {}: the split '{}' has {} words, the published one {}; the file is not "
            "the published one, or not whole",
            options.corpus, split.name, split.words, official.words);
}

void write_description(const PrepareOptions& options, const Tokenizer& tokenizer,
                       const PrepareResult& result, const std::string& file) {
  nlohmann::ordered_json json;
  json["format"] = 1;
  json["corpus"] = options.corpus;
  json["source"] = options.text.paths;
  json["licence"] = options.licence;
  json["tokenizer"] = {{"spec", options.tokenizer},
                       {"vocab", tokenizer.vocab_size()},
                       {"hash", fmt::format("{:016x}", tokenizer.hash())}};
  json["words_are"] = options.line_ends_are_words ? "separated by white space, and line ends"
                                                  : "separated by white space";
  json["invalid_utf8"] = result.invalid_utf8;
  json["splits"] = nlohmann::ordered_json::array();
  for (const SplitInfo& split : result.splits)
    json["splits"].push_back({{"name", split.name},
                              {"tokens", split.tokens},
                              {"documents", split.documents},
                              {"bytes", split.bytes},
                              {"words", split.words},
                              {"shards", split.shards}});
  write_file("data prepare", file,
             json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

}  // namespace

PrepareResult prepare(const PrepareOptions& options,
                      const std::function<void(const PrepareProgress&)>& progress,
                      const std::function<bool()>& stop) {
  if (options.out.empty()) fail("data prepare: --out DIR says where the dataset goes");
  if (fs::exists(options.out))
    fail("data prepare: {} exists; give another --out, or remove it", options.out);
  if (!(options.valid >= 0 && options.test >= 0 && options.valid + options.test < 1))
    fail(
        "data prepare: --valid {} --test {} leave nothing to train on; shares below 1 are accepted",
        options.valid, options.test);

  const int64_t learn = vocab_to_learn(options.tokenizer);
  std::unique_ptr<const Tokenizer> tokenizer;
  if (learn == 0) tokenizer = std::make_unique<Tokenizer>(Tokenizer::load(options.tokenizer));

  const Work work{options, progress, stop};
  PrepareResult result;
  std::string base = options.out;
  while (base.size() > 1 && base.ends_with('/')) base.pop_back();
  // What needs no folder is refused before one is made.
  std::vector<TextFile> files = text_files(options.text, result.skipped);
  TemporaryFolder folder(fmt::format("{}.partial-{}", base, ::getpid()));
  std::string spooled;
  for (TextFile& file : files)
    if (learn > 0 && file.path == "-") {
      spooled = spool_standard_input(folder.path());
      file.path = spooled;
    }
  const Splits splits(files, options.valid, options.test);
  if (splits.named())
    std::erase_if(files, [&](const TextFile& file) {
      if (file.split.empty()) result.skipped.push_back(file.path);
      return file.split.empty();
    });

  if (!tokenizer)
    tokenizer = std::make_unique<Tokenizer>(learn_tokenizer(work, files, splits, learn));
  result.vocab = tokenizer->vocab_size();
  result.splits = tokenise(work, files, splits, *tokenizer, folder.path(), result.invalid_utf8);
  check_official_words(options, result.splits);
  tokenizer->save(folder.path() + "/tokenizer.json");
  write_description(options, *tokenizer, result, folder.path() + "/dataset.json");
  if (!spooled.empty()) fs::remove(spooled);
  folder.become(base);
  return result;
}

}  // namespace strobe
