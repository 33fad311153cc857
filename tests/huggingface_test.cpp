// Models from and to Hugging Face's folders. The weights and logits are those of transformers
// (tests/data/gpt2_tiny.safetensors, made by tools/make_gpt2_fixture.py).
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/data/tokenizer.h"
#include "strobe/io/checkpoint.h"
#include "strobe/io/huggingface.h"
#include "strobe/train/interchange.h"
#include "strobe/train/loaded_run.h"
#include "tests/reference/text_files.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using reference::error_of;
using Json = nlohmann::json;

constexpr int64_t kVocab = 61, kSequences = 3, kLength = 11;
const std::string kFixture = STROBE_SOURCE_DIR "/tests/data/gpt2_tiny.safetensors";

struct RawTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};
using RawTensors = std::map<std::string, RawTensor>;

void write_raw(const std::string& path, const RawTensors& tensors) {
  Json header = Json::object();
  std::string data;
  for (const auto& [name, t] : tensors) {
    header[name] = {{"dtype", t.dtype},
                    {"shape", t.shape},
                    {"data_offsets", {data.size(), data.size() + t.bytes.size()}}};
    data += t.bytes;
  }
  const std::string text = header.dump();
  const uint64_t size = text.size();
  std::ofstream(path, std::ios::binary)
      << std::string(reinterpret_cast<const char*>(&size), sizeof size) << text << data;
}

RawTensors read_raw(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  RawTensors out;
  for (const auto& [name, entry] : file.header().tensors) {
    const auto bytes = file.bytes(name);
    out[name] = {entry.dtype, entry.shape,
                 std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())};
  }
  return out;
}

std::string floats(std::initializer_list<float> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(float)};
}

// The fixture's weights, under transformers' names.
RawTensors fixture_weights() {
  RawTensors out;
  for (auto& [name, tensor] : read_raw(kFixture))
    if (name.starts_with("weight.")) out.emplace(name.substr(7), tensor);
  return out;
}

Json fixture_config() {
  return {{"architectures", {"GPT2LMHeadModel"}},
          {"model_type", "gpt2"},
          {"vocab_size", kVocab},
          {"n_positions", 16},
          {"n_embd", 48},
          {"n_layer", 2},
          {"n_head", 3},
          {"n_inner", nullptr},
          {"activation_function", "gelu_new"},
          {"layer_norm_epsilon", 1e-5},
          {"attn_pdrop", 0.0},
          {"embd_pdrop", 0.0},
          {"resid_pdrop", 0.0}};
}

// A folder with everything but the weights.
void write_rest(const std::string& folder, const Json& config = fixture_config()) {
  fs::create_directories(folder);
  std::ofstream(folder + "/config.json") << config.dump();
  std::ofstream(folder + "/vocab.txt") << "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nriver\n##s\n";
}

ImportResult import_to(const std::string& from, const std::string& out) {
  return import_huggingface({.from = from, .out = out, .tokenizer = ""}, [](const std::string&) {});
}

std::map<std::string, std::vector<float>> weights_of(const std::string& run) {
  std::map<std::string, std::vector<float>> out;
  const SafetensorsFile file = open_weights(best_checkpoint(run + "/checkpoints"));
  for (const auto& [name, entry] : file.header().tensors) {
    const Tensor t = file.tensor(name);
    out[name].assign(t.as<float>(), t.as<float>() + t.numel());
  }
  return out;
}

