#include "strobe/train/finetune.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/data/glue.h"
#include "strobe/data/labelled_batches.h"
#include "strobe/io/huggingface.h"
#include "strobe/train/run_data.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

// The model of a run, or of a folder of Hugging Face's.
ModelConfig model_of(const std::string& from) {
  if (!fs::is_directory(from))
    fail("finetune: no folder {}; a run, or a folder of Hugging Face transformers', is accepted",
         from);
  if (is_run(from)) return run_config(from).model;
  return read_huggingface_config(from + "/config.json", [](const std::string&) {}).model;
}

void to_probabilities(std::span<float> logits) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float& x : logits) x = std::exp(x - most), sum += x;
  for (float& x : logits) x = static_cast<float>(x / sum);
}

}  // namespace

Config finetune_config(const std::string& from, const std::string& name, const TextsConfig& texts,
                       bool regression, const std::vector<std::string>& overrides) {
  Config config;
  config.name = name, config.init_from = from, config.texts = texts;
  config.model = model_of(from);
  if (config.model.kind != "bert")
    fail("finetune: {} is a {}; classification and regression are BERT's", from, config.model.kind);
  config.model.head = regression ? "regression" : "classification";
  config.model.dropout = 0.1, config.model.pooler = false, config.model.recompute = "none";
  OptimizerConfig& o = config.optimizer;
  o.lr = 5e-5;
  o.weight_decay = 0.01, o.beta1 = 0.9, o.beta2 = 0.999, o.eps = 1e-6;
  config.schedule.name = "linear", config.schedule.floor = 0;
  config.schedule.warmup = {0.1, Length::Unit::fraction};
  const GlueTask usual;
  const GlueTask& task = texts.task.empty() ? usual : glue_task(texts.task);
  config.train.epochs = task.epochs, config.train.micro_batch = task.batch;
  config.train.sequence = std::min<int64_t>(128, config.model.context);
  config.eval.every = {0.25, Length::Unit::fraction};
  config.checkpoint.every = {0.25, Length::Unit::fraction}, config.checkpoint.keep = 1;
  config.train.log_every = {0.1, Length::Unit::fraction};
  return load_config(config, overrides).config;
}

void check_same(const std::string& folder, const Config& was, const Config& now) {
  const auto before = flatten(was), after = flatten(now);
  for (size_t i = 0; i < before.size(); ++i) {
    const auto& [key, value] = before[i];
    if (value == after[i].second) continue;
    fail("finetune: the run {} has {}={}, not {}; another folder takes the new one", folder, key,
         value, after[i].second);
  }
}

RunState finetune(const Config& config, const std::string& folder,
                  const std::function<bool()>& stop,
                  const std::function<void(const std::string&)>& note) {
  if (is_run(folder)) {
    RunFolder run = RunFolder::open(folder);
    const Config was = load_config(run.file("config.toml"), {}).config;
    // Another device or number of threads does not make it another run: it goes on as it was.
    Config asked = config;
    asked.backend = was.backend, asked.threads = was.threads;
    Trainer trainer(asked, stop, folder);
    check_same(folder, was, trainer.config());
    if (has_weights_alone(run.checkpoints())) return RunState::finished;
    return trainer.run(run, /*resume=*/true);
  }
  Trainer trainer(config, stop);
  if (note) note(trainer.describe_data());
  trainer.initialise(folder, note);
  RunFolder run = RunFolder::create(folder, trainer.config());
  return trainer.run(run, /*resume=*/false);
}

Reader::Reader(const std::string& run, const std::string& precision)
    : Reader(run, run_config(run), precision) {}

Reader::Reader(const std::string& run, const Config& config, const std::string& precision)
    : tokenizer_(Tokenizer::load(run_tokenizer(run))) {
  const int64_t length = config.train.sequence > 0 ? config.train.sequence : config.model.context;
  // Of a text every word may be in question; a sequence has one label.
  const bool all = config.model.head == "lm" || config.model.head == "none";
  if (all) sequences_ = 1;
  run_ = load_run(run,
                  {.sequences = sequences_,
                   .length = length,
                   .most_sequences = sequences_ + 1,
                   .scored_rows = all ? length : sequences_,
                   .predicts = true},
                  precision);
  run_.config.train.sequence = length;
}

