// What a run learns from: a prepared dataset, as it is or with masked words, or labelled texts.
#pragma once

#include <functional>
#include <memory>
#include <string>
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
  virtual const Tokenizer& tokenizer() const = 0;

  /// Fills in what depends on the data, and opens the batches that a resolved configuration says.
  /// The rest is to be asked for afterwards.
  virtual void begin(Config& config) = 0;

  virtual const BatchSource& train() const = 0;
  virtual const EvalSource* valid() const = 0;  // null where there is nothing to evaluate on
  /// Of valid().
  virtual Evaluation evaluate(Engine& engine, const std::function<bool()>& stop) const = 0;
  virtual bool predicts() const { return false; }  // evaluations take Engine::predict
};

/// The data that the configuration names. Throws Error where it names none.
std::unique_ptr<RunData> open_run_data(const Config& config);

/// Labelled texts, as a configuration's [texts] says; `split` "train", or for GLUE any of the
/// task's.
struct LabelledTexts {
  Examples examples;
  std::string file;
  bool subset = false;  // of GLUE's official file
};
LabelledTexts read_texts(const TextsConfig& texts, const std::string& split, bool regression);

/// What the model says of each example: a class's number, or a score.
std::vector<float> predict(Engine& engine, const EvalSource& batches, bool regression,
                           double& loss, const std::function<bool()>& stop);

/// What predictions are worth: the metrics of the task, or without one accuracy, or Pearson's and
/// Spearman's correlation.
std::vector<std::pair<std::string, double>> scores_of(const std::string& task, bool regression,
                                                      std::span<const float> predicted,
                                                      std::span<const float> labels);

/// "a|b" as names, and back. Throws Error for names with a | in them.
std::vector<std::string> split_classes(const std::string& classes);
std::string join_classes(const std::vector<std::string>& classes);

}  // namespace strobe