TEST(ImportGpt2, GivesTheLogitsOfTransformers) {
  const reference::TemporaryFolder folder;
  const std::string from = folder.file("hf"), run = folder.file("run");
  write_rest(from);
  write_raw(from + "/model.safetensors", fixture_weights());
  const ImportResult result = import_to(from, run);
  EXPECT_EQ(result.tensors, 28);
  Config config = run_config(run);
  EXPECT_EQ(config.name, "hf");
  EXPECT_EQ(config.model.vocab, kVocab);
  config.backend = "cpu", config.precision = "f32";
  Engine engine(config, config.model.vocab, {.decode_capacity = 16});
  engine.allocate();
  config.init_from = run;
  init_from(config, engine);
  const SafetensorsFile fixture = SafetensorsFile::open(kFixture);
  const auto* tokens = fixture.tensor("tokens").as<int32_t>();
  const auto* logits = fixture.tensor("logits").as<float>();
  for (int64_t s = 0; s < kSequences; ++s) {
    engine.start_decoding();
    std::vector<float> found;
    for (int64_t t = 0; t < kLength; ++t) {
      const int64_t at = s * kLength + t;
      engine.decode({tokens + at, 1}, found);
      ASSERT_EQ(found.size(), static_cast<size_t>(kVocab));
      for (int64_t v = 0; v < kVocab; ++v)
        ASSERT_NEAR(found[static_cast<size_t>(v)], logits[at * kVocab + v], 1e-4);
    }
  }
}

// As the hub's own gpt2: no prefix, the buffers of the causal mask, and the tied head beside.
RawTensors hub_weights() {
  RawTensors out;
  for (const auto& [name, tensor] : fixture_weights())
    out.emplace(name.substr(std::string("transformer.").size()), tensor);
  for (const char* layer : {"h.0", "h.1"}) {
    out[std::string(layer) + ".attn.bias"] = {"U8", {1, 1, 16, 16}, std::string(256, '\1')};
    out[std::string(layer) + ".attn.masked_bias"] = {"F32", {}, floats({-1e4f})};
  }
  out["lm_head.weight"] = out["wte.weight"];
  return out;
}

// In two files with an index.
void write_sharded(const std::string& folder, const RawTensors& tensors) {
  RawTensors shards[2];
  Json map = Json::object();
  size_t i = 0;
  for (const auto& [name, tensor] : tensors) {
    const size_t shard = i++ % 2;
    shards[shard].emplace(name, tensor);
    map[name] = fmt::format("model-0000{}-of-00002.safetensors", shard + 1);
  }
  for (size_t s = 0; s < 2; ++s)
    write_raw(fmt::format("{}/model-0000{}-of-00002.safetensors", folder, s + 1), shards[s]);
  std::ofstream(folder + "/model.safetensors.index.json")
      << Json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}}.dump();
}

TEST(ImportGpt2, TakesEveryFormOfTheSameWeights) {
  const reference::TemporaryFolder folder;
  write_rest(folder.file("plain"));
  write_raw(folder.file("plain/model.safetensors"), fixture_weights());
  import_to(folder.file("plain"), folder.file("plain-run"));
  const auto expected = weights_of(folder.file("plain-run"));
  write_rest(folder.file("hub"));
  write_raw(folder.file("hub/model.safetensors"), hub_weights());
  import_to(folder.file("hub"), folder.file("hub-run"));
  EXPECT_EQ(weights_of(folder.file("hub-run")), expected);
  write_rest(folder.file("shards"));
  write_sharded(folder.file("shards"), hub_weights());
  import_to(folder.file("shards"), folder.file("shards-run"));
  EXPECT_EQ(weights_of(folder.file("shards-run")), expected);
  // The head alone, where the embedding was left out as its copy.
  RawTensors head = fixture_weights();
  head["lm_head.weight"] = head["transformer.wte.weight"];
  head.erase("transformer.wte.weight");
  write_rest(folder.file("head"));
  write_raw(folder.file("head/model.safetensors"), head);
  import_to(folder.file("head"), folder.file("head-run"));
  EXPECT_EQ(weights_of(folder.file("head-run")), expected);
}

