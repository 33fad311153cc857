// strobe tokenizer train|encode|decode
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <limits>
#include <memory>

#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/data/text_source.h"
#include "strobe/data/tokenizer.h"

namespace strobe {
namespace {

constexpr int64_t any_size = std::numeric_limits<int64_t>::max();

std::string read_stdin() {
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

int train(const std::vector<std::string>& text, const std::string& kind, int64_t vocab,
          const std::string& out) {
  const TextOptions options{.paths = text};
  std::vector<std::string> skipped;
  TextSource source(text_files(options, skipped), options);
  int64_t bytes = 0;
  const auto next = [&](std::string& document) {
    TextPiece piece;
    if (!source.next(piece)) return false;
    document = std::move(piece.text);
    bytes += static_cast<int64_t>(document.size());
    return true;
  };
  const Tokenizer tokenizer = Tokenizer::train(next, vocab, kind);
  tokenizer.save(out);
  if (!skipped.empty())
    fmt::print(stderr, "strobe: tokenizer train: skipped {} files that are no text\n",
               skipped.size());
  fmt::print("{}: {} entries from {} bytes of text\n", out, tokenizer.vocab_size(), bytes);
  return 0;
}

int encode(const std::string& spec, const std::string& file, bool count) {
  const Tokenizer tokenizer = Tokenizer::load(spec);
  const std::string text =
      file.empty() ? read_stdin() : read_file("tokenizer encode", file, any_size);
  std::vector<int32_t> ids;
  const auto start = std::chrono::steady_clock::now();
  const int64_t replaced = tokenizer.encode(text, ids);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  if (replaced > 0)
    fmt::print(stderr, "strobe: tokenizer encode: {} ill-formed UTF-8 sequences read as U+FFFD\n",
               replaced);
  if (count) {
    const double bytes = static_cast<double>(text.size());
    fmt::print("{} tokens, {} bytes, {:.3f} bytes per token, {:.4f} s, {:.1f} MB/s on one thread\n",
               ids.size(), text.size(), ids.empty() ? 0 : bytes / static_cast<double>(ids.size()),
               seconds.count(), bytes / 1e6 / seconds.count());
    return 0;
  }
  std::string line;
  for (const int32_t id : ids) {
    if (!line.empty()) line += ' ';
    line += std::to_string(id);
  }
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stdout);
  return 0;
}

int32_t parse_id(std::string_view word) {
  int32_t id = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
  if (error != std::errc() || end != word.data() + word.size())
    fail("tokenizer decode: '{}' is not a token id; integers separated by white space are accepted",
         word);
  return id;
}

int decode(const std::string& spec, const std::vector<std::string>& arguments) {
  const Tokenizer tokenizer = Tokenizer::load(spec);
  std::vector<int32_t> ids;
  const auto add_words = [&](std::string_view text) {
    constexpr std::string_view white = " \t\r\n";
    for (size_t begin = text.find_first_not_of(white); begin != text.npos;) {
      const size_t end = std::min(text.find_first_of(white, begin), text.size());
      ids.push_back(parse_id(text.substr(begin, end - begin)));
      begin = text.find_first_not_of(white, end);
    }
  };
  for (const std::string& argument : arguments) add_words(argument);
  if (arguments.empty()) add_words(read_stdin());
  const std::string text = tokenizer.decode(ids);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return 0;
}

constexpr const char* spec_help =
    "gpt2:DIR (encoder.json, vocab.bpe), bert:DIR (vocab.txt), a tokenizer.json or its folder";

}  // namespace

Verb verb_tokenizer_train() {
  return {"tokenizer train", "Learn a byte-level BPE or a WordPiece vocabulary from text",
          "strobe tokenizer train --text articles/ --vocab 2048 --out tokenizer.json",
          [](Options& options) {
            auto text = std::make_shared<std::vector<std::string>>();
            auto vocab = std::make_shared<int64_t>(2048);
            auto out = std::make_shared<std::string>("tokenizer.json");
            options.values(*text, "--text", "files, folders or - of UTF-8 text, packed or not",
                           Options::required);
            auto kind = std::make_shared<std::string>("bpe");
            options.value(*kind, "--kind", "bpe, wordpiece (lower-cased) or wordpiece-cased");
            options.value(*vocab, "--vocab",
                          "entries, with the 256 bytes or the characters, and special tokens");
            options.value(*out, "--out", "the file to write");
            return [=] { return train(*text, *kind, *vocab, *out); };
          }};
}

Verb verb_tokenizer_encode() {
  return {"tokenizer encode", "Print the token ids of a text",
          "echo 'The river' | strobe tokenizer encode --tokenizer tokenizer.json",
          [](Options& options) {
            auto spec = std::make_shared<std::string>();
            auto text = std::make_shared<std::string>();
            options.value(*spec, "--tokenizer", spec_help, Options::required);
            options.value(*text, "--text", "the file to read, standard input if not given");
            auto count = std::make_shared<bool>(false);
            options.flag(*count, "--count", "print how many tokens and how long it took instead");
            return [=] { return encode(*spec, *text, *count); };
          }};
}

Verb verb_tokenizer_decode() {
  return {"tokenizer decode", "Print the text of token ids",
          "strobe tokenizer decode --tokenizer gpt2:data/gpt2 464 7850", [](Options& options) {
            auto spec = std::make_shared<std::string>();
            auto ids = std::make_shared<std::vector<std::string>>();
            options.value(*spec, "--tokenizer", spec_help, Options::required);
            options.values(*ids, "ids", "token ids, from standard input if not given");
            return [=] { return decode(*spec, *ids); };
          }};
}

}  // namespace strobe
