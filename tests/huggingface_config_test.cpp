// config.json of Hugging Face's folders: what is read and written, and what is refused.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "strobe/io/huggingface.h"
#include "tests/reference/text_files.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

using reference::error_of;
using Json = nlohmann::json;

Json gpt2_config() {
  return {{"model_type", "gpt2"}, {"vocab_size", 61}, {"n_positions", 16},
          {"n_embd", 48},         {"n_layer", 2},     {"n_head", 3}};
}

Json bert_config() {
  return {{"model_type", "bert"},
          {"vocab_size", 30522},
          {"hidden_size", 384},
          {"num_hidden_layers", 6},
          {"num_attention_heads", 12},
          {"intermediate_size", 1536},
          {"max_position_embeddings", 512},
          {"hidden_act", "gelu"},
          {"hidden_dropout_prob", 0.1},
          {"attention_probs_dropout_prob", 0.1},
          {"layer_norm_eps", 1e-12},
          {"type_vocab_size", 2}};
}

TEST(HuggingFaceNames, OfBert) {
  const HuggingFaceFamily& bert = huggingface_family("bert", "test");
  const std::pair<const char*, const char*> table[] = {
      {"embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"},
      {"bert.embeddings.LayerNorm.beta", "bert.embeddings.LayerNorm.bias"},
      {"embeddings.position_ids", ""},
      {"bert.embeddings.position_ids", ""},
      {"cls.predictions.transform.LayerNorm.gamma", "cls.predictions.transform.LayerNorm.weight"},
      {"encoder.layer.3.attention.self.query.weight",
       "bert.encoder.layer.3.attention.self.query.weight"},
      {"classifier.weight", "classifier.weight"},
      {"pooler.dense.bias", "bert.pooler.dense.bias"},
  };
  for (const auto& [given, full] : table) EXPECT_EQ(full_name(bert, given), full);
  EXPECT_EQ(tied_to(bert, "cls.predictions.decoder.weight"),
            "bert.embeddings.word_embeddings.weight");
  EXPECT_TRUE(is_transposed(bert, "bert.pooler.dense.weight", 2));
  EXPECT_FALSE(is_transposed(bert, "bert.embeddings.word_embeddings.weight", 2));
  EXPECT_FALSE(is_transposed(bert, "bert.pooler.dense.bias", 1));
}

TEST(HuggingFaceConfig, OfBert) {
  const reference::TemporaryFolder folder;
  const Json bert = bert_config();
  std::ofstream(folder.file("config.json")) << bert.dump();
  const Config config = read_huggingface_config(folder.file("config.json"), [](const auto&) {});
  EXPECT_EQ(config.model.kind, "bert");
  EXPECT_EQ(config.model.feed_forward, 1536);
  const Json written = Json::parse(huggingface_config(config, -1));
  for (const auto& [key, value] : bert.items()) EXPECT_EQ(written[key], value) << key;
}

TEST(HuggingFaceConfig, DropoutIsThatOfEachSite) {
  const reference::TemporaryFolder folder;
  Json bert = bert_config();
  bert["attention_probs_dropout_prob"] = 0.25, bert["classifier_dropout"] = 0.3;
  std::ofstream(folder.file("config.json")) << bert.dump();
  std::string notes;
  const Config config = read_huggingface_config(folder.file("config.json"),
                                                [&](const std::string& note) { notes += note; });
  EXPECT_EQ(config.model.dropout, 0.1);
  EXPECT_EQ(config.model.dropout_attention, 0.25);
  EXPECT_FALSE(config.model.dropout_embedding || config.model.dropout_residual);
  EXPECT_NE(notes.find("classifier_dropout"), std::string::npos) << notes;
  const Json written = Json::parse(huggingface_config(config, -1));
  EXPECT_EQ(written["attention_probs_dropout_prob"], 0.25);
  EXPECT_EQ(written["hidden_dropout_prob"], 0.1);
  bert["problem_type"] = "multi_label_classification";
  std::ofstream(folder.file("config.json")) << bert.dump();
  reference::expect_fails(
      [&] { read_huggingface_config(folder.file("config.json"), [](const auto&) {}); },
      "problem_type");
}

