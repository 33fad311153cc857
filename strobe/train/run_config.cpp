#include "strobe/train/run_config.h"

#include <algorithm>
#include <filesystem>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/data/tokenizer.h"
#include "strobe/train/run_folder.h"

namespace strobe {

namespace {

// Ids of the sample's prompt: at least one, and short enough to leave room to continue.
std::vector<int32_t> prompt_of(const Config& config, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  tokenizer.encode(config.sample.prompt, ids);
  if (static_cast<int64_t>(ids.size()) + config.sample.tokens > config.model.context)
    fail("sample: a prompt of {} tokens and {} more do not fit the context of {}", ids.size(),
         config.sample.tokens, config.model.context);
  return ids;
}

}  // namespace

Config resolve(Config config, const RunData& data) {
  const int64_t vocab = data.tokenizer().vocab_size();
  if (config.model.vocab == 0) config.model.vocab = vocab;
  if (config.model.vocab < vocab)
    fail("model.vocab: {} entries are fewer than the {} of the data's tokenizer ({})",
         config.model.vocab, vocab, data.place());
  std::vector<std::string*> paths = {&config.data.path, &config.texts.train, &config.init_from,
                                     &config.schedule.record};
  if (config.texts.task.empty()) paths.push_back(&config.texts.valid);  // else a split's name
  for (std::string* path : paths)
    if (std::error_code error; !path->empty())
      if (const auto whole = std::filesystem::weakly_canonical(*path, error); !error) *path = whole;
  if (config.train.sequence == 0) config.train.sequence = config.model.context;
  check_shape({.sequences = config.train.micro_batch,
               .length = config.train.sequence,
               .micro_batches = config.train.grad_accum},
              config.model.context);
  for (const auto& [key, value] :
       {std::pair<const char*, int64_t>{"eval.tokens", config.eval.tokens},
        {"checkpoint.keep", config.checkpoint.keep},
        {"sample.tokens", config.sample.tokens}})
    if (value < 0) fail("{}: {} is negative; it takes 0 or more", key, value);
  if (!config.schedule.record.empty())
    config.train.steps =
        static_cast<int64_t>(recorded_learning_rates(config.schedule.record).size()),
    config.train.tokens = config.train.epochs = config.train.seconds = std::nullopt;
  return config;
}

Packing packing_of(const Config& config) {
  const std::string& shuffle = config.data.shuffle;
  if (shuffle != "blocks" && shuffle != "documents")
    fail("data.shuffle: '{}' is unknown; known are blocks, documents", shuffle);
  return {.shuffle_documents = shuffle == "documents",
          .mask_documents = config.data.mask_documents};
}

AttentionAlgorithm chosen_attention(const Config& config, Backend& ops, DType dtype) {
  const ModelConfig& m = config.model;
  const int64_t length = config.train.sequence, rows = config.train.micro_batch * length;
  const AttentionShape shape{.sequences = config.train.micro_batch,
                             .max_q = length,
                             .max_k = length,
                             .total_q = rows,
                             .total_k = rows,
                             .heads = m.heads,
                             .kv_heads = m.kv_heads > 0 ? m.kv_heads : m.heads,
                             .head_dim = m.channels / m.heads,
                             .causal = m.kind == "gpt2"};
  return ops.choose_attention(attention_algorithm(config.attention.algorithm), shape, dtype);
}

EngineShape training_shape(const Config& config, const RunData& data, int64_t most_sequences) {
  EngineShape shape{.training = true,
                    .sequences = config.train.micro_batch,
                    .length = config.train.sequence,
                    .micro_batches = config.train.grad_accum,
                    .most_sequences = most_sequences,
                    .scored_rows = data.train().scored_rows(),
                    .predicts = data.predicts()};
  if (config.sample.tokens > 0) {
    const auto prompt = prompt_of(config, data.tokenizer());
    shape.decode_capacity =
        std::max<int64_t>(1, static_cast<int64_t>(prompt.size())) + config.sample.tokens;
  }
  return shape;
}

std::vector<std::string> changed_keys(const std::string& run, const Config& was,
                                      const Config& now) {
  std::vector<std::string> out;
  const auto before = flatten(was), after = flatten(now);
  for (size_t i = 0; i < before.size(); ++i) {
    const auto& [key, value] = before[i];
    if (value == after[i].second) continue;
    const bool fixed = (key.starts_with("model.") && key != "model.recompute") ||
                       key == "optimizer.name" || key == "optimizer.groups" ||
                       key == "average.ema" || key == "average.lawa" || key == "seed";
    if (fixed)
      fail("resume: {} is '{}' in the run {} and cannot become '{}'; 'strobe train' begins another",
           key, value, run, after[i].second);
    out.push_back(key);
  }
  return out;
}

}  // namespace strobe
