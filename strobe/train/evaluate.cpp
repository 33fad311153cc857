#include "strobe/train/evaluate.h"

#include <cmath>
#include <numbers>

#include "strobe/core/error.h"
#include "strobe/core/json_text.h"

namespace strobe {

double Evaluation::error() const {
  if (scores.empty()) return NAN;
  double sum = 0;
  for (const auto& [name, score] : scores)
    if (!std::isnan(score)) sum += score;
  return 1 - sum / static_cast<double>(scores.size());
}

namespace {

// The loss of a split, and how many tokens it is the mean of.
Evaluation loss_of(Engine& engine, const std::string& split, const EvalSource& batches,
                   const std::function<bool()>& stop) {
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
  out.loss = sum / static_cast<double>(out.tokens);
  out.token_perplexity = std::exp(out.loss);
  return out;
}

}  // namespace

Evaluation evaluate_masked(Engine& engine, const std::string& split, const EvalSource& batches,
                           const std::function<bool()>& stop) {
  Evaluation out = loss_of(engine, split, batches, stop);
  out.word_perplexity = out.bits_per_byte = NAN;
  return out;
}

Evaluation evaluate(Engine& engine, const Dataset& dataset, const std::string& split,
                    const EvalSource& batches, const std::function<bool()>& stop) {
  Evaluation out = loss_of(engine, split, batches, stop);
  if (out.tokens == 0) return out;
  const double sum = out.loss * static_cast<double>(out.tokens);
  const SplitInfo& info = dataset.split(split);
  const double share = static_cast<double>(out.tokens) / static_cast<double>(info.tokens - 1);
  out.word_perplexity = std::exp(sum / (share * static_cast<double>(info.words)));
  out.bits_per_byte = sum / std::numbers::ln2 / (share * static_cast<double>(info.bytes));
  return out;
}

std::string to_json(const Evaluation& e) {
  std::string scores;
  for (const auto& [name, score] : e.scores)
    scores += fmt::format(R"(, "{}": {})", name, json_number(score));
  if (!e.scores.empty()) scores += fmt::format(R"(, "error": {})", json_number(e.error()));
  return fmt::format(
      R"({{"split": "{}", "tokens": {}, "loss": {}, "token_perplexity": {}, "word_perplexity": {}, "bits_per_byte": {}{}}})",
      e.split, e.tokens, json_number(e.loss), json_number(e.token_perplexity),
      json_number(e.word_perplexity), json_number(e.bits_per_byte), scores);
}

}  // namespace strobe
