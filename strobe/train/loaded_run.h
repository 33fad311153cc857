// A trained run, opened to be used: evaluated, sampled from, or started from.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "strobe/config/config.h"
#include "strobe/data/tokenizer.h"
#include "strobe/train/engine.h"

namespace strobe {

/// The configuration of a run; throws Error if `run` is no run folder.
Config run_config(const std::string& run);

/// The run's tokenizer.json.
std::string run_tokenizer(const std::string& run);

/// Throws Error unless the data's tokenizer is the run's: the same ids for the same text.
void check_tokenizer(const std::string& run, const Tokenizer& tokenizer, const std::string& data);

struct LoadedRun {
  Config config;
  std::unique_ptr<Engine> engine;
  std::string checkpoint;  // the folder the weights came from
};

/// Builds the run's model and loads its best checkpoint (the newest, if none was evaluated).
/// `precision` "": the run's.
LoadedRun load_run(const std::string& run, const EngineShape& shape,
                   const std::string& precision = "");

/// Replaces the weights by an average that the run kept, "ema" or "lawa". Throws Error where its
/// checkpoint has none.
void use_average(LoadedRun& run, const std::string& name);

/// Replaces the engine's weights by those of another run's best checkpoint, or of a folder of
/// Hugging Face's, config.init_from. Of a model's head those are taken that fit, a classifier's if
/// its classes are the same ones, in whatever order; a head that is another keeps its first values.
/// What became of a classifier goes to `note`. Throws Error for weights that the model lacks, or
/// has no place for.
void init_from(const Config& config, Engine& engine,
               const std::function<void(const std::string&)>& note = {});

/// Whether `path` is a run folder, and not one of Hugging Face's.
bool is_run(const std::string& path);

}  // namespace strobe