// Names of classes come and go with a classifier.
TEST(HuggingFaceConfig, NamesOfClasses) {
  const reference::TemporaryFolder folder;
  const auto read = [&](const Json& id2label, const Json& label2id = nullptr) {
    Json bert = bert_config();
    bert["id2label"] = id2label, bert["label2id"] = label2id;
    std::ofstream(folder.file("config.json")) << bert.dump();
    std::string notes;
    const Config config = read_huggingface_config(folder.file("config.json"),
                                                  [&](const std::string& note) { notes += note; });
    return std::pair(config.texts.classes, notes);
  };
  EXPECT_EQ(read(nullptr), std::pair(std::string(), std::string()));
  EXPECT_EQ(read({{"0", "no"}, {"1", "yes"}}, {{"no", 0}, {"yes", 1}}),
            std::pair(std::string("no|yes"), std::string()));
  Json eleven;
  for (int i = 0; i < 11; ++i)
    eleven[std::to_string(i)] = std::string(1, static_cast<char>('a' + i));
  EXPECT_EQ(read(eleven).first, "a|b|c|d|e|f|g|h|i|j|k");
  const auto [none, why] = read({{"0", "a|b"}, {"1", "c"}});
  EXPECT_EQ(none, "");
  EXPECT_NE(why.find("by their numbers"), std::string::npos) << why;
  EXPECT_NE(read({{"0", "no"}, {"1", "yes"}}, {{"no", 1}}).second.find("label2id"),
            std::string::npos);
}

struct BadConfig {
  const char* name;
  std::function<void(Json&)> change;
  const char* message;
};

