// Fine-tuning: a run that starts from another's weights, or from those of a folder of Hugging
// Face's, and learns labelled texts; and the use of what comes of it.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "strobe/config/config.h"
#include "strobe/data/examples.h"
#include "strobe/train/loaded_run.h"
#include "strobe/train/trainer.h"

namespace strobe {

/// The configuration of a fine-tuning of `from`: its model, the recipe of BERT's paper, for a task
/// of GLUE's as long as the task takes, and then `overrides` (key=value). `name` is the run's.
Config finetune_config(const std::string& from, const std::string& name, const TextsConfig& texts,
                       bool regression, const std::vector<std::string>& overrides);

/// Trains in `folder`, which is made; one that exists goes on from where it was, and throws Error
/// if it was begun with another configuration. What is learned from and begun with goes to `note`.
RunState finetune(const Config& config, const std::string& folder,
                  const std::function<bool()>& stop,
                  const std::function<void(const std::string&)>& note = {});

/// A run whose head is read out: classes, scores, or words in the place of [MASK].
class Reader {
 public:
  /// Opens the best checkpoint; `precision` "": the run's.
  explicit Reader(const std::string& run, const std::string& precision = "");

  const Config& config() const { return run_.config; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  bool regression() const { return run_.config.model.head == "regression"; }
  std::vector<std::string> classes() const { return split_classes(run_.config.texts.classes); }

  /// A class's number or a score for each example.
  Predictions predict(const Examples& examples, const std::function<bool()>& stop);
  /// Probabilities of the classes, or the score, of one text or pair; of a model without a head the
  /// text's embedding: the mean of its rows, of length 1 (Reimers & Gurevych 2019,
  /// arXiv:1908.10084).
  std::vector<float> read(const Example& example, bool pair);

  /// How many of all texts so far were longer than train.sequence and cut.
  int64_t cut() const { return cut_; }

  struct Word {
    std::string text;
    float probability;
  };
  /// For each [MASK] in the text, the likeliest words; `most` is 1 or more.
  std::vector<std::vector<Word>> fill(const std::string& text, int64_t most);

 private:
  Reader(const std::string& run, const Config& config, const std::string& precision);
  std::vector<float> outputs(const EncodedExample& example, const std::vector<int32_t>& picks);
  /// Throws Error for a model that continues or fills texts.
  void check_says_something() const;

  LoadedRun run_;
  Tokenizer tokenizer_;
  int64_t sequences_ = 32;  // that are read at a time
  int64_t cut_ = 0;
};

}  // namespace strobe
