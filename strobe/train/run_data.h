// What a run learns from: a prepared dataset, as it is or with masked words, or labelled texts.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "strobe/config/config.h"
#include "strobe/data/batches.h"
#include "strobe/data/examples.h"
#include "strobe/data/tokenizer.h"
#include "strobe/train/engine.h"
#include "strobe/train/evaluate.h"

namespace strobe {

class RunData {
 public:
  virtual ~RunData() = default;

  /// For people, and what the run records of it.
  virtual const std::string& place() const = 0;
  virtual uint64_t hash() const = 0;
  /// After begin(): what was read, in a line, and by name.
  virtual std::string describe() const { return ""; }
  virtual std::vector<std::pair<std::string, std::string>> facts() const { return {}; }
  virtual const Tokenizer& tokenizer() const = 0;

  /// Fills in what depends on the data, and opens the batches that a resolved configuration says.
  /// The rest is to be asked for afterwards.
  virtual void begin(Config& config) = 0;

  virtual const BatchSource& train() const = 0;
  const EvalSource* valid() const { return valid_.get(); }  // null: nothing to evaluate on
  /// A split by name, "valid" or "test". Throws Error where there is none.
  virtual std::unique_ptr<EvalSource> open_split(const Config& config,
                                                 const std::string& split) const = 0;
  virtual Evaluation evaluate(Engine& engine, const std::string& split, const EvalSource& batches,
                              const std::function<bool()>& stop) const = 0;
  /// "86600000 training tokens", for a warning of many passes.
  virtual std::string what_is_passed() const {
    return fmt::format("{} training tokens", train().tokens_per_epoch());
  }
  virtual bool predicts() const { return false; }  // evaluations take Engine::predict

 protected:
  std::unique_ptr<EvalSource> valid_;  // made by begin()
};

/// The data that the configuration names. Throws Error where it names none. `run` is the folder of
/// a run that there is already: its tokenizer reads labelled texts, else that of config.init_from.
std::unique_ptr<RunData> open_run_data(const Config& config, const std::string& run = "");

/// What a configuration says of its data, the examples unread: how many entries the vocabulary has,
/// whether there is something to evaluate on.
struct DataFacts {
  int64_t vocab = 0;
  bool has_valid = false;
};
DataFacts data_facts(const Config& config);

/// Labelled texts, as a configuration's [texts] says; `split` "train", or for GLUE any of the
/// task's.
struct LabelledTexts {
  Examples examples;
  std::string file;
  bool subset = false;  // of GLUE's official file
  int64_t skipped = 0;  // broken rows
};
LabelledTexts read_texts(const TextsConfig& texts, const std::string& split, bool regression);

/// The columns of the text, or of both of a pair, that [texts] names; of a task of GLUE's, its own.
std::vector<std::string> text_columns(const TextsConfig& texts);

/// What the model says of each example, a class's number or a score, and what the label is.
struct Predictions {
  std::vector<float> predicted, labels;
  double loss = 0;       // mean
  bool stopped = false;  // before the end
};
Predictions predict(Engine& engine, const EvalSource& batches, bool regression,
                    const std::function<bool()>& stop);

/// What predictions are worth: the metrics of the task, or without one accuracy, or Pearson's and
/// Spearman's correlation.
std::vector<std::pair<std::string, double>> scores_of(const std::string& task, bool regression,
                                                      std::span<const float> predicted,
                                                      std::span<const float> labels);

/// "a|b" as names, and back. Throws Error for names with a | or the end of a line in them.
std::vector<std::string> split_classes(const std::string& classes);
std::string join_classes(const std::vector<std::string>& classes);

}  // namespace strobe
