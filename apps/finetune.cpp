// strobe finetune: labelled texts on top of a BERT.
#include <filesystem>
#include <memory>

#include "apps/notices.h"
#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/core/json_file.h"
#include "strobe/train/finetune.h"
#include "strobe/train/run_data.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

struct FinetuneOptions {
  std::string from, run;
  TextsConfig texts;
  bool regression = false;
  std::vector<std::string> overrides;
};

// What predictions will be made with, and what that is worth.
void print_score(const std::string& folder) {
  constexpr int64_t kLargest = 1 << 16;
  const std::string file = folder + "/checkpoints/best.json";
  if (!fs::exists(file)) return fmt::print("no score: no evaluation gave one\n");
  const nlohmann::json best = read_json("finetune", file, kLargest);
  std::string scores;
  for (const auto& [key, value] : best.items())
    if (key.starts_with("val/") && value.is_number())
      scores += fmt::format("{}{} {:.4f}", scores.empty() ? "" : ", ", key.substr(4),
                            value.get<double>());
  fmt::print("best checkpoint: step {}, {}\n", best.at("step").dump(), scores);
}

int run_finetune(const FinetuneOptions& options) {
  const std::string name = fs::path(options.texts.train).stem().string();
  const std::string folder = options.run.empty() ? "runs/" + name : options.run;
  check_is_free(folder);
  const Config config =
      finetune_config(options.from, name, options.texts, options.regression, options.overrides);
  note_unread_keys(config, load_config("", options.overrides));
  const bool scored = !config.texts.valid.empty() || config.texts.hold_out > 0;
  const std::string no_score =
      fmt::format("no score: all of {} is trained on; --valid FILE or texts.hold_out=0.1 gives one",
                  config.texts.train);
  if (!scored) fmt::print(stderr, "finetune: {}\n", no_score);
  catch_stop_signals();
  const RunState state = finetune(config, folder, stop_requested);
  if (state == RunState::stopped) {
    fmt::print("stopped and saved; 'strobe resume {}' continues\n", folder);
    return 130;
  }
  if (state == RunState::diverged) return 1;
  if (scored) print_score(folder);
  fmt::print("{}finished: {}\n", scored ? "" : no_score + "\n", folder);
  return 0;
}

}  // namespace

Verb verb_finetune() {
  return {"finetune",
          "Fine-tune a BERT on labelled texts: classes or scores, single texts or pairs",
          "strobe finetune runs/bert --train reviews.csv --text-column review --label-column stars",
          [](Options& options) {
            auto o = std::make_shared<FinetuneOptions>();
            options.value(o->from, "from", "run, or folder of Hugging Face transformers'",
                          Options::required);
            options.values(o->overrides, "overrides", "key=value, for any key of 'train --keys'");
            options.value(o->texts.train, "--train", "labelled texts: .tsv, .csv, .jsonl",
                          Options::required);
            options.value(o->texts.valid, "--valid",
                          "labelled texts to evaluate on; without, texts.hold_out=0.1 holds out a "
                          "tenth, else all texts are trained on and there is no score");
            options.value(o->texts.text, "--text-column", "column of the text");
            options.value(o->texts.pair, "--pair-column", "column of the second text of a pair");
            options.value(o->texts.label, "--label-column", "column of the class, or of the score");
            options.flag(o->regression, "--regression", "labels are numbers to predict");
            options.value(o->run, "--run", "run folder; runs/<name of the file> unless given");
            return [o] { return run_finetune(*o); };
          }};
}

}  // namespace strobe
