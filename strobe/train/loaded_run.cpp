#include "strobe/train/loaded_run.h"

#include <filesystem>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/io/checkpoint.h"

namespace strobe {

namespace fs = std::filesystem;

Config run_config(const std::string& run) {
  if (!fs::is_directory(run)) fail("run: no folder {}", run);
  if (!fs::exists(run + "/config.toml"))
    fail("run: {} is not a run folder: it has no config.toml", run);
  return load_config(run + "/config.toml", {}).config;
}

std::string run_tokenizer(const std::string& run) {
  const std::string file = run + "/tokenizer.json";
  if (!fs::exists(file)) fail("run: {} has no tokenizer.json", run);
  return file;
}

void init_from(const std::string& run, Engine& engine) {
  load_weights(best_checkpoint(run + "/checkpoints"), engine.ops(), engine.params());
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
