// MiniLM, a BERT that people use, against transformers: tests/data/minilm.safetensors is what
// tools/make_minilm_fixture.py wrote. Skips loudly where its weights are not (tools/setup.sh all).
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "strobe/core/file.h"
#include "strobe/io/safetensors.h"
#include "strobe/train/finetune.h"
#include "strobe/train/interchange.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kWeights = STROBE_SOURCE_DIR "/build/minilm";

class MiniLm : public testing::TestWithParam<std::string> {
 protected:
  MiniLm() : fixture_(SafetensorsFile::open(STROBE_SOURCE_DIR "/tests/data/minilm.safetensors")) {
    for (const Json& pair : Json::parse(fixture_.header().metadata.at("texts")))
      texts_.push_back({pair[0].get<std::string>(), pair[1].get<std::string>(), 0});
  }
  void SetUp() override {
    if (!fs::exists(kWeights + "/model.safetensors"))
      GTEST_SKIP() << "NOTHING WAS TESTED: " << kWeights << " is not there; tools/setup.sh all";
  }

  std::span<const float> expected(const std::string& name, size_t row) const {
    const Tensor all = fixture_.tensor(name);
    const auto width = static_cast<size_t>(all.dim(1));
    return {all.as<float>() + row * width, width};
  }
  /// A run of the folder's weights.
  std::string imported(const std::string& from, const std::string& name) {
    const std::string run = folder_.file(name);
    import_huggingface({.from = from, .out = run, .tokenizer = ""}, [](const std::string&) {});
    std::string config = reference::slurp(run + "/config.toml");
    const std::string was = "precision = \"auto\"";
    config.replace(config.find(was), was.size(), "precision = \"" + GetParam() + "\"");
    config.replace(config.find("backend = \"auto\""), 16, "backend = \"cpu\"");
    write_file("test", run + "/config.toml", config);
    return run;
  }
  double tolerance() const { return GetParam() == "f32" ? 2e-5 : 4e-2; }

  SafetensorsFile fixture_;
  std::vector<Example> texts_;
  reference::TemporaryFolder folder_;
};
INSTANTIATE_TEST_SUITE_P(Cpu, MiniLm, testing::Values("f32", "bf16"));

TEST_P(MiniLm, EmbeddingsOfFiftyTextsEqualTransformers) {
  Reader reader(imported(kWeights, "run"));
  ASSERT_EQ(texts_.size(), 50u);
  for (size_t i = 0; i < texts_.size(); ++i) {
    const std::vector<float> got = reader.read(texts_[i], !texts_[i].second.empty());
    const auto want = expected("embeddings", i);
    ASSERT_EQ(got.size(), want.size());
    for (size_t k = 0; k < want.size(); ++k)
      ASSERT_NEAR(got[k], want[k], tolerance()) << texts_[i].first;
  }
}

// With the fixture's classifier beside them, written by hand as transformers would.
TEST_P(MiniLm, ProbabilitiesOfFiftyTextsEqualTransformers) {
  const std::string with = folder_.file("hf");
  fs::create_directory(with);
  fs::copy(kWeights + "/tokenizer.json", with + "/tokenizer.json");
  Json config = Json::parse(reference::slurp(kWeights + "/config.json"));
  config["architectures"] = {"BertForSequenceClassification"};
  config["id2label"] = {{"0", "no"}, {"1", "maybe"}, {"2", "yes"}};
  write_file("test", with + "/config.json", config.dump());
  const SafetensorsFile weights = SafetensorsFile::open(kWeights + "/model.safetensors");
  std::map<std::string, Tensor> all;
  for (const auto& [name, entry] : weights.header().tensors)
    if (entry.dtype == "F32") all.emplace(name, weights.tensor(name));
  for (const std::string name : {"classifier.weight", "classifier.bias"})
    all.emplace(name, fixture_.tensor(name));
  std::map<std::string, int64_t> offsets;
  std::string file = safetensors_header(all, {}, offsets);
  int64_t end = static_cast<int64_t>(file.size());
  for (const auto& [name, at] : offsets) end = std::max(end, at + all.at(name).bytes());
  file.resize(static_cast<size_t>(end));
  for (const auto& [name, at] : offsets)
    std::memcpy(file.data() + at, all.at(name).data, static_cast<size_t>(all.at(name).bytes()));
  write_file("test", with + "/model.safetensors", file);

  Reader reader(imported(with, "run"));
  EXPECT_EQ(reader.classes(), (std::vector<std::string>{"no", "maybe", "yes"}));
  for (size_t i = 0; i < texts_.size(); ++i) {
    const std::vector<float> got = reader.read(texts_[i], !texts_[i].second.empty());
    const auto logits = expected("logits", i);
    ASSERT_EQ(got.size(), logits.size());
    double sum = 0;
    for (const float x : logits) sum += std::exp(double{x});
    for (size_t k = 0; k < logits.size(); ++k)
      EXPECT_NEAR(got[k], std::exp(double{logits[k]}) / sum, tolerance()) << texts_[i].first;
  }
}

}  // namespace
}  // namespace strobe
