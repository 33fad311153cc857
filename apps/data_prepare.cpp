// strobe data prepare: text to a dataset.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>

#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/data/corpora.h"
#include "strobe/data/prepare.h"

namespace strobe {

namespace {

struct DataOptions {
  std::string out, corpus, from, tokenizer = "train:2048", field;
  std::vector<std::string> text;
  double valid = 0.05, test = 0.05;
};

// One live line on a terminal, a line every ten seconds elsewhere.
class ProgressPrinter {
 public:
  void show(const PrepareProgress& state) {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double> passed = now - start_;
    if (state.phase != phase_) phase_ = state.phase, start_ = now, last_ = now;
    const double interval = terminal_ ? 0.2 : 10;
    if (std::chrono::duration<double>(now - last_).count() < interval) return;
    last_ = now;
    std::string line = fmt::format("{}: {} documents, {:.1f} MB", state.phase, state.documents,
                                   static_cast<double>(state.bytes) / 1e6);
    if (state.tokens > 0)
      line += fmt::format(", {:.2f} M tokens", static_cast<double>(state.tokens) / 1e6);
    line += fmt::format(", {:.1f} MB/s", static_cast<double>(state.bytes) / 1e6 / passed.count());
    fmt::print(stderr, "{}{}{}", terminal_ ? "\r\033[K" : "", line, terminal_ ? "" : "\n");
    std::fflush(stderr);
    open_ = terminal_;
  }
  ~ProgressPrinter() {
    if (open_) fmt::print(stderr, "\r\033[K");
  }

 private:
  using Time = std::chrono::steady_clock::time_point;
  bool terminal_ = ::isatty(STDERR_FILENO) != 0, open_ = false;
  std::string phase_;
  Time start_ = std::chrono::steady_clock::now(), last_ = start_;
};

int run_prepare(const DataOptions& o) {
  if (o.text.empty() == o.corpus.empty())
    fail("data prepare: give either --text FILE|DIR|- or --corpus {}",
         fmt::join(corpus_names(), "|"));
  if (o.corpus.empty() && !o.from.empty())
    fail("data prepare: --from goes with --corpus; for files of your own there is --text");
  PrepareOptions options = o.corpus.empty() ? PrepareOptions{} : named_corpus(o.corpus, o.from);
  if (o.corpus.empty()) options.text.paths = o.text;
  if (!o.field.empty()) options.text.field = o.field, options.text.lines_are_json = true;
  options.out = o.out;
  options.tokenizer = o.tokenizer;
  options.valid = o.valid, options.test = o.test;

  catch_stop_signals();
  PrepareResult result;
  {
    ProgressPrinter printer;
    result = prepare(
        options, [&](const PrepareProgress& state) { printer.show(state); }, stop_requested);
  }
  if (!result.skipped.empty())
    fmt::print(stderr, "strobe: skipped {} file{} of no known kind or split: {}{}\n",
               result.skipped.size(), result.skipped.size() == 1 ? "" : "s", result.skipped.front(),
               result.skipped.size() > 1 ? ", ..." : "");
  if (result.cut_by_position)
    fmt::print(stderr,
               "strobe: too few documents to draw a split of each from: the text was cut by "
               "position, at line ends, in the order train, valid, test\n");
  if (result.invalid_utf8 > 0)
    fmt::print(stderr, "strobe: {} ill-formed UTF-8 sequences were read as U+FFFD\n",
               result.invalid_utf8);
  fmt::print("{}: vocabulary {}\n", options.out, result.vocab);
  for (const SplitInfo& split : result.splits)
    fmt::print("  {:5}  {} documents, {} tokens, {} words, {} bytes\n", split.name, split.documents,
               split.tokens, split.words, split.bytes);
  return 0;
}

}  // namespace

Verb verb_data_prepare() {
  return {
      "data prepare", "Make a dataset: split text into train, valid, test and tokenise it",
      "strobe data prepare --text articles/ --tokenizer train:2048 --out data",
      [](Options& options) {
        auto o = std::make_shared<DataOptions>();
        options.value(o->out, "--out", "the folder to make", Options::required);
        options.values(o->text, "--text",
                       "files, folders or - for standard input: .txt, .jsonl, .tokens, .raw, "
                       "also compressed or in .tar, .zip");
        options.value(o->corpus, "--corpus", "wikitext-2, wikitext-103 or demo");
        options.value(o->from, "--from", "where the files of --corpus are");
        options.value(
            o->tokenizer, "--tokenizer",
            "gpt2:DIR, bert:DIR, a tokenizer.json, or train:N to learn N entries of a byte-level "
            "BPE (train:wordpiece:N, train:wordpiece-cased:N: of a WordPiece)");
        options.value(o->field, "--field",
                      "of a .jsonl line, the text (default text); standard input is then .jsonl");
        options.value(o->valid, "--valid", "share of the documents for validation");
        options.value(o->test, "--test", "share of the documents for the test");
        return [o] { return run_prepare(*o); };
      }};
}

}  // namespace strobe
