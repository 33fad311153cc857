// strobe data prepare: text to a folder of tokens.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>

#include "apps/verbs.h"
#include "strobe/core/arena.h"
#include "strobe/core/error.h"
#include "strobe/data/prepare.h"
#include "strobe/data/text_source.h"

namespace strobe {

namespace {

struct Values {
  PrepareOptions prepare;
  std::string corpus, from;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int run(Values values) {
  PrepareOptions& options = values.prepare;
  if (values.corpus.empty() == options.inputs.empty())
    fail("data prepare: give either --text FILE|DIR|- or --corpus NAME");
  if (!values.corpus.empty()) {
    if (values.corpus != "demo") fail("data prepare: no corpus is named '{}'", values.corpus);
    options.inputs = {values.from.empty() ? "build/demo-text" : values.from};
  }
  options.source = fmt::format("{}", fmt::join(options.inputs, ", "));
  const double begin = now();
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  options.progress = [&](int64_t documents, int64_t bytes) {
    if (!terminal) return;
    fmt::print("\r\033[K{} documents, {}, {:.1f} MB/s", documents, format_bytes(bytes),
               static_cast<double>(bytes) / 1e6 / (now() - begin));
    std::fflush(stdout);
  };
  const PrepareResult result = prepare(options);
  if (terminal) fmt::print("\r\033[K");
  fmt::print("{}: {} documents, {}, {} tokens ({:.2f} bytes a token) in {:.1f} s\n", options.out,
             result.documents, format_bytes(result.bytes), result.tokens,
             static_cast<double>(result.bytes) / static_cast<double>(result.tokens), now() - begin);
  if (result.ill_formed > 0)
    fmt::print("{} ill-formed UTF-8 sequences were read as U+FFFD\n", result.ill_formed);
  return 0;
}

}  // namespace

Verb verb_data_prepare() {
  return {"data prepare", "Text to a folder of tokens",
          "strobe data prepare --text my-texts/ --tokenizer train:8192 --out data/mine",
          [](Options& options) {
            auto v = std::make_shared<Values>();
            options.value(v->prepare.out, "--out", "folder to make", Options::required);
            options.values(v->prepare.inputs, "--text",
                           "files, folders or - : .txt, .jsonl, WikiText, packed or not");
            options.value(v->corpus, "--corpus", "a corpus by name: demo");
            options.value(v->from, "--from", "where the corpus's files are");
            options.value(v->prepare.tokenizer, "--tokenizer",
                          "gpt2:DIR, a tokenizer.json, or train:ENTRIES", Options::required);
            options.value(v->prepare.jsonl_field, "--field", "the field of .jsonl that holds text");
            options.value(v->prepare.valid, "--valid", "share of documents for validation");
            options.value(v->prepare.test, "--test", "share of documents for testing");
            return [v] { return run(*v); };
          }};
}

}  // namespace strobe
