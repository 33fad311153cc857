#include "strobe/data/prepare.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
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

struct Work {
  const PrepareOptions& options;
  const std::function<void(const PrepareProgress&)>& progress;
  const std::function<bool()>& stop;

  void report(const PrepareProgress& state) const {
    if (stop()) fail("data prepare: stopped; nothing was written");
    progress(state);
  }
};

// Where text goes: to the split that its file's name says; else, document by document, to one drawn
// for the document's number; or, where there are too few documents for that, by its position.
class Splits {
 public:
  Splits(const std::vector<TextFile>& files, double valid, double test)
      : named_(are_named(files)), valid_(valid), test_(test) {}

  bool named() const { return named_; }
  bool by_position() const { return !ranges_.empty(); }
  /// Whether splits are drawn, of which survey() has to tell that each gets a document.
  bool drawn() const { return !named_ && valid_ + test_ > 0; }

  /// Reads until every split has a document. If none is left before that, cuts by position.
  void survey(const Work& work, const std::vector<TextFile>& files) {
    TextSource source(files, work.options.text);
    std::map<std::string, int64_t> found;
    bool inside = false;
    PrepareProgress state{.phase = "counting documents"};
    for (TextPiece piece; source.next(piece);) {
      if (!inside) ++found[of(files[piece.file], state.documents++)];
      if (all_in(found)) return;
      inside = !piece.last;
      state.bytes += static_cast<int64_t>(piece.text.size());
      work.report(state);
    }
    const auto bytes = static_cast<double>(state.bytes);
    documents_ = state.documents;
    ranges_.push_back({"train", static_cast<int64_t>(bytes * (1 - valid_ - test_))});
    if (valid_ > 0) ranges_.push_back({"valid", static_cast<int64_t>(bytes * (1 - test_))});
    if (test_ > 0) ranges_.push_back({"test", state.bytes});
    ranges_.back().end = INT64_MAX;
  }

  std::string of(const TextFile& file, int64_t document) const {
    if (named_) return file.split;
    const uint32_t drawn = random_block(0, RandomUse::split, 0, static_cast<uint64_t>(document))[0];
    const double place = drawn * 0x1p-32;
    return place < valid_ ? "valid" : place < valid_ + test_ ? "test" : "train";
  }

  /// By position: a split, and the byte of the whole text after which its last line or document
  /// ends.
  struct Range {
    std::string split;
    int64_t end;
  };
  const std::vector<Range>& ranges() const { return ranges_; }

  /// Fails unless each split that was asked for has a document.
  void require(const std::map<std::string, int64_t>& found) const {
    int64_t documents = 0;
    for (const auto& [name, count] : found) documents += count;
    if (documents == 0) fail("data prepare: the text is empty: no document with a word in it");
    for (const char* name : split_names) {
      if (!wanted(name) || found.contains(name)) continue;
      if (named_) fail("data prepare: the files of the split '{}' hold no text", name);
      fail(
          "data prepare: of {} document{} none falls to the split '{}', and no line ends where one "
          "could be cut; give more text, files whose names say train, valid and test, or other "
          "shares (--valid {} --test {} now; 0 makes no such split)",
          documents_, documents_ == 1 ? "" : "s", name, valid_, test_);
    }
  }

  /// For people and dataset.json.
  std::string description() const {
    if (named_) return "named by the files";
    if (by_position()) return "cut by position, at ends of lines or documents";
    return "drawn document by document";
  }

 private:
  static bool are_named(const std::vector<TextFile>& files) {
    const auto any = [&](const char* split) {
      return std::any_of(files.begin(), files.end(),
                         [&](const auto& f) { return f.split == split; });
    };
    return any("train") && (any("valid") || any("test"));
  }
  bool wanted(std::string_view name) const {
    if (name == "train") return true;
    return !named_ && (name == "valid" ? valid_ : test_) > 0;
  }
  bool all_in(const std::map<std::string, int64_t>& found) const {
    return std::all_of(std::begin(split_names), std::end(split_names),
                       [&](const char* name) { return !wanted(name) || found.contains(name); });
  }

