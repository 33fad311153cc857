#include "strobe/train/interchange.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <span>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/files.h"
#include "strobe/data/tokenizer.h"
#include "strobe/io/checkpoint.h"
#include "strobe/io/huggingface.h"
#include "strobe/train/engine.h"
#include "strobe/train/loaded_run.h"
#include "strobe/train/run_folder.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

// Uploads every parameter; returns how many tensors of the files that took.
int64_t load_params(const HuggingFaceWeights& weights, const HuggingFaceFamily& family,
                    Engine& engine, const std::string& from,
                    const std::function<void(const std::string&)>& note) {
  std::vector<std::string> used;
  for (Param* param : engine.params()) {
    const Tensor target = param->stored(param->value);
    check(target.rank == 1 || target.rank == 2, "import: parameters are vectors and matrices");
    const bool vector = target.rank == 1;
    const std::vector<float> values =
        weights.read(param->name, vector ? 0 : target.dim(0), target.dim(target.rank - 1), used);
    engine.ops().upload(target, values.data());
  }
  check_leftovers("import", from, family, weights.names(), used, [&](const std::string& name) {
    note(fmt::format("{}: \"{}\" is left out: this model has no such head", from, name));
  });
  return static_cast<int64_t>(std::set(used.begin(), used.end()).size());
}

}  // namespace

ImportResult import_huggingface(const ImportOptions& options,
                                const std::function<void(const std::string&)>& note) {
  if (!fs::is_directory(options.from))
    fail(
        "import: {} is no folder; one with config.json and model.safetensors is accepted, and "
        "nothing is downloaded",
        options.from);
  NewFolder folder("import", options.out);
  Config config = read_huggingface_config(options.from + "/config.json", note);
  config.name = fs::path(options.from).lexically_normal().filename().string();
  if (config.name.empty()) config.name = "imported";
  const HuggingFaceFamily& family = huggingface_family(config.model.kind, "import");
  const Tokenizer tokenizer =
      Tokenizer::load(options.tokenizer.empty() ? options.from : options.tokenizer);
  if (tokenizer.vocab_size() > config.model.vocab)
    fail("import: the tokenizer has {} entries, the model of {} only {}", tokenizer.vocab_size(),
         options.from, config.model.vocab);

  const HuggingFaceWeights weights = HuggingFaceWeights::open(options.from, family);
  if (const std::string foreign =
          read_huggingface_head(weights, options.from + "/config.json", config);
      !foreign.empty())
    fail("import: {}", foreign);
  // Made on the host, whatever the run will use later.
  Config host = config;
  host.backend = "cpu", host.precision = "f32";
  Engine engine(host, config.model.vocab, {});
  engine.check_memory();
  engine.allocate();
  ImportResult result;
  result.kind = config.model.kind;
  result.tensors = load_params(weights, family, engine, options.from, note);
  result.parameters = engine.plan().parameters;
  {
    RunFolder run = RunFolder::create(folder.path(), config);
    run.write_environment({{"imported_from", fs::absolute(options.from).lexically_normal()}});
    tokenizer.save(run.file("tokenizer.json"));
    CheckpointWriter writer(run.checkpoints(), /*keep=*/0);
    writer.save(engine.ops(), engine.params(), TrainState{});
    writer.wait();
  }
  folder.finish();
  return result;
}

std::string export_huggingface(const ExportOptions& options) {
  const Config config = run_config(options.run);
  const HuggingFaceFamily& family = huggingface_family(config.model.kind, "export");
  NewFolder folder("export", options.out);
  const Tokenizer tokenizer = Tokenizer::load(run_tokenizer(options.run));
  const std::string description = huggingface_config(config, tokenizer.end_of_text());
  std::string checkpoint = best_checkpoint(options.run + "/checkpoints");
  const SafetensorsFile file = open_weights(checkpoint);
  std::map<std::string, Tensor> params;
  for (const auto& [name, entry] : file.header().tensors) params.emplace(name, file.tensor(name));

  folder.make();
  write_file("export", folder.path() + "/config.json", description);
  write_huggingface_weights(folder.path(), family, params, options.largest_shard,
                            /*prefixed=*/config.model.head != "none");
  tokenizer.save_folder(folder.path(), config.model.context);
  folder.finish();
  return checkpoint;
}

}  // namespace strobe
