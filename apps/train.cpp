// strobe train, strobe resume.
#include <memory>

#include "apps/notices.h"
#include "apps/verbs.h"
#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/core/json_text.h"
#include "strobe/study/child.h"
#include "strobe/train/trainer.h"

namespace strobe {

namespace {

constexpr const char* kQuiet =
    "say nothing of keys that are set in vain, nor how to go on with what was stopped";

struct TrainOptions {
  std::string recipe, run;
  std::vector<std::string> overrides;
  bool dry_run = false, print_config = false, list_keys = false, json = false, quiet = false;
};

// What a run's end means for the shell: kInterrupted is what an interrupted program returns.
int report_end(RunState state, const RunFolder& folder, const Config& config, bool quiet) {
  switch (state) {
    case RunState::finished:
      if (!config.texts.train.empty()) print_score(folder.path());
      fmt::print("finished: {}\n", folder.path());
      return 0;
    case RunState::stopped:
      if (!quiet) fmt::print("stopped and saved; 'strobe resume {}' continues\n", folder.path());
      return kInterrupted;
    case RunState::diverged:
      fmt::print(stderr, "strobe: train: diverged; the last good checkpoint is in {}\n",
                 folder.checkpoints());
      return 1;
  }
  return 1;
}

int run_train(const TrainOptions& options) {
  if (options.recipe.empty())
    fail("train: no recipe given; it takes a TOML file, such as those in recipes/");
  const LoadedConfig loaded = load_config(options.recipe, options.overrides);
  if (options.print_config) {
    fmt::print("{}", print_config(loaded));
    return 0;
  }
  if (loaded.config.data.path.empty() && loaded.config.texts.train.empty())
    fail("train: data.path is not set; 'strobe data prepare' makes such a folder");
  const std::string path = options.run.empty() ? "runs/" + loaded.config.name : options.run;
  if (!options.dry_run) check_is_free(path);
  Trainer trainer(loaded.config, stop_requested);
  if (!options.quiet)
    note_unread_keys(trainer.config(), loaded, load_config(options.recipe, {}).config);
  if (options.dry_run && options.json) {
    std::string body;
    for (const auto& [key, value] : trainer.environment())
      body += fmt::format("{}{}: {}", body.empty() ? "" : ", ", json_quote(key), json_quote(value));
    fmt::print("{{{}}}\n", body);
    trainer.check_memory();
    return 0;
  }
  if (options.dry_run) {
    fmt::print("{}", trainer.describe());
    trainer.check_memory();
    return 0;
  }
  // What has no memory, no disk or no weights to start from leaves no folder behind.
  if (const std::string data = trainer.describe_data(); !data.empty()) print_note(data);
  trainer.initialise(path, print_note);
  RunFolder folder = RunFolder::create(path, trainer.config());
  save_when_stopped();
  const RunState state = trainer.run(folder, /*resume=*/false);
  return report_end(state, folder, trainer.config(), options.quiet);
}

int run_resume(const std::string& run, const std::vector<std::string>& overrides, bool quiet) {
  RunFolder folder = RunFolder::open(run);
  const LoadedConfig loaded = load_config(folder.file("config.toml"), overrides);
  Trainer trainer(loaded.config, stop_requested, run);
  if (!quiet)
    note_unread_keys(trainer.config(), load_config("", overrides), /*base=*/trainer.config());
  save_when_stopped();
  const RunState state = trainer.run(folder, /*resume=*/true);
  return report_end(state, folder, trainer.config(), quiet);
}

}  // namespace

Verb verb_train() {
  return {
      "train", "Train a model by a recipe",
      "strobe train recipes/demo.toml train.tokens=2e6 optimizer.lr=3e-3", [](Options& options) {
        auto o = std::make_shared<TrainOptions>();
        options.value(o->recipe, "recipe", "recipe file (TOML), such as those in recipes/");
        options.values(o->overrides, "overrides",
                       "key=value, for any key that --keys lists: optimizer.lr=3e-4");
        options.value(o->run, "--run", "run folder; runs/<name> unless given");
        options.flag(o->dry_run, "--dry-run", "print sizes, memory and length; train nothing");
        options.flag(o->json, "--json", "with --dry-run: the sizes as a JSON object");
        options.flag(o->print_config, "--print-config", "print every value and where it came from");
        options.flag(o->quiet, "--no-notices", kQuiet);
        options.flag(o->list_keys, "--keys", "list every key, its type, default and meaning");
        return [o] {
          if (o->list_keys) return fmt::print("{}", describe_config()), 0;
          return run_train(*o);
        };
      }};
}

Verb verb_resume() {
  return {"resume", "Continue a run from its newest checkpoint, bit for bit",
          "strobe resume runs/demo-model train.tokens=4e6", [](Options& options) {
            struct Values {
              std::string run;
              std::vector<std::string> overrides;
              bool quiet = false;
            };
            auto v = std::make_shared<Values>();
            options.value(v->run, "run", "run folder", Options::required);
            options.values(v->overrides, "overrides",
                           "key=value, for example a longer train.steps");
            options.flag(v->quiet, "--no-notices", kQuiet);
            return [v] { return run_resume(v->run, v->overrides, v->quiet); };
          }};
}

}  // namespace strobe
