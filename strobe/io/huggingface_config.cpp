#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "strobe/core/error.h"
#include "strobe/core/json_file.h"
#include "strobe/io/huggingface.h"

namespace strobe {

namespace {

using Json = nlohmann::json;

constexpr int64_t kLargestConfig = 16 << 20;

// A config.json, asked key by key.
class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) {
    root_ = read_json("import", file, kLargestConfig);
    if (!root_.is_object())
      fail("import: {} holds {}; an object as transformers writes is accepted", file,
           root_.type_name());
  }

  const std::string& file() const { return file_; }
  const Json& operator[](const char* key) const { return member(root_, key); }

  int64_t size(const char* key, int64_t largest = int64_t{1} << 24) const {
    const Json& value = (*this)[key];
    if (!value.is_number_integer() || value < 1 || value > largest)
      fail("import: {}: {} is {}; a size from 1 to {} is accepted", file_, key, shown(value),
           largest);
    return value.get<int64_t>();
  }
  /// Of things that each take memory of their own, whatever size they have.
  int64_t count(const char* key) const { return size(key, 1000); }
  int64_t size_or(const char* key, int64_t otherwise) const {
    return (*this)[key].is_null() ? otherwise : size(key);
  }
  double probability_or(const char* key, double otherwise) const {
    const Json& value = (*this)[key];
    if (value.is_null()) return otherwise;
    if (!value.is_number() || !(value >= 0 && value < 1))
      fail("import: {}: {} is {}; a probability in [0, 1) is accepted", file_, key, shown(value));
    return value.get<double>();
  }
  /// Fails unless the key is absent or has one of the values.
  void expect(const char* key, std::initializer_list<Json> accepted) const {
    const Json& value = (*this)[key];
    if (value.is_null()) return;
    std::string list;
    for (const Json& one : accepted) {
      if (value == one) return;
      list += (list.empty() ? "" : ", ") + one.dump();
    }
    fail("import: {}: {} is {}; strobe's model computes with {}", file_, key, shown(value), list);
  }
  void expect_near(const char* key, double accepted) const {
    const Json& value = (*this)[key];
    if (value.is_null()) return;
    if (!value.is_number() || std::abs(value.get<double>() - accepted) > accepted * 1e-6)
      fail("import: {}: {} is {}; strobe's model computes with {}", file_, key, shown(value),
           accepted);
  }

 private:
  std::string file_;
  Json root_;
};

using Note = std::function<void(const std::string&)>;

// Where transformers has a probability of dropout; the first of a model is model.dropout, and a
// site that differs from it keeps its own.
struct DropoutSite {
  const char* key;
  std::optional<double> ModelConfig::*own;
};
constexpr DropoutSite kGpt2Sites[] = {{"resid_pdrop", &ModelConfig::dropout_residual},
                                      {"embd_pdrop", &ModelConfig::dropout_embedding},
                                      {"attn_pdrop", &ModelConfig::dropout_attention}};
constexpr DropoutSite kBertSites[] = {
    {"hidden_dropout_prob", &ModelConfig::dropout_residual},
    {"attention_probs_dropout_prob", &ModelConfig::dropout_attention}};

void read_dropout(const Reader& reader, std::span<const DropoutSite> sites, ModelConfig& model) {
  model.dropout = reader.probability_or(sites[0].key, 0.1);
  for (const DropoutSite& site : sites.subspan(1))
    if (const double p = reader.probability_or(site.key, 0.1); p != model.dropout)
      model.*site.own = p;
}

double dropout_at(const DropoutSite& site, const ModelConfig& model) {
  return (model.*site.own).value_or(model.dropout);
}

void read_gpt2(const Reader& reader, Config& config, const Note&) {
  ModelConfig& model = config.model;
  model.vocab = reader.size("vocab_size");
  model.context = reader.size_or("n_positions", reader.size_or("n_ctx", 1024));
  model.channels = reader.size("n_embd");
  model.layers = reader.count("n_layer");
  model.heads = reader.count("n_head");
  model.feed_forward = reader.size_or("n_inner", 0);
  read_dropout(reader, kGpt2Sites, model);
  reader.expect("activation_function", {"gelu_new", "gelu_pytorch_tanh"});
  reader.expect_near("layer_norm_epsilon", 1e-5);
  reader.expect("scale_attn_weights", {true});
  reader.expect("scale_attn_by_inverse_layer_idx", {false});
  reader.expect("add_cross_attention", {false});
  reader.expect("tie_word_embeddings", {true});
}

