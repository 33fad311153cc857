// Configuration: every field round trips, is documented and overridable; lengths; suggestions.
#include "strobe/config/config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "strobe/config/fields.h"
#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

// A value that differs from the field's default.
std::string another_value(const Field& field) {
  const std::string& type = field.type;
  if (type == "text") return "a \"quoted\" \\ näme\n# not a comment";
  if (type == "true or false") return field.get() == "true" ? "false" : "true";
  if (type == "length" || type == "length or auto") return "7 epochs";
  return type.starts_with("integer") ? "77" : "0.1234567890123";
}

TEST(Config, EveryFieldRoundTripsThroughToml) {
  reference::TemporaryFolder folder;
  Config template_config;
  for (const Field& described : fields_of(template_config)) {
    SCOPED_TRACE(described.path);
    Config config;
    for (Field& field : fields_of(config))
      if (field.path == described.path) field.set(another_value(field));
    const std::string file = folder.file("config.toml");
    std::ofstream(file) << to_toml(config);
    // The preset stands for sizes that are written beside it; no name but a known one loads.
    if (described.path == "model.preset") continue;
    const Config loaded = load_config(file, {}).config;
    EXPECT_EQ(flatten(loaded), flatten(config));
    EXPECT_NE(flatten(loaded), flatten(Config{}));
  }
}

// A run is begun with what a command line says, and read again from its file.
TEST(Config, WhatAFileSaysOfATextIsReadAgain) {
  reference::TemporaryFolder folder;
  std::string every;
  for (int c = 1; c < 128; ++c) every += static_cast<char>(c);  // of ASCII
  const LoadedConfig said = load_config("", {"name=" + every, "schedule.warmup=3.4 %"});
  const std::string file = folder.file("config.toml");
  std::ofstream(file) << to_toml(said.config);
  const Config loaded = load_config(file, {}).config;
  EXPECT_EQ(loaded.name, every);
  EXPECT_EQ(loaded.schedule.warmup.value, said.config.schedule.warmup.value);
  EXPECT_EQ(to_string(loaded.schedule.warmup), "3.4 %");
}

TEST(Config, EveryFieldIsDocumented) {
  Config config;
  const std::string description = describe_config();
  for (const Field& field : fields_of(config)) {
    EXPECT_FALSE(field.help.empty()) << field.path;
    EXPECT_NE(description.find("  " + field.path + " "), std::string::npos) << field.path;
    EXPECT_EQ(message_of([&] { check_override(field.path, field.get()); }), "accepted")
        << field.path << ": the default is refused";
  }
}

TEST(Config, LaterSourcesWinAndAreNamed) {
  reference::TemporaryFolder folder;
  const std::string file = folder.file("recipe.toml");
  std::ofstream(file) << "seed = 5\n[model]\npreset = \"gpt2-30m\"\nchannels = 192\n[train]\n"
                         "steps = 9\n";
  const LoadedConfig loaded =
      load_config(file, {"model.heads=3", "train.tokens=1e6", "model.heads=4"});
  EXPECT_EQ(loaded.config.model.layers, 6);      // preset
  EXPECT_EQ(loaded.config.model.channels, 192);  // the file over the preset
  EXPECT_EQ(loaded.config.model.heads, 4);       // the last override over all
  EXPECT_FALSE(loaded.config.train.steps.has_value()) << "train.tokens replaces it";
  EXPECT_EQ(loaded.config.train.tokens, 1e6);
  EXPECT_EQ(loaded.origins.at("model.layers"), "preset gpt2-30m");
  EXPECT_EQ(loaded.origins.at("model.channels"), file + ":4");
  EXPECT_EQ(loaded.origins.at("model.heads"), "command line");
  EXPECT_FALSE(loaded.origins.contains("train.steps"));
  EXPECT_FALSE(loaded.origins.contains("optimizer.lr"));
  const std::string printed = print_config(loaded);
  EXPECT_NE(printed.find("preset gpt2-30m"), std::string::npos);
  EXPECT_NE(printed.find("command line"), std::string::npos);
  EXPECT_NE(printed.find("default"), std::string::npos);
}

// default < preset < file < preset on the command line < the rest of the command line.
TEST(Config, APresetOnTheCommandLineReplacesTheFilesSizes) {
  reference::TemporaryFolder folder;
  const std::string file = folder.file("recipe.toml");
  std::ofstream(file) << "[model]\nlayers = 4\nchannels = 128\nheads = 2\ncontext = 2048\n"
                         "dropout = 0.1\n";
  const LoadedConfig loaded = load_config(file, {"model.heads=16", "model.preset=gpt2-124m"});
  EXPECT_EQ(loaded.config.model.layers, 12);
  EXPECT_EQ(loaded.config.model.channels, 768);
  EXPECT_EQ(loaded.config.model.context, 1024);
  EXPECT_EQ(loaded.config.model.heads, 16) << "a size on the command line, wherever it stands";
  EXPECT_EQ(loaded.config.model.dropout, 0.1) << "no preset speaks of it";
  EXPECT_EQ(loaded.origins.at("model.layers"), "preset gpt2-124m");
  EXPECT_EQ(loaded.origins.at("model.heads"), "command line");
}

