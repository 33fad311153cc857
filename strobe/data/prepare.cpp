#include "strobe/data/prepare.h"

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
#include "strobe/core/files.h"
#include "strobe/core/threads.h"
#include "strobe/data/split_reader.h"
#include "strobe/data/split_writer.h"
#include "strobe/data/tokenizer.h"

namespace strobe {

namespace {

namespace fs = std::filesystem;

struct Work {
  const PrepareOptions& options;
  const std::function<void(const PrepareProgress&)>& progress;
  const std::function<bool()>& stop;

  void report(const PrepareProgress& state) const {
    if (stop()) fail("data prepare: stopped; nothing was written");
    progress(state);
  }
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
  SplitReader reader(files, work.options.text, splits);
  std::vector<SplitPiece> batch;
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
      SplitPiece& piece = batch[next++];
      state.bytes += static_cast<int64_t>(piece.text.size());
      if (piece.split != "train") continue;
      text = std::move(piece.text);
      return true;
    }
  };
  return Tokenizer::train(next_text, learn.entries, learn.kind);
}

std::vector<SplitInfo> tokenise(const Work& work, const std::vector<TextFile>& files,
                                const Splits& splits, const Tokenizer& tokenizer,
                                const std::string& folder, int64_t& invalid) {
  struct Encoded {
    std::vector<int32_t> tokens;
    int64_t invalid = 0;
  };
  SplitReader reader(files, work.options.text, splits);
  std::map<std::string, std::unique_ptr<SplitWriter>> writers;
  PrepareProgress state{.phase = "tokenising"};
  // The next batch is read, and decompressed, while this one is tokenised.
  const auto read = [&] { return reader.read(); };
  auto coming = std::async(std::launch::async, read);
  for (auto batch = coming.get(); !batch.empty(); batch = coming.get()) {
    coming = std::async(std::launch::async, read);
    std::vector<Encoded> encoded(batch.size());
    parallel_for(static_cast<int64_t>(batch.size()), [&](int64_t i) {
      Encoded& e = encoded[static_cast<size_t>(i)];
      e.invalid = tokenizer.encode(batch[static_cast<size_t>(i)].text, e.tokens);
    });
    for (size_t i = 0; i < batch.size(); ++i) {
      const SplitPiece& piece = batch[i];
      const std::vector<int32_t>& tokens = encoded[i].tokens;
      auto& writer = writers[piece.split];
      if (!writer)
        writer = std::make_unique<SplitWriter>(folder, piece.split, tokenizer.vocab_size(),
                                               tokenizer.hash(), tokenizer.end_of_text());
      writer->add(piece.text, tokens, piece.last, work.options.line_ends_are_words);
      invalid += encoded[i].invalid;
      state.documents += piece.last;
      state.bytes += static_cast<int64_t>(piece.text.size());
      state.tokens += static_cast<int64_t>(tokens.size());
    }
    work.report(state);
  }
  splits.require(reader.found());
  std::vector<SplitInfo> out;
  for (const char* name : kSplitNames)
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
  NewFolder folder("data prepare", options.out);
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
  // What needs no folder is refused before one is made.
  std::vector<TextFile> files = text_files(options.text, result.skipped);
  folder.make();
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
  if (splits.drawn())
    splits.survey(files, options.text, [&](int64_t documents, int64_t bytes) {
      work.report({.phase = "counting documents", .documents = documents, .bytes = bytes});
    });
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
  folder.finish();
  return result;
}

}  // namespace strobe
