#include "strobe/train/loaded_run.h"

#include <filesystem>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/data/tokenizer.h"
#include "strobe/io/checkpoint.h"
#include "strobe/train/run_folder.h"

namespace strobe {

namespace fs = std::filesystem;

Config run_config(const std::string& run) {
  check_is_run("run", run);
  return load_config(run + "/config.toml", {}).config;
}

std::string run_tokenizer(const std::string& run) {
  const std::string file = run + "/tokenizer.json";
  if (!fs::exists(file)) fail("run: {} has no tokenizer.json", run);
  return file;
}

void check_tokenizer(const std::string& run, const Dataset& dataset) {
  const uint64_t own = Tokenizer::load(run_tokenizer(run)).hash();
  const uint64_t given = Tokenizer::load(dataset.tokenizer_file()).hash();
  if (own != given)
    fail(
        "data: {} was made with another tokenizer than the run {}: the same ids stand for other "
        "text; 'strobe data prepare --tokenizer {}/tokenizer.json' makes data for it",
        dataset.folder(), run, run);
}

void init_from(const std::string& run, Engine& engine) {
  load_weights(best_checkpoint(run + "/checkpoints"), engine.ops(), engine.params());
  refresh_compute(engine.ops(), engine.model());
}

void use_average(LoadedRun& run, const std::string& name) {
  if (name != "ema" && name != "lawa")
    fail("eval: no weights are named '{}'; known are best, ema, lawa", name);
  Engine& engine = *run.engine;
  load_average(run.checkpoint, name, engine.ops(), engine.params());
  refresh_compute(engine.ops(), engine.model());
}

LoadedRun load_run(const std::string& run, const EngineShape& shape) {
  LoadedRun out;
  out.config = run_config(run);
  out.checkpoint = best_checkpoint(run + "/checkpoints");
  out.engine = std::make_unique<Engine>(out.config, out.config.model.vocab, shape);
  out.engine->allocate();
  init_from(run, *out.engine);
  return out;
}

}  // namespace strobe