// The names of the classes, as [texts] has them; "" where there are none.
std::string read_classes(const Reader& reader, const Note& note) {
  const Json &names = reader["id2label"], &numbers = reader["label2id"];
  if (names.is_null()) return "";
  if (!names.is_object())
    fail("import: {}: id2label is {}; an object of names by number is accepted", reader.file(),
         shown(names));
  std::string out;
  std::set<std::string> seen;
  for (size_t i = 0; i < names.size(); ++i) {
    const Json& name = member(names, std::to_string(i).c_str());
    if (!name.is_string())
      fail("import: {}: id2label[\"{}\"] is {}; a name for each number from 0 is accepted",
           reader.file(), i, shown(name));
    const auto text = name.get<std::string>();
    if (text.empty() || text.find('|') != std::string::npos) {
      note(
          fmt::format("{}: the class {} is called {}, which strobe cannot write down; classes go "
                      "by their numbers",
                      reader.file(), i, shown(name)));
      return "";
    }
    if (!seen.insert(text).second)
      fail("import: {}: id2label calls two classes {}; a name for each is accepted", reader.file(),
           shown(name));
    if (const Json& back = member(numbers, text.c_str()); !back.is_null() && back != i)
      note(fmt::format("{}: label2id[{}] is {}, id2label says {}", reader.file(), shown(name),
                       shown(back), i));
    out += (i ? "|" : "") + text;
  }
  return out;
}

void read_bert(const Reader& reader, Config& config, const Note& note) {
  ModelConfig& model = config.model;
  config.texts.classes = read_classes(reader, note);
  model.vocab = reader.size("vocab_size");
  model.context = reader.size_or("max_position_embeddings", 512);
  model.channels = reader.size("hidden_size");
  model.layers = reader.count("num_hidden_layers");
  model.heads = reader.count("num_attention_heads");
  model.feed_forward = reader.size("intermediate_size");
  read_dropout(reader, kBertSites, model);
  if (reader.probability_or("classifier_dropout", model.dropout) != model.dropout)
    note(
        fmt::format("{}: classifier_dropout differs from hidden_dropout_prob; the classifier's is "
                    "model.dropout_residual",
                    reader.file()));
  reader.expect("problem_type", {"single_label_classification", "regression"});
  reader.expect("hidden_act", {"gelu"});
  reader.expect("type_vocab_size", {2});
  reader.expect_near("layer_norm_eps", 1e-12);
  reader.expect("position_embedding_type", {"absolute"});
  reader.expect("is_decoder", {false});
  reader.expect("add_cross_attention", {false});
  reader.expect("tie_word_embeddings", {true});
}

std::string gpt2_config(const Config& config, int32_t end_of_text) {
  const ModelConfig& m = config.model;
  if (m.kv_heads > 0 && m.kv_heads != m.heads)
    fail(
        "export: the model has {} key-value heads for {} heads; transformers' GPT-2 has as many as "
        "heads",
        m.kv_heads, m.heads);
  nlohmann::ordered_json json;
  json["architectures"] = {"GPT2LMHeadModel"};
  json["model_type"] = "gpt2";
  json["activation_function"] = "gelu_new";
  for (const DropoutSite& site : kGpt2Sites) json[site.key] = dropout_at(site, m);
  for (const char* key : {"bos_token_id", "eos_token_id"}) {
    if (end_of_text >= 0)
      json[key] = end_of_text;
    else
      json[key] = nullptr;
  }
  json["initializer_range"] = 0.02;
  json["layer_norm_epsilon"] = 1e-5;
  json["n_ctx"] = m.context;
  json["n_embd"] = m.channels;
  json["n_head"] = m.heads;
  if (m.feed_forward > 0)
    json["n_inner"] = m.feed_forward;
  else
    json["n_inner"] = nullptr;
  json["n_layer"] = m.layers;
  json["n_positions"] = m.context;
  json["reorder_and_upcast_attn"] = false;
  json["scale_attn_by_inverse_layer_idx"] = false;
  json["scale_attn_weights"] = true;
  json["tie_word_embeddings"] = true;
  json["use_cache"] = true;
  json["vocab_size"] = m.vocab;
  json["dtype"] = "float32";        // transformers 5 ...
  json["torch_dtype"] = "float32";  // ... and before
  return json.dump(2) + "\n";
}

