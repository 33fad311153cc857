#include "strobe/train/evaluate.h"

#include <cmath>
#include <numbers>

#include "strobe/core/error.h"

namespace strobe {

Evaluation evaluate(Engine& engine, const Dataset& dataset, const std::string& split,
                    const EvalBatches& batches, const std::function<bool()>& stop) {
  double sum = 0;
  Evaluation out;
  out.split = split;
  HostBatch batch;
  for (int64_t i = 0; i < batches.count(); ++i) {
    out.stopped = stop && stop();
    if (out.stopped) break;
    batches.fill(batch, i);
    sum += engine.evaluate(batch);
    out.tokens += batch.scored;
  }
  if (out.tokens == 0 && out.stopped) return out;
  if (out.tokens == 0) fail("eval: nothing was scored in the split '{}'", split);
  const SplitInfo& info = dataset.split(split);
  const double share = static_cast<double>(out.tokens) / static_cast<double>(info.tokens - 1);
  out.loss = sum / static_cast<double>(out.tokens);
  out.token_perplexity = std::exp(out.loss);
  out.word_perplexity = std::exp(sum / (share * static_cast<double>(info.words)));
  out.bits_per_byte = sum / std::numbers::ln2 / (share * static_cast<double>(info.bytes));
  return out;
}

std::string to_json(const Evaluation& e) {
  return fmt::format(
      R"({{"split": "{}", "tokens": {}, "loss": {}, "token_perplexity": {}, "word_perplexity": {}, "bits_per_byte": {}}})",
      e.split, e.tokens, e.loss, e.token_perplexity, e.word_perplexity, e.bits_per_byte);
}

}  // namespace strobe
