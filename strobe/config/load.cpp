#include "strobe/config/load.h"

#include <algorithm>

#include "strobe/config/fields.h"
#include "strobe/config/toml.h"
#include "strobe/core/error.h"

namespace strobe {

namespace {

// What other trainers call it -> what strobe calls it.
const std::pair<std::string, std::string> kForeignNames[] = {
    {"learning_rate", "optimizer.lr"},
    {"max_lr", "optimizer.lr"},
    {"lr", "optimizer.lr"},
    {"wd", "optimizer.weight_decay"},
    {"weight_decay", "optimizer.weight_decay"},
    {"adam_beta1", "optimizer.beta1"},
    {"adam_beta2", "optimizer.beta2"},
    {"beta1", "optimizer.beta1"},
    {"beta2", "optimizer.beta2"},
    {"grad_clip", "optimizer.clip"},
    {"max_grad_norm", "optimizer.clip"},
    {"optim", "optimizer.name"},
    {"clip_grad_value", "optimizer.clip_value"},
    {"label_smoothing_factor", "loss.label_smoothing"},
    {"ema_decay", "average.ema"},
    {"early_stopping_patience", "train.patience"},
    {"embd_pdrop", "model.dropout_embedding"},
    {"param_groups", "optimizer.groups"},
    {"num_cycles", "schedule.cycles"},
    {"warmup_type", "schedule.warmup_shape"},
    {"decay_type", "schedule.cooldown_shape"},
    {"lr_scheduler_type", "schedule.name"},
    {"lr_schedule", "schedule.name"},
    {"warmup_steps", "schedule.warmup"},
    {"warmup_iters", "schedule.warmup"},
    {"warmup_ratio", "schedule.warmup"},
    {"min_lr", "schedule.floor"},
    {"lr_decay_iters", "schedule.length"},
    {"block_size", "model.context"},
    {"n_positions", "model.context"},
    {"n_ctx", "model.context"},
    {"max_seq_length", "train.sequence"},
    {"seq_len", "train.sequence"},
    {"sequence_length", "train.sequence"},
    {"n_layer", "model.layers"},
    {"num_hidden_layers", "model.layers"},
    {"n_head", "model.heads"},
    {"num_attention_heads", "model.heads"},
    {"num_key_value_heads", "model.kv_heads"},
    {"n_embd", "model.channels"},
    {"hidden_size", "model.channels"},
    {"d_model", "model.channels"},
    {"n_inner", "model.feed_forward"},
    {"intermediate_size", "model.feed_forward"},
    {"vocab_size", "model.vocab"},
    {"dropout", "model.dropout"},
    {"resid_pdrop", "model.dropout_residual"},
    {"attn_pdrop", "model.dropout_attention"},
    {"gradient_checkpointing", "model.recompute"},
    {"attn_implementation", "attention.algorithm"},
    {"batch_size", "train.micro_batch"},
    {"per_device_train_batch_size", "train.micro_batch"},
    {"micro_batch_size", "train.micro_batch"},
    {"gradient_accumulation_steps", "train.grad_accum"},
    {"max_iters", "train.steps"},
    {"max_steps", "train.steps"},
    {"num_train_epochs", "train.epochs"},
    {"eval_interval", "eval.every"},
    {"eval_steps", "eval.every"},
    {"save_steps", "checkpoint.every"},
    {"save_total_limit", "checkpoint.keep"},
    {"logging_steps", "train.log_every"},
    {"log_interval", "train.log_every"},
    {"dataset", "data.path"},
    {"dtype", "precision"},
    {"bf16", "precision"},
    {"device", "backend"},
    {"output_dir", "name"},
    {"out_dir", "name"},
};

const std::string kLengths[] = {"train.steps", "train.tokens", "train.epochs", "train.seconds"};

struct Preset {
  std::string kind, name;
  int64_t layers, channels, heads, context;
};

const Preset kPresets[] = {
    {"gpt2", "gpt2-124m", 12, 768, 12, 1024},  {"gpt2", "gpt2-350m", 24, 1024, 16, 1024},
    {"gpt2", "gpt2-774m", 36, 1280, 20, 1024}, {"gpt2", "gpt2-1.5b", 48, 1600, 25, 1024},
    {"gpt2", "gpt2-30m", 6, 384, 6, 1024},     {"gpt2", "gpt2-tiny", 4, 128, 2, 1024},
    {"bert", "bert-tiny", 2, 128, 2, 512},     {"bert", "bert-mini", 4, 256, 4, 512},
    {"bert", "bert-small", 4, 512, 8, 512},    {"bert", "bert-medium", 8, 512, 8, 512},
    {"bert", "bert-base", 12, 768, 12, 512},   {"bert", "bert-large", 24, 1024, 16, 512},
};

void apply_preset(LoadedConfig& loaded, const std::string& name) {
  std::vector<std::string> names;
  for (const Preset& preset : kPresets) {
    names.push_back(preset.name);
    if (preset.name != name) continue;
    ModelConfig& model = loaded.config.model;
    model.kind = preset.kind;
    model.layers = preset.layers, model.channels = preset.channels;
    model.heads = preset.heads, model.context = preset.context;
    for (const char* key :
         {"model.kind", "model.layers", "model.channels", "model.heads", "model.context"})
      loaded.origins[key] = "preset " + name;
    return;
  }
  fail("model.preset: no preset is named '{}'; known are {}", name, fmt::join(names, ", "));
}

struct Assignment {
  std::string path, value, origin;
  int source;  // 0 the file, 1 the command line
};

// A later length replaces an earlier one; two from one source contradict each other.
void keep_one_length(LoadedConfig& loaded, std::vector<Field>& fields,
                     const std::vector<Assignment>& assignments) {
  const Assignment* chosen = nullptr;
  for (const Assignment& a : assignments) {
    if (std::find(std::begin(kLengths), std::end(kLengths), a.path) == std::end(kLengths)) continue;
    if (a.value == "auto") continue;
    if (chosen && chosen->source == a.source && chosen->path != a.path)
      fail("config: {} and {} both set the length of the run ({} and {}); keep one", chosen->path,
           a.path, chosen->origin, a.origin);
    chosen = &a;
  }
  if (!chosen) return;
  for (Field& field : fields) {
    const bool length =
        std::find(std::begin(kLengths), std::end(kLengths), field.path) != std::end(kLengths);
    if (length && field.path != chosen->path) field.set("auto"), loaded.origins.erase(field.path);
  }
}

Field& find_field(std::vector<Field>& fields, std::string_view path, const std::string& origin) {
  for (Field& field : fields)
    if (field.path == path) return field;
  if (path == "question" || path == "base" || path == "seeds")
    fail("config: '{}' ({}) is a key of studies; 'strobe study run FILE' runs a study file", path,
         origin);
  const std::string meant = suggest_key(path);
  fail("config: unknown key '{}' ({}){}", path, origin,
       meant.empty() ? "; 'strobe train --keys' lists the keys"
                     : fmt::format("; did you mean '{}'?", meant));
}

// TOML tells "3" from 3; a length may be either ("5 %", 100), and "auto" stands for any value.
void check_type(const TomlEntry& entry, const Field& field, const std::string& origin) {
  const std::string& value = entry.values[0];
  if (entry.text && !field.text && value != "auto")
    fail("config: {} is a string, \"{}\" ({}); it takes {}, without quotes", entry.path, value,
         origin, field.type);
  if (!entry.text && field.type == "text")
    fail("config: {} is not a string: {} ({}); it takes text, in quotes", entry.path, value,
         origin);
}

}  // namespace

std::string suggest_key(std::string_view path) {
  const std::string_view last = path.substr(path.rfind('.') + 1);
  for (const auto& [foreign, own] : kForeignNames)
    if (path == foreign || last == foreign) return own;
  Config config;
  std::vector<std::string> paths, lasts;
  for (const Field& field : fields_of(config)) {
    paths.push_back(field.path);
    lasts.push_back(field.path.substr(field.path.rfind('.') + 1));
  }
  for (size_t i = 0; i < lasts.size(); ++i)
    if (last == lasts[i]) return paths[i];
  std::string near = nearest(path, paths.data(), paths.size());
  if (!near.empty()) return near;
  const std::string near_last = nearest(last, lasts.data(), lasts.size());
  for (size_t i = 0; i < lasts.size(); ++i)
    if (!near_last.empty() && near_last == lasts[i]) return paths[i];
  return "";
}

void check_override(std::string_view path, std::string_view value) {
  Config config;
  std::vector<Field> fields = fields_of(config);
  find_field(fields, path, "override").set(value);
}

namespace {

LoadedConfig load_over(const Config& base, const std::string& file,
                       const std::vector<std::string>& overrides) {
  LoadedConfig loaded{.config = base, .origins = {}};
  std::vector<Field> fields = fields_of(loaded.config);
  std::vector<Assignment> assignments;
  if (!file.empty())
    for (const TomlEntry& entry : read_toml(file)) {
      const std::string origin = fmt::format("{}:{}", file, entry.line);
      if (entry.array) fail("config: {} is a list ({}); it takes one value", entry.path, origin);
      check_type(entry, find_field(fields, entry.path, origin), origin);
      assignments.push_back({entry.path, entry.values[0], origin, 0});
    }
  for (const std::string& text : overrides) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      fail("config: '{}' is not an override; write key=value, for example optimizer.lr=3e-4", text);
    assignments.push_back({text.substr(0, equals), text.substr(equals + 1), kCommandLine, 1});
  }