TEST(ImportGpt2, ConvertsOtherTypes) {
  const reference::TemporaryFolder folder;
  RawTensors weights = fixture_weights();
  const auto set = [&](const char* name, const char* dtype, const void* values, size_t bytes) {
    weights[name].dtype = dtype;
    weights[name].bytes.assign(static_cast<const char*>(values), bytes);
  };
  std::vector<double> wide(48, 0.1);
  set("transformer.ln_f.bias", "F64", wide.data(), 48 * 8);
  // 1, -2, the largest, the smallest normal, the smallest, -0, infinity, and the rest 0.
  std::vector<uint16_t> half(48, 0);
  const uint16_t values[] = {0x3C00, 0xC000, 0x7BFF, 0x0400, 0x0001, 0x8000, 0x7C00};
  std::copy(std::begin(values), std::end(values), half.begin());
  set("transformer.h.0.ln_1.bias", "F16", half.data(), 48 * 2);
  std::vector<uint16_t> brain(48, 0x3F81);
  set("transformer.h.0.ln_2.bias", "BF16", brain.data(), 48 * 2);
  write_rest(folder.file("hf"));
  write_raw(folder.file("hf/model.safetensors"), weights);
  import_to(folder.file("hf"), folder.file("run"));
  auto found = weights_of(folder.file("run"));
  EXPECT_EQ(found["transformer.ln_f.bias"][7], 0.1f);
  EXPECT_EQ(found["transformer.h.0.ln_2.bias"][7], 1.0078125f);
  const std::vector<float>& h = found["transformer.h.0.ln_1.bias"];
  EXPECT_EQ(std::vector<float>(h.begin(), h.begin() + 7),
            (std::vector<float>{1, -2, 65504, 0x1p-14f, 0x1p-24f, -0.0f,
                                std::numeric_limits<float>::infinity()}));
  EXPECT_TRUE(std::signbit(h[5]));
}

TEST(ExportGpt2, OfAnImportHoldsTheSameBits) {
  const reference::TemporaryFolder folder;
  write_rest(folder.file("hf"));
  write_raw(folder.file("hf/model.safetensors"), hub_weights());
  import_to(folder.file("hf"), folder.file("run"));
  export_huggingface({.run = folder.file("run"), .out = folder.file("one"), .largest_shard = 0});
  RawTensors found = read_raw(folder.file("one/model.safetensors"));
  const RawTensors expected = fixture_weights();
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    EXPECT_EQ(found[name].shape, tensor.shape) << name;
    EXPECT_EQ(found[name].bytes, tensor.bytes) << name;
  }
  // In files of at most 20 kB, and back.
  export_huggingface(
      {.run = folder.file("run"), .out = folder.file("many"), .largest_shard = 20000});
  EXPECT_FALSE(fs::exists(folder.file("many/model.safetensors")));
  EXPECT_TRUE(fs::exists(folder.file("many/model.safetensors.index.json")));
  import_to(folder.file("many"), folder.file("again"));
  EXPECT_EQ(weights_of(folder.file("again")), weights_of(folder.file("run")));
  const Json config = Json::parse(std::ifstream(folder.file("one/config.json")));
  const Json given = fixture_config();
  for (const auto& [key, value] : given.items()) EXPECT_EQ(config[key], value) << key;
  EXPECT_EQ(Tokenizer::load(folder.file("one")).hash(), Tokenizer::load(folder.file("hf")).hash());
}

TEST(ExportGpt2, RefusesWhatTransformersLacks) {
  Config config;
  config.model.kv_heads = 2, config.model.heads = 4;
  EXPECT_THROW(huggingface_config(config, -1), Error);
  config.model.kind = "llama";
  EXPECT_THROW(huggingface_config(config, -1), Error);
}

TEST(Import, LeavesNothingBehindWhereItFails) {
  const reference::TemporaryFolder folder;
  write_rest(folder.file("hf"));
  EXPECT_NE(error_of([&] {
              import_to(folder.file("hf"), folder.file("run"));
            }).find("has neither model.safetensors nor"),
            std::string::npos);
  RawTensors weights = fixture_weights();
  weights.erase("transformer.h.1.mlp.c_proj.bias");
  write_raw(folder.file("hf/model.safetensors"), weights);
  EXPECT_NE(error_of([&] {
              import_to(folder.file("hf"), folder.file("run"));
            }).find("no tensor \"transformer.h.1.mlp.c_proj.bias\""),
            std::string::npos);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
  fs::create_directory(folder.file("run"));
  EXPECT_NE(error_of([&] { import_to(folder.file("hf"), folder.file("run")); }).find("exists"),
            std::string::npos);
  EXPECT_THROW(import_to(folder.file("none"), folder.file("new")), Error);
  EXPECT_THROW(
      export_huggingface({.run = folder.file("hf"), .out = folder.file("o"), .largest_shard = 0}),
      Error);
}

