#include "strobe/train/loaded_run.h"

#include <filesystem>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/data/tokenizer.h"
#include "strobe/io/checkpoint.h"
#include "strobe/io/huggingface.h"
#include "strobe/train/run_folder.h"

namespace strobe {

namespace fs = std::filesystem;

Config run_config(const std::string& run) {
  check_is_run("run", run);
  return load_config(run + "/config.toml", {}).config;
}

std::string run_tokenizer(const std::string& run) {
  std::string file = run + "/tokenizer.json";
  if (!fs::exists(file)) fail("run: {} has no tokenizer.json", run);
  return file;
}

void check_tokenizer(const std::string& run, const Tokenizer& tokenizer, const std::string& data) {
  const uint64_t own = Tokenizer::load(is_run(run) ? run_tokenizer(run) : run).hash();
  if (own != tokenizer.hash())
    fail(
        "data: {} was made with another tokenizer than the run {}: the same ids stand for other "
        "text; 'strobe data prepare --tokenizer {}/tokenizer.json' makes data for it",
        data, run, run);
}

void init_from(const std::string& from, Engine& engine, const std::string& kind) {
  const HuggingFaceFamily& family = huggingface_family(kind, "init_from");
  if (is_run(from)) {
    const SafetensorsFile file = open_weights(best_checkpoint(from + "/checkpoints"));
    for (Param* param : engine.params()) {
      const Tensor target = param->stored(param->value);
      const bool fits =
          file.has(param->name) && to_string(file.tensor(param->name)) == to_string(target);
      if (fits) {
        engine.ops().upload(target, file.tensor(param->name).data);
      } else if (!is_of_head(family, param->name) && !is_optional(family, param->name)) {
        fail("init_from: {} has no '{}' of {}", from, param->name, to_string(target));
      }
    }
  } else {
    const HuggingFaceWeights weights = HuggingFaceWeights::open(from, family);
    for (Param* param : engine.params()) {
      const Tensor target = param->stored(param->value);
      const int64_t rows = target.rank == 1 ? 0 : target.dim(0);
      const int64_t columns = target.dim(target.rank - 1);
      const bool optional = is_of_head(family, param->name) || is_optional(family, param->name);
      if (optional && !weights.fits(param->name, rows, columns)) continue;
      std::vector<std::string> used;
      const std::vector<float> values = weights.read(param->name, rows, columns, used);
      engine.ops().upload(target, values.data());
    }
  }
  refresh_compute(engine.ops(), engine.model());
}

bool is_run(const std::string& path) { return fs::exists(path + "/config.toml"); }

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
  load_weights(out.checkpoint, out.engine->ops(), out.engine->params());
  refresh_compute(out.engine->ops(), out.engine->model());
  return out;
}

}  // namespace strobe
