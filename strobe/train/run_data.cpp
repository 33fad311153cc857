#include "strobe/train/run_data.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/json_file.h"
#include "strobe/data/dataset.h"
#include "strobe/data/glue.h"
#include "strobe/data/labelled_batches.h"
#include "strobe/data/masked_batches.h"
#include "strobe/data/scores.h"
#include "strobe/train/run_config.h"

namespace strobe {

namespace {

constexpr const char* kValid = "valid";

// Blocks of a prepared dataset.
class DatasetRun : public RunData {
 public:
  explicit DatasetRun(const Config& config)
      : dataset_(Dataset::open(config.data.path)),
        tokenizer_(Tokenizer::load(dataset_.tokenizer_file())) {}

  const std::string& place() const override { return dataset_.folder(); }
  uint64_t hash() const override { return dataset_.hash(); }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  const BatchSource& train() const override { return *train_; }

  void begin(Config& config) override {
    const TrainConfig& t = config.train;
    train_ = std::make_unique<TrainBatches>(dataset_, static_cast<uint64_t>(config.seed),
                                            t.micro_batch, t.sequence, packing_of(config));
    if (dataset_.has_split(kValid)) valid_ = open_split(config, kValid);
  }
  std::unique_ptr<EvalSource> open_split(const Config& config,
                                         const std::string& split) const override {
    return std::make_unique<EvalBatches>(dataset_, split, config.train.micro_batch,
                                         config.train.sequence, config.eval.tokens,
                                         config.data.mask_documents);
  }
  Evaluation evaluate(Engine& engine, const std::string& split, const EvalSource& batches,
                      const std::function<bool()>& stop) const override {
    return strobe::evaluate(engine, dataset_, split, batches, stop);
  }

 protected:
  Dataset dataset_;
  Tokenizer tokenizer_;
  std::unique_ptr<BatchSource> train_;
};

// The same, some of whose words are to be predicted.
class MaskedRun final : public DatasetRun {
 public:
  using DatasetRun::DatasetRun;

  void begin(Config& config) override {
    const TrainConfig& t = config.train;
    train_ = std::make_unique<MaskedTrainBatches>(dataset_, tokenizer_, masking(config),
                                                  static_cast<uint64_t>(config.seed), t.micro_batch,
                                                  t.sequence, packing_of(config));
    if (dataset_.has_split(kValid)) valid_ = open_split(config, kValid);
  }
  std::unique_ptr<EvalSource> open_split(const Config& config,
                                         const std::string& split) const override {
    return std::make_unique<MaskedEvalBatches>(dataset_, tokenizer_, masking(config), split,
                                               config.train.micro_batch, config.train.sequence,
                                               config.eval.tokens, config.data.mask_documents);
  }
  Evaluation evaluate(Engine& engine, const std::string& split, const EvalSource& batches,
                      const std::function<bool()>& stop) const override {
    return evaluate_masked(engine, split, batches, stop);
  }

 private:
  static Masking masking(const Config& config) {
    return {config.mask.rate, config.mask.masked, config.mask.random, config.mask.whole_words};
  }
};

// Labelled texts, read by the tokenizer of the weights that the run starts from.
class LabelledRun final : public RunData {
 public:
  LabelledRun(const Config& config, const std::string& run)
      : place_(config.texts.train),
        task_(config.texts.task),
        tokenizer_(tokenizer_of(config, run)),
        regression_(config.model.head == "regression") {}

  const std::string& place() const override { return place_; }
  uint64_t hash() const override { return hash_; }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  const BatchSource& train() const override { return *train_; }
  bool predicts() const override { return true; }

  void begin(Config& config) override {
    if (!regression_ && config.model.head != "classification")
      fail("model.head: labelled texts take a classification or regression, not '{}'",
           config.model.head);
    LabelledTexts read = read_texts(config.texts, "train", regression_);
    skipped_ = read.skipped, file_ = read.file;
    classes_ = read.examples.classes, pairs_ = read.examples.pairs;
    held_out_ = config.texts.hold_out > 0;
    if (!regression_) {
      config.model.classes = static_cast<int64_t>(classes_.size());
      config.texts.classes = join_classes(classes_);
    }
    const TextsConfig& texts = config.texts;
    auto [train, valid] = parts_of(config, std::move(read.examples));
    if (!texts.valid.empty()) valid = read_texts(texts, kValid, regression_).examples;
    const TrainConfig& t = config.train;
    hash_ = hash_of(train);
    train_ =
        std::make_unique<LabelledTrainBatches>(EncodedExamples(tokenizer_, train, t.sequence),
                                               static_cast<uint64_t>(config.seed), t.micro_batch);
    evaluated_ = valid.rows.size(), evaluated_cut_ = 0;
    if (valid.rows.empty()) return;
    auto encoded_valid = encoded(config, valid);
    evaluated_cut_ = encoded_valid->examples().cut();
    valid_ = std::move(encoded_valid);
  }