TEST(Import, RefusesWeightsThatDoNotFit) {
  struct BadWeights {
    const char* name;
    std::function<void(RawTensors&)> change;
    const char* message;
  };
  const std::string wte = "transformer.wte.weight", bias = "transformer.ln_f.bias";
  const std::vector<BadWeights> table = {
      {"one too many",
       [](RawTensors& w) { w["transformer.h.2.ln_1.bias"] = w["transformer.ln_f.bias"]; },
       "for which a gpt2"},
      {"another head", [](RawTensors& w) { w["score.weight"] = w["transformer.ln_f.bias"]; },
       "for which a gpt2"},
      {"twice", [](RawTensors& w) { w["ln_f.bias"] = w["transformer.ln_f.bias"]; },
       "are the same tensor"},
      {"transposed",
       [](RawTensors& w) {
         w["transformer.h.0.mlp.c_fc.weight"].shape = {192, 48};
       },
       "by config.json it is (48, 192)"},
      {"vector for a matrix", [&](RawTensors& w) { w[wte].shape = {61 * 48}; }, "is (2928)"},
      {"matrix for a vector",
       [&](RawTensors& w) {
         w[bias].shape = {1, 48};
       },
       "is (1, 48)"},
      {"head untied",
       [&](RawTensors& w) {
         w["lm_head.weight"] = w[wte];
         w["lm_head.weight"].bytes[5] ^= 1;
       },
       "differ; in strobe's model they are one"},
      {"integers", [&](RawTensors& w) { w[bias].dtype = "I32"; }, "is I32; F32, F16"},
      {"8 bits",
       [&](RawTensors& w) {
         w[bias] = {"F8_E4M3", {48}, std::string(48, '\0')};
       },
       "is F8_E4M3; F32, F16"},
  };
  const reference::TemporaryFolder folder;
  write_rest(folder.file("hf"));
  for (const BadWeights& row : table) {
    RawTensors weights = fixture_weights();
    row.change(weights);
    write_raw(folder.file("hf/model.safetensors"), weights);
    const std::string message = error_of([&] { import_to(folder.file("hf"), folder.file("run")); });
    EXPECT_NE(message.find(row.message), std::string::npos) << row.name << ": " << message;
    EXPECT_TRUE(message.starts_with("import: ")) << row.name << ": " << message;
    EXPECT_FALSE(fs::exists(folder.file("run")));
  }
}

TEST(Import, RefusesIndexesThatAreWrong) {
  const std::string one = "model-00001-of-00002.safetensors";
  const std::vector<std::pair<std::string, std::string>> table = {
      {"", "is not JSON"},
      {"[]", "weight_map is missing"},
      {R"({"weight_map": []})", "weight_map is []"},
      {R"({"weight_map": {}})", "names no tensor"},
      {R"({"weight_map": {"a": 1}})", "\"a\" is in 1"},
      {R"({"weight_map": {"a": ""}})", "\"a\" is in \"\""},
      {R"({"weight_map": {"a": "../model.safetensors"}})", "is in \"../model.safetensors\""},
      {R"({"weight_map": {"a": "/etc/passwd"}})", "is in \"/etc/passwd\""},
      {R"({"weight_map": {"a": ".."}})", "is in \"..\""},
      {R"({"weight_map": {"a": "none.safetensors"}})", "none.safetensors, which is not there"},
      {R"({"weight_map": {"a": ")" + one + "\"}}", "\"a\" is not in " + one},
      {R"({"weight_map": {"a": "x", "a": "y"}})", "\"a\" stands twice"},
  };
  const reference::TemporaryFolder folder;
  write_rest(folder.file("hf"));
  write_sharded(folder.file("hf"), hub_weights());
  for (const auto& [text, expected] : table) {
    std::ofstream(folder.file("hf/model.safetensors.index.json")) << text;
    const std::string message = error_of([&] { import_to(folder.file("hf"), folder.file("run")); });
    EXPECT_NE(message.find(expected), std::string::npos) << text << ": " << message;
  }
}