TEST(HuggingFaceConfig, RefusesWhatStrobeComputesOtherwise) {
  const std::vector<BadConfig> gpt2 = {
      {"no type", [](Json& j) { j.erase("model_type"); }, "model_type is null"},
      {"type a number", [](Json& j) { j["model_type"] = 2; }, "model_type is 2"},
      {"other type", [](Json& j) { j["model_type"] = "llama"; }, "\"llama\"; \"gpt2\""},
      {"long type", [](Json& j) { j["model_type"] = std::string(10000, 'x'); }, "are accepted"},
      {"no size", [](Json& j) { j.erase("n_embd"); }, "n_embd is null"},
      {"size a text", [](Json& j) { j["n_embd"] = "48"; }, "n_embd is \"48\""},
      {"size a fraction", [](Json& j) { j["n_layer"] = 2.5; }, "n_layer is 2.5"},
      {"size 0", [](Json& j) { j["n_head"] = 0; }, "n_head is 0"},
      {"size negative", [](Json& j) { j["vocab_size"] = -61; }, "vocab_size is -61"},
      {"size hostile", [](Json& j) { j["n_layer"] = int64_t{1} << 62; }, "n_layer is 4611"},
      {"layers hostile", [](Json& j) { j["n_layer"] = 1 << 24; },
       "n_layer is 16777216; a size from 1 to 1000 is"},
      {"size beyond", [](Json& j) { j["n_layer"] = ~uint64_t{0}; }, "n_layer is 1844"},
      {"activation", [](Json& j) { j["activation_function"] = "relu"; }, "activation_function is"},
      {"epsilon", [](Json& j) { j["layer_norm_epsilon"] = 1e-6; }, "layer_norm_epsilon is 1e-06"},
      {"epsilon a text", [](Json& j) { j["layer_norm_epsilon"] = "1e-5"; }, "layer_norm_epsilon"},
      {"scaling", [](Json& j) { j["scale_attn_weights"] = false; }, "scale_attn_weights is false"},
      {"scaling by layer", [](Json& j) { j["scale_attn_by_inverse_layer_idx"] = true; },
       "scale_attn_by_inverse_layer_idx is true"},
      {"cross attention", [](Json& j) { j["add_cross_attention"] = true; }, "add_cross_attention"},
      {"untied", [](Json& j) { j["tie_word_embeddings"] = false; }, "tie_word_embeddings is false"},
      {"dropout", [](Json& j) { j["attn_pdrop"] = 1.5; }, "attn_pdrop is 1.5"},
  };
  const std::vector<BadConfig> bert = {
      {"no size", [](Json& j) { j.erase("hidden_size"); }, "hidden_size is null"},
      {"no feed-forward", [](Json& j) { j.erase("intermediate_size"); },
       "intermediate_size is null"},
      {"size a text", [](Json& j) { j["num_hidden_layers"] = "6"; }, "num_hidden_layers is \"6\""},
      {"size 0", [](Json& j) { j["num_attention_heads"] = 0; }, "num_attention_heads is 0"},
      {"size negative", [](Json& j) { j["vocab_size"] = -1; }, "vocab_size is -1"},
      {"layers hostile", [](Json& j) { j["num_hidden_layers"] = 1 << 24; },
       "num_hidden_layers is 16777216; a size from 1 to 1000 is"},
      {"heads hostile", [](Json& j) { j["num_attention_heads"] = 1 << 24; },
       "num_attention_heads is 16777216"},
      {"size hostile", [](Json& j) { j["max_position_embeddings"] = int64_t{1} << 62; },
       "max_position_embeddings is 4611"},
      {"activation", [](Json& j) { j["hidden_act"] = "gelu_new"; }, "hidden_act is \"gelu_new\""},
      {"types", [](Json& j) { j["type_vocab_size"] = 1; }, "type_vocab_size is 1"},
      {"epsilon", [](Json& j) { j["layer_norm_eps"] = 1e-5; }, "layer_norm_eps is 1e-05"},
      {"positions", [](Json& j) { j["position_embedding_type"] = "relative_key"; },
       "position_embedding_type is \"relative_key\""},
      {"decoder", [](Json& j) { j["is_decoder"] = true; }, "is_decoder is true"},
      {"cross attention", [](Json& j) { j["add_cross_attention"] = true; }, "add_cross_attention"},
      {"untied", [](Json& j) { j["tie_word_embeddings"] = false; }, "tie_word_embeddings is false"},
      {"dropout", [](Json& j) { j["hidden_dropout_prob"] = "0.1"; }, "hidden_dropout_prob is"},
      {"dropout of 1", [](Json& j) { j["attention_probs_dropout_prob"] = 1; },
       "attention_probs_dropout_prob is 1"},
      {"classes a list",
       [](Json& j) {
         j["id2label"] = {"no", "yes"};
       },
       "id2label is [\"no\""},
      {"classes alike",
       [](Json& j) {
         j["id2label"] = {{"0", "yes"}, {"1", "yes"}};
       },
       "id2label calls two classes \"yes\""},
      {"classes a text", [](Json& j) { j["id2label"] = "yes"; }, "id2label is \"yes\""},
      {"a class missing",
       [](Json& j) {
         j["id2label"] = {{"0", "no"}, {"2", "yes"}};
       },
       "id2label[\"1\"] is null"},
      {"classes from 1",
       [](Json& j) {
         j["id2label"] = {{"1", "no"}, {"2", "yes"}};
       },
       "id2label[\"0\"] is null"},
      {"a class a number",
       [](Json& j) {
         j["id2label"] = {{"0", "no"}, {"1", 7}};
       },
       "id2label[\"1\"] is 7"},
  };
  const reference::TemporaryFolder folder;
  const auto message = [&](const std::string& text) {
    std::ofstream(folder.file("config.json"), std::ios::binary) << text;
    return error_of(
        [&] { read_huggingface_config(folder.file("config.json"), [](const auto&) {}); });
  };
  for (const auto& [rows, good] :
       {std::pair(&gpt2, gpt2_config()), std::pair(&bert, bert_config())})
    for (const BadConfig& row : *rows) {
      Json config = good;
      row.change(config);
      const std::string found = message(config.dump());
      EXPECT_NE(found.find(row.message), std::string::npos) << row.name << ": " << found;
      EXPECT_LT(found.size(), 500u) << row.name;
    }
  const std::string text = bert_config().dump();
  for (const auto& [contents, expected] :
       std::vector<std::pair<std::string, std::string>>{{"", "is not JSON"},
                                                        {text.substr(0, 40), "is not JSON"},
                                                        {"[1]", "holds array"},
                                                        {std::string(1000, '['), "nested more"},
                                                        {"{\"a\": 1, \"a\": 2}", "stands twice"}})
    EXPECT_NE(message(contents).find(expected), std::string::npos) << contents;
}

}  // namespace
}  // namespace strobe
