#include "apps/synthetic_batch.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/rng.h"
#include "strobe/data/labelled_batches.h"

namespace strobe {

namespace {

class Source {
 public:
  Source(const Config& config, int64_t vocab, uint32_t number)
      : config_(config),
        vocab_(vocab),
        random_(static_cast<uint64_t>(config.seed), RandomUse::sample, number) {
    batch_.sequences = config.train.micro_batch, batch_.length = config.train.sequence;
  }

  HostBatch blocks() {
    add_tokens(room());
    for (int64_t i = 0; i < room(); ++i) batch_.targets.push_back(below(vocab_));
    batch_.scored = room();
    return std::move(batch_);
  }

  HostBatch masked_words() {
    add_tokens(room());
    const double rows = static_cast<double>(room());
    const auto picked = static_cast<int64_t>(std::ceil(config_.mask.rate * rows));
    const double stratum = rows / static_cast<double>(picked);
    for (int64_t i = 0; i < picked; ++i) {  // one of each stratum
      const double at = (static_cast<double>(i) + double{random_.uniform()}) * stratum;
      batch_.picks.push_back(static_cast<int32_t>(std::min(at, rows - 1)));
      batch_.targets.push_back(below(vocab_));
    }
    batch_.scored = picked;
    return std::move(batch_);
  }

  HostBatch texts(double mean_length) {
    const int64_t classes = config_.model.head == "regression" ? 1 : config_.model.classes;
    int64_t longest = 0;
    batch_.starts.push_back(0);
    for (int64_t s = 0; s < batch_.sequences; ++s) {
      constexpr double kSigma = 0.6, kLeast = 5;
      const double drawn = mean_length * std::exp(kSigma * double{random_.normal()});
      const auto most = static_cast<double>(batch_.length);
      const auto length =
          static_cast<int64_t>(std::clamp(std::round(drawn), std::min(kLeast, most), most));
      batch_.picks.push_back(batch_.starts.back());
      batch_.targets.push_back(below(classes));
      batch_.scores.push_back(random_.uniform());
      add_tokens(length);
      batch_.starts.push_back(batch_.starts.back() + static_cast<int32_t>(length));
      longest = std::max(longest, length);
    }
    batch_.scored = batch_.sequences;
    make_shapes_few(batch_, longest);
    return std::move(batch_);
  }

 private:
  int64_t room() const { return batch_.sequences * batch_.length; }
  int32_t below(int64_t n) { return static_cast<int32_t>(random_.below(static_cast<uint64_t>(n))); }
  void add_tokens(int64_t count) {
    for (int64_t i = 0; i < count; ++i) batch_.tokens.push_back(below(vocab_));
  }

  const Config& config_;
  int64_t vocab_;
  RandomSequence random_;
  HostBatch batch_;
};

}  // namespace

bool lengths_vary(const Config& config) {
  return config.model.kind == "bert" && config.model.head != "lm";
}

HostBatch synthetic_batch(const Config& config, int64_t vocab, double mean_length,
                          uint32_t number) {
  Source source(config, vocab, number);
  if (config.model.kind != "bert") return source.blocks();
  return lengths_vary(config) ? source.texts(mean_length) : source.masked_words();
}

}  // namespace strobe