TEST(Import, RefusesSizesThatFitNothing) {
  const reference::TemporaryFolder folder;
  write_rest(folder.file("hf"));
  write_raw(folder.file("hf/model.safetensors"), fixture_weights());
  const auto refuses = [&](const std::function<void(Json&)>& change, const std::string& message) {
    Json config = fixture_config();
    change(config);
    std::ofstream(folder.file("hf/config.json")) << config.dump();
    const std::string found = error_of([&] { import_to(folder.file("hf"), folder.file("run")); });
    EXPECT_NE(found.find(message), std::string::npos) << message << ": " << found;
  };
  refuses([](Json& j) { j["n_head"] = 5; }, "must be divisible by heads");
  refuses([](Json& j) { j["n_layer"] = 1000, j["n_embd"] = 3 << 20; }, "parameters");
  refuses([](Json& j) { j["vocab_size"] = 7; }, "the tokenizer has 8 entries");
}

// BERT's tensors by themselves: (out, in) and apart in files,
// (in, out) and side by side here.
TEST(HuggingFaceWeights, TransposeAndJoinBerts) {
  const HuggingFaceFamily& bert = huggingface_family("bert", "test");
  const reference::TemporaryFolder folder;
  const std::string self = "encoder.layer.0.attention.self.";
  write_raw(
      folder.file("model.safetensors"),
      {{self + "query.weight", {"F32", {2, 2}, floats({1, 2, 3, 4})}},
       {self + "key.weight", {"F32", {2, 2}, floats({5, 6, 7, 8})}},
       {self + "value.weight", {"F32", {2, 2}, floats({9, 10, 11, 12})}},
       {self + "query.bias", {"F32", {2}, floats({1, 2})}},
       {self + "key.bias", {"F32", {2}, floats({3, 4})}},
       {self + "value.bias", {"F32", {2}, floats({5, 6})}},
       {"embeddings.word_embeddings.weight", {"F32", {1, 2}, floats({7, 8})}},
       {"encoder.layer.0.intermediate.dense.weight", {"F32", {3, 2}, floats({1, 2, 3, 4, 5, 6})}},
       {"embeddings.position_ids", {"I64", {1, 1}, std::string(8, '\0')}}});
  const HuggingFaceWeights weights = HuggingFaceWeights::open(folder.path(), bert);
  EXPECT_EQ(weights.names().size(), 8u);
  std::vector<std::string> used;
  std::vector<float> qkv = weights.read("bert." + self + "c_attn.weight", 2, 6, used);
  EXPECT_EQ(used.size(), 3u);
  EXPECT_EQ(qkv, (std::vector<float>{1, 3, 5, 7, 9, 11, 2, 4, 6, 8, 10, 12}));
  std::vector<float> bias = weights.read("bert." + self + "c_attn.bias", 0, 6, used);
  EXPECT_EQ(bias, (std::vector<float>{1, 2, 3, 4, 5, 6}));
  std::vector<float> word = weights.read("bert.embeddings.word_embeddings.weight", 1, 2, used);
  EXPECT_EQ(word, (std::vector<float>{7, 8}));
  std::vector<float> dense =
      weights.read("bert.encoder.layer.0.intermediate.dense.weight", 2, 3, used);
  EXPECT_EQ(dense, (std::vector<float>{1, 3, 5, 2, 4, 6}));
  EXPECT_EQ(used.size(), 8u);

  fs::create_directory(folder.file("out"));
  write_huggingface_weights(
      folder.file("out"), bert,
      {{"bert." + self + "c_attn.weight", Tensor(qkv.data(), DType::f32, {2, 6})},
       {"bert." + self + "c_attn.bias", Tensor(bias.data(), DType::f32, {6})},
       {"bert.embeddings.word_embeddings.weight", Tensor(word.data(), DType::f32, {1, 2})},
       {"bert.encoder.layer.0.intermediate.dense.weight",
        Tensor(dense.data(), DType::f32, {2, 3})}},
      0);
  const RawTensors given = read_raw(folder.file("model.safetensors"));
  const RawTensors written = read_raw(folder.file("out/model.safetensors"));
  EXPECT_EQ(written.size(), 8u);
  // Of a model without a head, as BertModel writes them.
  fs::create_directory(folder.file("bare"));
  write_huggingface_weights(
      folder.file("bare"), bert,
      {{"bert.embeddings.word_embeddings.weight", Tensor(word.data(), DType::f32, {1, 2})}}, 0,
      /*prefixed=*/false);
  EXPECT_TRUE(read_raw(folder.file("bare/model.safetensors"))
                  .contains("embeddings.word_embeddings.weight"));
  for (const auto& [name, tensor] : written) {
    EXPECT_EQ(tensor.shape, given.at(name.substr(5)).shape) << name;
    EXPECT_EQ(tensor.bytes, given.at(name.substr(5)).bytes) << name;
  }
}

