// strobe data info: what a dataset holds.
#include <cmath>
#include <memory>

#include "apps/table.h"
#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/data/dataset.h"
#include "strobe/data/entropy.h"

namespace strobe {

namespace {

struct InfoOptions {
  std::string folder;
  bool entropy = false, json = false;
};

void print_origin(const Dataset& dataset) {
  const DatasetOrigin& origin = dataset.origin();
  const auto line = [](const char* name, const std::string& value) {
    if (!value.empty()) fmt::print("{:11} {}\n", name, value);
  };
  line("corpus", origin.corpus);
  line("source", origin.source);
  line("licence", origin.licence);
  line("tokenizer", fmt::format("{}{}{} entries", origin.tokenizer,
                                origin.tokenizer.empty() ? "" : ", ", dataset.vocab()));
  if (origin.invalid_utf8 > 0)
    line("ill-formed", fmt::format("{} sequences of UTF-8 read as U+FFFD", origin.invalid_utf8));
  line("hash",
       fmt::format("{:016x}; every checksum verified{}", dataset.hash(),
                   origin.verified ? "" : ", but dataset.json, of an older strobe, has none"));
  fmt::print("\n");
}

int run_info(const InfoOptions& options) {
  const Dataset dataset = Dataset::open(options.folder);
  Table table({{"split"},
               {"documents"},
               {"tokens"},
               {"words"},
               {"bytes"},
               {"bytes_per_token", 3},
               {"tokens_per_word", 3},
               {"checksum"},
               {"unigram_nats", 4, options.entropy},
               {"bigram_nats", 4, options.entropy},
               {"unigram_bits_per_byte", 4, options.entropy},
               {"bigram_bits_per_byte", 4, options.entropy}});
  const auto ratio = [](int64_t a, int64_t b) -> Cell {
    if (b == 0) return std::monostate();
    return static_cast<double>(a) / static_cast<double>(b);
  };
  for (const SplitInfo& split : dataset.splits()) {
    std::vector<Cell> row = {split.name,
                             split.documents,
                             split.tokens,
                             split.words,
                             split.bytes,
                             ratio(split.bytes, split.tokens),
                             ratio(split.tokens, split.words),
                             fmt::format("{:016x}", split.checksum)};
    if (options.entropy) {
      const SplitEntropy e = split_entropy(dataset, split.name);
      row.insert(row.end(),
                 {e.unigram_nats, e.bigram_nats, e.unigram_bits_per_byte, e.bigram_bits_per_byte});
    } else {
      row.insert(row.end(), 4, std::monostate());
    }
    table.add(std::move(row));
  }
  if (!options.json) print_origin(dataset);
  table.print(options.json);
  return 0;
}

}  // namespace

Verb verb_data_info() {
  return {"data info", "What a dataset holds; verifies its checksums",
          "strobe data info data --entropy", [](Options& options) {
            auto o = std::make_shared<InfoOptions>();
            options.value(o->folder, "dataset", "the dataset's folder", Options::required);
            options.flag(o->entropy, "--entropy",
                         "also the cross-entropy of each split under counts of the training split");
            options.flag(o->json, "--json", "print an array, an object a split");
            return [o] { return run_info(*o); };
          }};
}

}  // namespace strobe