  std::string describe() const override {
    const EncodedExamples& rows = train_->examples();
    const char* what = pairs_ ? "pair" : "text";
    std::string out = fmt::format("{} {}{}", rows.size(), what, rows.size() == 1 ? "" : "s");
    if (evaluated_ > 0)
      out += fmt::format(", {} {}", evaluated_, held_out_ ? "held out" : "to evaluate on");
    if (!regression_)
      out += fmt::format(", {} classes: {}", classes_.size(), fmt::join(classes_, ", "));
    const auto say_cut = [&](int64_t cut, const char* of) {
      if (cut > 0)
        out += fmt::format("; {}{} {} longer than {} tokens and cut (train.sequence)", cut, of,
                           cut == 1 ? "is" : "are", rows.longest());
    };
    say_cut(rows.cut(), "");
    say_cut(evaluated_cut_, held_out_ ? " held out" : " to evaluate on");
    if (skipped_ > 0)
      out += fmt::format("; {} broken row{} left out of {}", skipped_, skipped_ == 1 ? "" : "s",
                         file_);
    return out;
  }

  std::string what_is_passed() const override {
    return fmt::format("{} training {}s", train_->examples().size(), pairs_ ? "pair" : "text");
  }
  std::vector<std::pair<std::string, std::string>> facts() const override {
    return {{"train_rows", fmt::format("{}", train_->examples().size())},
            {"valid_rows", fmt::format("{}", evaluated_)},
            {"broken_rows", fmt::format("{}", skipped_)}};
  }

  std::unique_ptr<EvalSource> open_split(const Config& config,
                                         const std::string& split) const override {
    const TextsConfig& texts = config.texts;
    const auto read = [&](const std::string& which) {
      return read_texts(texts, which, regression_).examples;
    };
    if (split == kValid && texts.hold_out > 0)
      return encoded(config, parts_of(config, read("train")).second);
    if (split == kValid && !texts.valid.empty()) return encoded(config, read(kValid));
    if (!texts.task.empty()) {
      const std::string of_task = split == kValid ? "dev" : split;
      if (of_task.starts_with("test"))
        fail("eval: '{}' of {} has no labels; 'strobe glue --test' predicts them", split,
             texts.task);
      return encoded(config, read(of_task));
    }
    if (split == kValid)
      fail("eval: {} was trained on all of {}; texts.valid or texts.hold_out gives a split valid",
           config.name, texts.train);
    fail("eval: labelled texts have the split valid, and not '{}'", split);
  }

  Evaluation evaluate(Engine& engine, const std::string& split, const EvalSource& batches,
                      const std::function<bool()>& stop) const override {
    Evaluation out;
    out.split = split;
    const Predictions all = predict(engine, batches, regression_, stop);
    out.loss = all.loss, out.stopped = all.stopped;
    out.tokens = static_cast<int64_t>(all.predicted.size());
    if (out.stopped) return out;
    out.token_perplexity = out.word_perplexity = out.bits_per_byte = NAN;
    out.scores = scores_of(task_, regression_, all.predicted, all.labels);
    return out;
  }

 private:
  std::unique_ptr<LabelledEvalBatches> encoded(const Config& config,
                                               const Examples& examples) const {
    return std::make_unique<LabelledEvalBatches>(
        EncodedExamples(tokenizer_, examples, config.train.sequence), config.train.micro_batch);
  }
  // What is trained on, and what is held out by the seed.
  static std::pair<Examples, Examples> parts_of(const Config& config, Examples all) {
    const TextsConfig& texts = config.texts;
    if (texts.hold_out == 0) return {std::move(all), {}};
    if (!texts.valid.empty())
      fail("texts.hold_out: {} is evaluated on (texts.valid); one of the two is accepted",
           texts.valid);
    if (!(texts.hold_out > 0 && texts.hold_out < 1))
      fail("texts.hold_out: {} is not a share below 1", texts.hold_out);
    return hold_out(std::move(all), texts.hold_out, static_cast<uint64_t>(config.seed));
  }
  static Tokenizer tokenizer_of(const Config& config, const std::string& run) {
    // A run that was killed before it wrote its own begins again.
    const std::string own = run + "/tokenizer.json";
    if (!run.empty() && std::filesystem::exists(own)) return Tokenizer::load(own);
    if (config.init_from.empty())
      fail("texts: init_from says which run, or folder of Hugging Face's, fine-tuning starts from");
    return Tokenizer::load(config.init_from);
  }
  static uint64_t hash_of(const Examples& examples) {
    std::string all;
    for (const Example& row : examples.rows)
      all += fmt::format("{}\t{}\t{}\n", row.first, row.second, row.label);
    return checksum(std::as_bytes(std::span(all)));
  }