TEST(Import, AndExportAreCommands) {
  const reference::TemporaryFolder folder;
  write_rest(folder.file("hf"));
  write_raw(folder.file("hf/model.safetensors"), hub_weights());
  const auto run = [&](const std::string& arguments) {
    return std::system(
        fmt::format("cd {} && {} {} > out 2> err", folder.path(), STROBE_BINARY, arguments)
            .c_str());
  };
  const auto said = [&](const char* file) { return read_file("test", folder.file(file), 1 << 20); };
  EXPECT_EQ(run("import hf --out run"), 0) << said("err");
  EXPECT_NE(said("out").find("run: gpt2, 60336 parameters of 28 tensors"), std::string::npos)
      << said("out");
  EXPECT_EQ(run("export run --format huggingface --out back"), 0) << said("err");
  EXPECT_EQ(run("tensors back/model.safetensors"), 0) << said("err");
  EXPECT_NE(said("out").find("transformer.wte.weight  F32 (61, 48)"), std::string::npos);
  EXPECT_NE(run("import hf --out run"), 0);
  EXPECT_NE(said("err").find("strobe: import: run exists"), std::string::npos) << said("err");
  EXPECT_NE(run("export run --format gguf --out other"), 0);
  EXPECT_NE(said("err").find("--format gguf is unknown"), std::string::npos) << said("err");
  EXPECT_NE(run("tensors hf/config.json"), 0);
  EXPECT_TRUE(said("err").starts_with("strobe: safetensors: hf/config.json")) << said("err");
}

// A file of weights cut short or with a bit turned over is refused, or imported as what it says.
TEST(Import, SurvivesDamage) {
  const reference::TemporaryFolder folder;
  write_rest(folder.file("hf"));
  write_raw(folder.file("hf/model.safetensors"), hub_weights());
  const std::string whole =
      read_file("test", folder.file("hf/model.safetensors"), int64_t{1} << 30);
  uint64_t header = 0;
  std::memcpy(&header, whole.data(), sizeof header);
  for (size_t i = 0; i < 150; ++i) {
    std::string damaged = whole;
    const size_t at = i * 2654435761u % (header + 8);
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << i % 8));
    std::ofstream(folder.file("hf/model.safetensors"), std::ios::binary) << damaged;
    try {
      import_to(folder.file("hf"), folder.file("run"));
      fs::remove_all(folder.file("run"));
    } catch (const Error&) {
    }
  }
  for (size_t i = 1; i < 30; ++i) {
    std::ofstream(folder.file("hf/model.safetensors"), std::ios::binary)
        << whole.substr(0, whole.size() * i / 30);
    EXPECT_THROW(import_to(folder.file("hf"), folder.file("run")), Error);
  }
}

}  // namespace
}  // namespace strobe