std::string read_bert_head(const Reader& reader, const HuggingFaceWeights& weights,
                           Config& config) {
  ModelConfig& model = config.model;
  model.pooler = !weights.shape("bert.pooler.dense.weight").empty();
  const std::vector<int64_t> classifier = weights.shape("classifier.weight");
  if (!classifier.empty()) {
    model.head = classifier[0] == 1 ? "regression" : "classification";
    model.classes = std::max<int64_t>(2, classifier[0]);
  } else {
    const bool words = !weights.shape("cls.predictions.transform.dense.weight").empty();
    model.head = words ? "lm" : "none";
  }
  std::string& classes = config.texts.classes;
  if (model.head != "classification") classes.clear();
  if (classifier.empty()) return "";
  // Those of tokens and of multiple choices have the same names and shapes.
  const Json& architectures = reader["architectures"];
  constexpr const char* kOfTexts = "BertForSequenceClassification";
  if (architectures.is_array() && !architectures.empty() &&
      std::ranges::find(architectures, Json(kOfTexts)) == architectures.end())
    return fmt::format("{}: the classifier is that of {}; one of {} is accepted", reader.file(),
                       shown(architectures[0]), kOfTexts);
  if (reader["problem_type"] == "regression" && classifier[0] > 1)
    return fmt::format(
        "{}: problem_type is regression and the classifier has {} outputs; one is "
        "accepted",
        reader.file(), classifier[0]);
  const auto named = std::count(classes.begin(), classes.end(), '|') + 1;
  if (!classes.empty() && named != model.classes)
    return fmt::format("{}: id2label names {} classes, the classifier has {}", reader.file(), named,
                       model.classes);
  return "";
}

std::string bert_config(const Config& config, int32_t) {
  const ModelConfig& m = config.model;
  nlohmann::ordered_json json;
  const bool classifies = m.head == "classification" || m.head == "regression";
  json["architectures"] = {m.head == "lm" ? "BertForMaskedLM"
                           : classifies   ? "BertForSequenceClassification"
                                          : "BertModel"};
  if (classifies) {
    const int64_t count = m.head == "regression" ? 1 : m.classes;
    json["problem_type"] = m.head == "regression" ? "regression" : "single_label_classification";
    // Names with | between them, see [texts].
    std::string names = config.texts.classes;
    for (int64_t i = 0; i < count; ++i) {
      const std::string name = names.substr(0, names.find('|'));
      names.erase(0, std::min(names.size(), name.size() + 1));
      const std::string label = name.empty() ? fmt::format("LABEL_{}", i) : name;
      json["id2label"][fmt::format("{}", i)] = label;
      json["label2id"][label] = i;
    }
  }
  json["model_type"] = "bert";
  for (const DropoutSite& site : kBertSites) json[site.key] = dropout_at(site, m);
  json["hidden_act"] = "gelu";
  json["hidden_size"] = m.channels;
  json["initializer_range"] = 0.02;
  json["intermediate_size"] = m.feed_forward > 0 ? m.feed_forward : 4 * m.channels;
  json["layer_norm_eps"] = 1e-12;
  json["max_position_embeddings"] = m.context;
  json["num_attention_heads"] = m.heads;
  json["num_hidden_layers"] = m.layers;
  json["pad_token_id"] = 0;
  json["position_embedding_type"] = "absolute";
  json["tie_word_embeddings"] = true;
  json["type_vocab_size"] = 2;
  json["vocab_size"] = m.vocab;
  json["dtype"] = "float32";
  json["torch_dtype"] = "float32";
  return json.dump(2) + "\n";
}

struct ConfigKind {
  std::string_view kind;
  void (*read)(const Reader&, Config&, const Note&);
  std::string (*write)(const Config&, int32_t end_of_text);
  std::string (*read_head)(const Reader&, const HuggingFaceWeights&, Config&);
};

constexpr std::array<ConfigKind, 2> kKinds{
    {{"gpt2", read_gpt2, gpt2_config,
      [](const Reader&, const HuggingFaceWeights&, Config&) { return std::string(); }},
     {"bert", read_bert, bert_config, read_bert_head}}};

const ConfigKind& config_kind(std::string_view kind, const std::string& where) {
  const std::string_view known = huggingface_family(kind, where).kind;
  for (const ConfigKind& one : kKinds)
    if (one.kind == known) return one;
  fail("{}: no config.json of the kind {}", where, kind);
}

}  // namespace

Config read_huggingface_config(const std::string& file,
                               const std::function<void(const std::string&)>& note) {
  const Reader reader(file);
  const Json& type = reader["model_type"];
  if (!type.is_string())
    fail("import: {}: model_type is {}; \"gpt2\" for example is accepted", file, shown(type));
  Config config;
  config.model.kind = type.get<std::string>();
  config_kind(brief(config.model.kind), "import: " + file).read(reader, config, note);
  return config;
}

std::string huggingface_config(const Config& config, int32_t end_of_text) {
  return config_kind(config.model.kind, "export").write(config, end_of_text);
}

std::string read_huggingface_head(const HuggingFaceWeights& weights, const std::string& config_json,
                                  Config& config) {
  return config_kind(config.model.kind, "import").read_head(Reader(config_json), weights, config);
}

}  // namespace strobe