TEST(Config, PresetsHaveThePapersSizes) {
  struct Sizes {
    const char* name;
    int64_t layers, channels, heads;
  };
  for (const Sizes& sizes : {Sizes{"gpt2-124m", 12, 768, 12}, Sizes{"gpt2-350m", 24, 1024, 16},
                             Sizes{"gpt2-774m", 36, 1280, 20}, Sizes{"gpt2-1.5b", 48, 1600, 25}}) {
    const ModelConfig model =
        load_config("", {std::string("model.preset=") + sizes.name}).config.model;
    EXPECT_EQ(model.layers, sizes.layers) << sizes.name;
    EXPECT_EQ(model.channels, sizes.channels) << sizes.name;
    EXPECT_EQ(model.heads, sizes.heads) << sizes.name;
    EXPECT_EQ(model.context, 1024) << sizes.name;
  }
}

TEST(Config, ReadsLengthsInEveryUnit) {
  using Unit = Length::Unit;
  struct Row {
    const char* text;
    double value;
    Unit unit;
  };
  for (const Row& row :
       {Row{"500", 500, Unit::steps}, Row{"500 steps", 500, Unit::steps},
        Row{"1 step", 1, Unit::steps}, Row{"2k", 2000, Unit::steps}, Row{"1.5k", 1500, Unit::steps},
        Row{"2.3 k", 2300, Unit::steps}, Row{"2M tokens", 2e6, Unit::tokens},
        Row{" 1.5 k tokens ", 1500, Unit::tokens}, Row{"3 epochs", 3, Unit::epochs},
        Row{"0.5epochs", 0.5, Unit::epochs}, Row{"25 s", 25, Unit::seconds},
        Row{"10 min", 600, Unit::seconds}, Row{"2 h", 7200, Unit::seconds},
        Row{"5 %", 0.05, Unit::fraction}, Row{"5%", 0.05, Unit::fraction}, Row{"0", 0, Unit::steps},
        Row{"1e-310 tokens", 1e-310, Unit::tokens}}) {
    const Length length = parse_length(row.text);
    EXPECT_DOUBLE_EQ(length.value, row.value) << row.text;
    EXPECT_EQ(length.unit, row.unit) << row.text;
    const Length again = parse_length(to_string(length));
    EXPECT_DOUBLE_EQ(again.value, length.value) << row.text;
    EXPECT_EQ(again.unit, length.unit) << row.text;
  }
  for (const char* text : {"", "many", "-5", "5 lightyears", "nan", "inf", "1e999", "5 % tokens"})
    EXPECT_NE(message_of([&] { parse_length(text); }).find("write 500"), std::string::npos) << text;
}

TEST(Config, SuggestsWhatOthersCallIt) {
  const std::pair<const char*, const char*> kRows[] = {
      {"learning_rate", "optimizer.lr"},
      {"training_args.learning_rate", "optimizer.lr"},
      {"block_size", "model.context"},
      {"n_embd", "model.channels"},
      {"n_layer", "model.layers"},
      {"per_device_train_batch_size", "train.micro_batch"},
      {"gradient_accumulation_steps", "train.grad_accum"},
      {"warmup_ratio", "schedule.warmup"},
      {"optimiser.lr", "optimizer.lr"},
      {"layers", "model.layers"},
      {"train.step", "train.steps"},
      {"qqqqqqqqqqqq", ""},
  };
  for (const auto& [word, key] : kRows) EXPECT_EQ(suggest_key(word), key) << word;
}

TEST(Config, RefusesIllTypedValues) {
  const std::pair<const char*, const char*> kRows[] = {
      {"train.micro_batch", "2.5"},
      {"train.micro_batch", "two"},
      {"optimizer.lr", "nan"},
      {"optimizer.lr", "inf"},
      {"optimizer.lr", "1e-3x"},
      {"optimizer.lr", ""},
      {"seed", "1e300"},
      {"optimizer.decay_embeddings", "1"},
      {"train.steps", "some"},
      {"train.steps", "1.5"},
      {"schedule.patience", "0.5"},
      {"eval.every", "1.5"},
      {"schedule.warmup", "2.5 steps"},
      {"eval.every", "5 parsecs"},
      {"name", "\xff"},  // no TOML file, such as the run's own, could hold it
  };
  for (const auto& [key, value] : kRows) {
    const std::string message = message_of([&] { check_override(key, value); });
    EXPECT_NE(message.find(key), std::string::npos) << message;
    EXPECT_NE(message.find("it takes"), std::string::npos) << message;
  }
}

TEST(Config, TheRecipesLoad) {
  int recipes = 0;
  for (const auto& entry : fs::directory_iterator(STROBE_SOURCE_DIR "/recipes")) {
    if (entry.path().extension() != ".toml") continue;
    SCOPED_TRACE(entry.path());
    const Config config = load_config(entry.path(), {}).config;
    EXPECT_NE(config.data.path.empty(), config.texts.train.empty())
        << "learns from one or the other";
    EXPECT_EQ(config.model.channels % config.model.heads, 0);
    ++recipes;
  }
  EXPECT_GE(recipes, 5);
}

}  // namespace
}  // namespace strobe