  const auto assign = [&](const Assignment& a) {
    Field& field = find_field(fields, a.path, a.origin);
    try {
      field.set(a.value);
    } catch (const Error& error) {
      fail("config: {} ({})", error.what(), a.origin);
    }
    loaded.origins[a.path] = a.origin;
  };
  // A preset comes before the other keys of its source, wherever it stands.
  for (const int source : {0, 1}) {
    for (const Assignment& a : assignments)
      if (a.source == source && a.path == "model.preset" && !a.value.empty())
        apply_preset(loaded, a.value);
    for (const Assignment& a : assignments)
      if (a.source == source) assign(a);
  }
  keep_one_length(loaded, fields, assignments);
  return loaded;
}

}  // namespace

LoadedConfig load_config(const std::string& file, const std::vector<std::string>& overrides) {
  return load_over({}, file, overrides);
}

LoadedConfig load_config(const Config& base, const std::vector<std::string>& overrides) {
  return load_over(base, "", overrides);
}

std::string to_toml(const Config& config) {
  Config copy = config;
  std::string out, section;
  for (const Field& field : fields_of(copy)) {
    const size_t dot = field.path.rfind('.');
    const std::string table = dot == std::string::npos ? "" : field.path.substr(0, dot);
    if (table != section) out += fmt::format("\n[{}]\n", table), section = table;
    const std::string value = field.get();
    const bool quote = field.text || value == "auto";
    out += fmt::format("{} = {}\n", field.path.substr(dot + 1), quote ? toml_quote(value) : value);
  }
  return out;
}

std::string print_config(const LoadedConfig& loaded) {
  Config copy = loaded.config;
  std::string out;
  for (const Field& field : fields_of(copy)) {
    const auto origin = loaded.origins.find(field.path);
    out += fmt::format("{:<28} {:<24} {}\n", field.path,
                       field.text ? toml_quote(field.get()) : field.get(),
                       origin == loaded.origins.end() ? "default" : origin->second);
  }
  return out;
}

std::string describe_config() {
  Config config;
  std::string out;
  for (const Field& field : fields_of(config))
    out += fmt::format("  {:<26} {} [{}: {}]\n", field.path, field.help, field.type,
                       field.get().empty() ? "\"\"" : field.get());
  return out;
}

std::vector<std::pair<std::string, std::string>> flatten(const Config& config) {
  Config copy = config;
  std::vector<std::pair<std::string, std::string>> out;
  for (const Field& field : fields_of(copy)) out.emplace_back(field.path, field.get());
  return out;
}

}  // namespace strobe