  std::string place_, task_;
  Tokenizer tokenizer_;
  bool regression_, pairs_ = false, held_out_ = false;
  uint64_t hash_ = 0;
  std::vector<std::string> classes_;
  std::string file_;
  int64_t skipped_ = 0, evaluated_cut_ = 0;
  size_t evaluated_ = 0;
  std::unique_ptr<LabelledTrainBatches> train_;
};

}  // namespace

std::unique_ptr<RunData> open_run_data(const Config& config, const std::string& run) {
  if (!config.texts.train.empty()) return std::make_unique<LabelledRun>(config, run);
  if (config.data.path.empty())
    fail(
        "train: neither data.path ('strobe data prepare' makes such a folder) nor texts.train "
        "(labelled texts) is set");
  const std::string &kind = config.model.kind, &head = config.model.head;
  if (kind != "bert" && head != "lm")
    fail("model.head: '{}' is BERT's; a {} takes 'lm'", head, kind);
  if (head == "classification" || head == "regression")
    fail(
        "model.head: '{}' learns labelled texts, which texts.train names and 'strobe finetune' "
        "takes; data.path has none, and 'lm' learns from it",
        head);
  if (kind == "bert" && head == "lm") return std::make_unique<MaskedRun>(config);
  return std::make_unique<DatasetRun>(config);
}

DataFacts data_facts(const Config& config) {
  if (!config.texts.train.empty())
    return {Tokenizer::load(config.init_from).vocab_size(),
            !config.texts.valid.empty() || config.texts.hold_out > 0};
  const Dataset dataset = Dataset::open(config.data.path);
  return {dataset.vocab(), dataset.has_split(kValid)};
}

std::vector<std::string> text_columns(const TextsConfig& texts) {
  if (!texts.task.empty()) {
    const GlueTask& task = glue_task(texts.task);
    return {task.texts.begin(), task.texts.end()};
  }
  std::vector<std::string> out = {texts.text};
  if (!texts.pair.empty()) out.push_back(texts.pair);
  return out;
}

LabelledTexts read_texts(const TextsConfig& texts, const std::string& split, bool regression) {
  LabelledTexts out;
  if (!texts.task.empty()) {
    // "valid" is the split of the task's that texts.valid names: "dev".
    GlueSplit read =
        read_glue(texts.train, glue_task(texts.task), split == kValid ? texts.valid : split);
    out.examples = std::move(read.examples), out.file = read.file, out.subset = read.subset;
    out.skipped = read.skipped;
    return out;
  }
  ExampleColumns columns;
  columns.texts = text_columns(texts);
  columns.label = texts.label, columns.regression = regression;
  columns.classes = split_classes(texts.classes);
  out.file = split == "train" ? texts.train : texts.valid;
  out.examples = read_examples(out.file, columns);
  return out;
}

Predictions predict(Engine& engine, const EvalSource& batches, bool regression,
                    const std::function<bool()>& stop) {
  Predictions out;
  HostBatch batch;
  const int64_t width = engine.model().outputs();
  for (int64_t i = 0; i < batches.count(); ++i) {
    out.stopped = stop && stop();
    if (out.stopped) break;
    batches.fill(batch, i);
    const std::vector<float> values = engine.predict(batch);
    for (size_t s = 0; s < batch.picks.size(); ++s) {
      const std::span<const float> row(values.data() + s * static_cast<size_t>(width),
                                       static_cast<size_t>(width));
      out.labels.push_back(batch.scores[s]);
      if (regression) {
        out.predicted.push_back(row[0]);
        out.loss += std::pow(double{row[0]} - batch.scores[s], 2);
        continue;
      }
      const auto best = std::max_element(row.begin(), row.end());
      double sum = 0;
      for (const float x : row) sum += std::exp(double{x} - *best);
      out.predicted.push_back(static_cast<float>(best - row.begin()));
      out.loss += std::log(sum) + *best - row[static_cast<size_t>(batch.targets[s])];
    }
  }
  out.loss /= std::max<double>(1, static_cast<double>(out.predicted.size()));
  return out;
}

std::vector<std::pair<std::string, double>> scores_of(const std::string& task, bool regression,
                                                      std::span<const float> predicted,
                                                      std::span<const float> labels) {
  if (!task.empty()) return glue_scores(glue_task(task), predicted, labels).metrics;
  std::vector<std::pair<std::string, double>> out;
  for (const Metric& metric :
       regression ? std::vector{kPearson, kSpearman} : std::vector{kAccuracy})
    out.emplace_back(metric.name, metric.compute(predicted, labels));
  return out;
}

std::vector<std::string> split_classes(const std::string& classes) {
  std::vector<std::string> out;
  for (size_t begin = 0; !classes.empty() && begin <= classes.size();) {
    const size_t end = std::min(classes.find('|', begin), classes.size());
    out.push_back(classes.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

std::string join_classes(const std::vector<std::string>& classes) {
  for (const std::string& name : classes) {
    if (name.find('|') != std::string::npos)
      fail("texts: the class '{}' has a | in its name, which separates names", brief(name));
    if (name.find_first_of("\r\n") != std::string::npos)
      fail("texts: the class '{}' has the end of a line in its name; a name is one line",
           brief(name));
  }
  return fmt::format("{}", fmt::join(classes, "|"));
}

}  // namespace strobe
