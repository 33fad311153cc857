// strobe finetune: labelled texts on top of a BERT.
#include <filesystem>
#include <memory>

#include "apps/notices.h"
#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/study/child.h"
#include "strobe/train/finetune.h"
#include "strobe/train/run_data.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

struct FinetuneOptions {
  std::string from, run;
  TextsConfig texts;
  bool regression = false, print_config = false;
  std::vector<std::string> overrides;
};

// "reviews" of "data/reviews.csv.gz".
std::string name_of(const fs::path& file) {
  const std::string name = file.filename().string();
  for (const char* kind : {".tsv", ".csv", ".jsonl"})
    if (const size_t at = name.rfind(kind); at != std::string::npos && at > 0)
      return name.substr(0, at);
  return file.stem().string();
}

// What an option says, or the labels: two answers to one question.
void check_overrides(const std::vector<std::string>& overrides) {
  refuse_overrides("finetune", overrides,
                   {{"init_from", "the first argument says what to start from"},
                    {"model.head", "--regression asks for numbers; classes are predicted without"},
                    {"model.classes", "the labels say how many there are"},
                    {"texts.train", "--train names the file"},
                    {"texts.valid", "--valid names the file"},
                    {"texts.text", "--text-column names the column"},
                    {"texts.pair", "--pair-column names the column"},
                    {"texts.label", "--label-column names the column"},
                    {"texts.task", "'strobe glue' knows the tasks' files"}});
}

int run_finetune(const FinetuneOptions& options) {
  check_overrides(options.overrides);
  for (const std::string* file : {&options.texts.train, &options.texts.valid})
    if (*file == "-")
      fail(
          "finetune: standard input cannot be read again when the run goes on; a file is accepted");
  const std::string name = name_of(options.texts.train);
  const std::string folder = options.run.empty() ? "runs/" + name : options.run;
  const LoadedConfig said = load_config("", options.overrides);
  const auto with = [&](const std::vector<std::string>& overrides) {
    return finetune_config(options.from, name, options.texts, options.regression, overrides);
  };
  const Config config = with(options.overrides);
  if (options.print_config) {
    fmt::print("{}", print_config({.config = config, .origins = said.origins}));
    return 0;
  }
  check_is_free(folder);
  note_unread_keys(config, said, /*base=*/with({}));
  const bool scored = !config.texts.valid.empty() || config.texts.hold_out > 0;
  const std::string no_score =
      fmt::format("no score: all of {} is trained on; --valid FILE or texts.hold_out=0.1 gives one",
                  config.texts.train);
  if (!scored) fmt::print(stderr, "finetune: {}\n", no_score);
  save_when_stopped();
  const RunState state = finetune(config, folder, stop_requested, print_note);
  if (state == RunState::stopped) {
    fmt::print("stopped and saved; 'strobe resume {}' continues\n", folder);
    return kInterrupted;
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
            fine_tuning_options(options, o->from, o->overrides);
            options.value(o->texts.train, "--train", "labelled texts: .tsv, .csv, .jsonl",
                          Options::required);
            options.value(o->texts.valid, "--valid",
                          "labelled texts to evaluate on; without, texts.hold_out=0.1 holds out a "
                          "tenth, else all texts are trained on and there is no score");
            options.value(o->texts.text, "--text-column", "column of the text");
            options.value(o->texts.pair, "--pair-column", "column of the second text of a pair");
            options.value(o->texts.label, "--label-column", "column of the class, or of the score");
            options.flag(o->regression, "--regression", "labels are numbers to predict");
            options.flag(o->print_config, "--print-config", "print every value; train nothing");
            options.value(o->run, "--run", "run folder; runs/<name of the file> unless given");
            return [o] { return run_finetune(*o); };
          }};
}

}  // namespace strobe
