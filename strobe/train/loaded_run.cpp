#include "strobe/train/loaded_run.h"

#include <algorithm>
#include <filesystem>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/data/tokenizer.h"
#include "strobe/io/checkpoint.h"
#include "strobe/io/huggingface.h"
#include "strobe/train/run_data.h"
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

namespace {

// What a model starts from, whichever kind of folder it is.
struct Source {
  std::string head = "none";
  std::vector<std::string> classes;
  std::string foreign;  // why its classifier is none of texts
  std::vector<std::string> names;
  std::function<bool(const Param&, const Tensor&)> fits;
  std::function<std::vector<float>(const Param&, const Tensor&, std::vector<std::string>& used)>
      read;
};

Source source_run(const std::string& from) {
  const Config config = run_config(from);
  const auto file =
      std::make_shared<SafetensorsFile>(open_weights(best_checkpoint(from + "/checkpoints")));
  Source out;
  out.head = config.model.head, out.classes = split_classes(config.texts.classes);
  for (const auto& [name, entry] : file->header().tensors) out.names.push_back(name);
  out.fits = [file](const Param& param, const Tensor& target) {
    return file->has(param.name) && to_string(file->tensor(param.name)) == to_string(target);
  };
  out.read = [file, from, fits = out.fits](const Param& param, const Tensor& target,
                                           std::vector<std::string>& used) {
    if (!file->has(param.name)) fail("init_from: {} has no {}", from, param.name);
    if (!fits(param, target))
      fail("init_from: {} has a {} of {}; this model's is {}", from, param.name,
           to_string(file->tensor(param.name)), to_string(target));
    used.push_back(param.name);
    const auto* values = static_cast<const float*>(file->tensor(param.name).data);
    return std::vector<float>(values, values + target.numel());
  };
  return out;
}

Source source_huggingface(const std::string& from, const HuggingFaceFamily& family) {
  const std::string config_json = from + "/config.json";
  Config config = read_huggingface_config(config_json, [](const std::string&) {});
  const auto weights = std::make_shared<HuggingFaceWeights>(HuggingFaceWeights::open(from, family));
  Source out;
  out.foreign = read_huggingface_head(*weights, config_json, config);
  out.head = config.model.head, out.classes = split_classes(config.texts.classes);
  out.names = weights->names();
  const auto rows = [](const Tensor& target) { return target.rank == 1 ? 0 : target.dim(0); };
  out.fits = [weights, rows](const Param& param, const Tensor& target) {
    return weights->fits(param.name, rows(target), target.dim(target.rank - 1));
  };
  out.read = [weights, rows](const Param& param, const Tensor& target,
                             std::vector<std::string>& used) {
    return weights->read(param.name, rows(target), target.dim(target.rank - 1), used);
  };
  return out;
}

// Which output of the source's classifier each of this model's is; nothing, with the reason, where
// they are not the same classes.
std::vector<size_t> outputs_of(const Source& source, const Config& config, std::string& why) {
  const std::string& from = config.init_from;
  const std::vector<std::string> classes = split_classes(config.texts.classes);
  const bool regression = config.model.head == "regression";
  if (source.head != "classification" && source.head != "regression") {
    why = fmt::format("{} has none", from);
  } else if (!source.foreign.empty()) {
    why = source.foreign;
  } else if (source.head != config.model.head) {
    why = fmt::format("that of {} is for {}", from, source.head);
  } else if (regression) {
    return {0};
  } else if (source.classes.empty()) {
    why = fmt::format("the classes of {} have no names", from);
  } else {
    std::vector<size_t> out;
    for (const std::string& name : classes)
      if (const auto at = std::ranges::find(source.classes, name); at != source.classes.end())
        out.push_back(static_cast<size_t>(at - source.classes.begin()));
    if (out.size() == classes.size() && out.size() == source.classes.size()) return out;
    why = fmt::format("the classes of {} are {}", from, fmt::join(source.classes, ", "));
  }
  return {};
}

// The last axis in another order.
std::vector<float> permuted(const std::vector<float>& values, const std::vector<size_t>& order) {
  std::vector<float> out(values.size());
  for (size_t i = 0; i < values.size(); ++i)
    out[i] = values[i / order.size() * order.size() + order[i % order.size()]];
  return out;
}

}  // namespace

void init_from(const Config& config, Engine& engine,
               const std::function<void(const std::string&)>& note) {
  const std::string& from = config.init_from;
  const HuggingFaceFamily& family = huggingface_family(config.model.kind, "init_from");
  const Source source = is_run(from) ? source_run(from) : source_huggingface(from, family);
  const bool classifies =
      config.model.head == "classification" || config.model.head == "regression";
  std::string why;
  const std::vector<size_t> outputs =
      classifies ? outputs_of(source, config, why) : std::vector<size_t>();
  std::vector<std::string> used;
  for (Param* param : engine.params()) {
    const Tensor target = param->stored(param->value);
    const bool classifier = classifies && param->name.starts_with("classifier.");
    if (classifier && outputs.empty()) continue;
    const bool optional = is_of_head(family, param->name) || is_optional(family, param->name);
    if (optional && !classifier && !source.fits(*param, target)) continue;
    std::vector<float> values = source.read(*param, target, used);
    if (classifier) values = permuted(values, outputs);
    engine.ops().upload(target, values.data());
  }
  check_leftovers("init_from", from, family, source.names, used, {});
  if (classifies && note)
    note(outputs.empty()       ? fmt::format("the head begins anew: {}", why)
         : outputs.size() == 1 ? fmt::format("the regression of {} goes on", from)
                               : fmt::format("the classifier of {} goes on: {}", from,
                                             fmt::join(split_classes(config.texts.classes), ", ")));
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

LoadedRun load_run(const std::string& run, const EngineShape& shape, const std::string& precision) {
  LoadedRun out;
  out.config = run_config(run);
  if (!precision.empty()) out.config.precision = precision;
  out.checkpoint = best_checkpoint(run + "/checkpoints");
  out.engine = std::make_unique<Engine>(out.config, out.config.model.vocab, shape);
  out.engine->allocate();
  load_weights(out.checkpoint, out.engine->ops(), out.engine->params());
  refresh_compute(out.engine->ops(), out.engine->model());
  return out;
}

}  // namespace strobe
