#include "apps/step_batches.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "strobe/data/labelled_batches.h"
#include "strobe/train/run_config.h"
#include "strobe/train/run_data.h"

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

constexpr size_t kVaried = 16;

}  // namespace

StepBatches::StepBatches(Config& config, int64_t vocab, double mean_length) {
  const auto micro_batches = [&config] { return config.train.grad_accum; };
  shape_ = {.training = true,
            .sequences = config.train.micro_batch,
            .length = config.train.sequence,
            .micro_batches = micro_batches()};
  check_shape(shape_, config.model.context);
  const auto make = [&](size_t steps, const auto& batch) {
    int64_t index = 0;
    steps_.resize(steps);
    for (std::vector<HostBatch>& step : steps_)
      for (int64_t i = 0; i < micro_batches(); ++i) step.push_back(batch(index++));
  };
  if (!config.texts.train.empty()) {
    const std::unique_ptr<RunData> data = open_run_data(config);
    config = resolve(std::move(config), *data);
    data->begin(config);
    shape_ = training_shape(config, *data, data->train().most_sequences(config.train.sequence));
    make(kVaried, [&](int64_t index) {
      HostBatch batch;
      data->train().fill(batch, index, 0);
      return batch;
    });
    return;
  }
  const bool masks = config.model.kind == "bert" && config.model.head == "lm";
  const bool texts = config.model.kind == "bert" && !masks;
  make(texts ? kVaried : 1, [&](int64_t index) {
    Source source(config, vocab, static_cast<uint32_t>(index));
    return texts ? source.texts(mean_length) : masks ? source.masked_words() : source.blocks();
  });
  if (texts) shape_.most_sequences = shape_.sequences + 1;
  if (masks) shape_.scored_rows = steps_[0][0].scored;
}

double StepBatches::tokens() const {
  double sum = 0;
  for (const std::vector<HostBatch>& step : steps_)
    for (const HostBatch& batch : step)
      sum += static_cast<double>(batch.starts.empty()
                                     ? batch.sequences * batch.length
                                     : batch.starts[static_cast<size_t>(batch.sequences)]);
  return sum / static_cast<double>(steps_.size());
}

}  // namespace strobe