Predictions Reader::predict(const Examples& examples, const std::function<bool()>& stop) {
  check_says_something();
  const LabelledEvalBatches batches(
      EncodedExamples(tokenizer_, examples, run_.config.train.sequence), sequences_);
  cut_ += batches.examples().cut();
  return strobe::predict(*run_.engine, batches, regression(), stop);
}

std::vector<float> Reader::outputs(const EncodedExample& example,
                                   const std::vector<int32_t>& picks) {
  HostBatch batch;
  batch.tokens = example.ids;
  for (size_t i = 0; i < example.ids.size(); ++i)
    batch.types.push_back(static_cast<int32_t>(i) < example.first_size ? 0 : 1);
  batch.picks = picks, batch.targets.assign(picks.size(), -1);
  batch.starts = {0, static_cast<int32_t>(example.ids.size())};
  return run_.engine->predict(batch);
}

void Reader::check_says_something() const {
  const std::string& head = config().model.head;
  if (config().model.kind != "bert" || head == "lm")
    fail(
        "predict: the run is a {} with the head '{}'; a bert with the head classification, "
        "regression or none is accepted ('strobe finetune' makes one, 'strobe generate' continues "
        "texts, 'strobe fill' fills in words)",
        config().model.kind, head);
}

std::vector<float> Reader::read(const Example& example, bool pair) {
  check_says_something();
  const std::string& head = config().model.head;
  const EncodedExample ids = encode_example(tokenizer_, example, pair, config().train.sequence);
  if (ids.cut) ++cut_;
  if (head != "none") {
    std::vector<float> out = outputs(ids, {0});
    if (!regression()) to_probabilities(out);
    return out;
  }
  std::vector<int32_t> rows(ids.ids.size());
  std::iota(rows.begin(), rows.end(), 0);
  const std::vector<float> all = outputs(ids, rows);
  const size_t width = all.size() / rows.size();
  std::vector<float> mean(width);
  double square = 0;
  for (size_t j = 0; j < width; ++j) {
    double sum = 0;
    for (size_t i = 0; i < rows.size(); ++i) sum += all[i * width + j];
    mean[j] = static_cast<float>(sum), square += sum * sum;
  }
  for (float& x : mean) x = static_cast<float>(x / std::sqrt(square));
  return mean;
}

std::vector<std::vector<Reader::Word>> Reader::fill(const std::string& text, int64_t most) {
  if (config().model.kind != "bert" || config().model.head != "lm")
    fail("fill: the run is a {} with the head '{}'; a bert with the head 'lm' is accepted",
         config().model.kind, config().model.head);
  const int32_t cls = tokenizer_.special("[CLS]"), sep = tokenizer_.special("[SEP]");
  const int32_t mask = tokenizer_.special("[MASK]");
  EncodedExample example;
  example.ids.push_back(cls);
  tokenizer_.encode_marked(text, example.ids);
  example.ids.push_back(sep);
  example.first_size = static_cast<int32_t>(example.ids.size());
  if (example.first_size > config().train.sequence)
    fail("fill: the text has {} tokens; the run reads {}", example.first_size,
         config().train.sequence);
  std::vector<int32_t> picks;
  for (int32_t i = 0; i < example.first_size; ++i)
    if (example.ids[static_cast<size_t>(i)] == mask) picks.push_back(i);
  if (picks.empty()) fail("fill: the text has no [MASK] to fill");
  std::vector<float> logits = outputs(example, picks);
  const size_t vocab = logits.size() / picks.size();
  const size_t count = std::min(static_cast<size_t>(most), vocab);
  std::vector<std::vector<Word>> out;
  for (size_t i = 0; i < picks.size(); ++i) {
    const std::span<float> row(logits.data() + i * vocab, vocab);
    to_probabilities(row);
    std::vector<int32_t> order(vocab);
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(count), order.end(),
                      [&](int32_t a, int32_t b) {
                        const float x = row[static_cast<size_t>(a)],
                                    y = row[static_cast<size_t>(b)];
                        return x != y ? x > y : a < b;
                      });
    std::vector<Word>& words = out.emplace_back();
    for (size_t k = 0; k < count && static_cast<size_t>(order[k]) < vocab; ++k)
      if (order[k] < tokenizer_.vocab_size())
        words.push_back(
            {std::string(tokenizer_.token_bytes(order[k])), row[static_cast<size_t>(order[k])]});
  }
  return out;
}

}  // namespace strobe