  bool named_;
  double valid_, test_;
  std::vector<Range> ranges_;
  int64_t documents_ = 0;  // of the whole text, where it is cut by position
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
    for (size_t bytes = 0; bytes < batch_bytes;) {
      BatchPiece next;
      if (!next_piece(next.piece)) break;
      if (!inside_) ++found_[split_ = split_of(next.piece)];
      inside_ = !next.piece.last;
      if (splits_.by_position()) cut(next.piece);
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
  bool next_piece(TextPiece& out) {
    if (!rest_) return source_.next(out);
    out = std::move(*rest_);
    rest_.reset();
    return true;
  }

  std::string split_of(const TextPiece& piece) {
    const int64_t document = documents_++;
    return splits_.by_position() ? splits_.ranges()[range_].split
                                 : splits_.of(files_[piece.file], document);
  }

  // Ends the document, and the split, with the first line that ends at the end of the range or
  // after it; the rest of the piece comes next, as a document of the next split.
  void cut(TextPiece& piece) {
    const auto size = static_cast<int64_t>(piece.text.size());
    const int64_t to_end = splits_.ranges()[range_].end - position_;
    position_ += size;
    if (to_end > size) return;
    const size_t line =
        piece.text.find('\n', static_cast<size_t>(std::max<int64_t>(to_end - 1, 0)));
    if (line == piece.text.npos && !piece.last) return;
    ++range_;
    inside_ = false;
    if (line != piece.text.npos && line + 1 < piece.text.size()) {
      rest_ = {piece.text.substr(line + 1), piece.file, piece.last};
      position_ -= static_cast<int64_t>(rest_->text.size());
      piece.text.resize(line + 1);
    }
    piece.last = true;
  }

  const std::vector<TextFile>& files_;
  const Splits& splits_;
  TextSource source_;
  std::string split_;
  int64_t documents_ = 0;
  std::map<std::string, int64_t> found_;
  bool inside_ = false;
  size_t range_ = 0;      // by position: of the split being read
  int64_t position_ = 0;  // bytes read
  std::optional<TextPiece> rest_;
};

// What "train:N" or "train:KIND:N" asks to learn; no entries for anything else.
struct ToLearn {
  std::string kind = "bpe";
  int64_t entries = 0;
};

ToLearn to_learn(const std::string& spec) {
  constexpr std::string_view prefix = "train:";
  ToLearn out;
  if (!spec.starts_with(prefix)) return out;
  std::string number = spec.substr(prefix.size());
  if (const size_t colon = number.find(':'); colon != number.npos) {
    out.kind = number.substr(0, colon);
    number.erase(0, colon + 1);
  }
  const bool digits =
      !number.empty() && number.size() <= 9 &&
      std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits || std::stoll(number) == 0)
    fail(
        "data prepare: '{}' does not say how many entries to learn; for example train:2048, or "
        "train:wordpiece:8192",
        spec);
  out.entries = std::stoll(number);
  return out;
}

Tokenizer learn_tokenizer(const Work& work, const std::vector<TextFile>& files,
                          const Splits& splits, const ToLearn& learn) {
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
  return Tokenizer::train(next_text, learn.entries, learn.kind);
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

// Standard input can be read once: a survey, or a vocabulary to be learned, needs it once more.
std::string spool_standard_input(const std::string& folder) {
  std::string file = folder + "/standard-input";
  FileWriter writer("data prepare", file);
  std::vector<char> buffer(1 << 20);
  while (const size_t got = std::fread(buffer.data(), 1, buffer.size(), stdin))
    writer.write(buffer.data(), got);
  writer.commit();
  return file;
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
                       const PrepareResult& result, const std::string& splits_are,
                       const std::string& file) {
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
  json["splits_are"] = splits_are;
  json["invalid_utf8"] = result.invalid_utf8;
  json["splits"] = nlohmann::ordered_json::array();
  for (const SplitInfo& split : result.splits)
    json["splits"].push_back({{"name", split.name},
                              {"tokens", split.tokens},
                              {"documents", split.documents},
                              {"bytes", split.bytes},
                              {"words", split.words},
                              {"shards", split.shards}});
  json["checksum"] = std::string(16, '0');
  write_file(
      "data prepare", file,
      with_own_checksum(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) +
                        "\n"));
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

  const ToLearn learn = to_learn(options.tokenizer);
  std::unique_ptr<const Tokenizer> tokenizer;
  if (learn.entries == 0)
    tokenizer = std::make_unique<Tokenizer>(Tokenizer::load(options.tokenizer));

  const Work work{options, progress, stop};
  PrepareResult result;
  std::string base = options.out;
  while (base.size() > 1 && base.ends_with('/')) base.pop_back();
  // What needs no folder is refused before one is made.
  std::vector<TextFile> files = text_files(options.text, result.skipped);
  TemporaryFolder folder(fmt::format("{}.partial-{}", base, ::getpid()));
  std::string spooled;
  Splits splits(files, options.valid, options.test);
  for (TextFile& file : files)
    if ((learn.entries > 0 || splits.drawn()) && file.path == "-") {
      spooled = spool_standard_input(folder.path());
      file.path = spooled;
    }
  if (splits.named())
    std::erase_if(files, [&](const TextFile& file) {
      if (file.split.empty()) result.skipped.push_back(file.path);
      return file.split.empty();
    });
  if (splits.drawn()) splits.survey(work, files);
  result.cut_by_position = splits.by_position();

  if (!tokenizer)
    tokenizer = std::make_unique<Tokenizer>(learn_tokenizer(work, files, splits, learn));
  result.vocab = tokenizer->vocab_size();
  result.splits = tokenise(work, files, splits, *tokenizer, folder.path(), result.invalid_utf8);
  check_official_words(options, result.splits);
  tokenizer->save(folder.path() + "/tokenizer.json");
  write_description(options, *tokenizer, result, splits.description(),
                    folder.path() + "/dataset.json");
  if (!spooled.empty()) fs::remove(spooled);
  folder.become(base);
  return result;
}

}  // namespace strobe
