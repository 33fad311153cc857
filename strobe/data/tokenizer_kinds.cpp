#include "strobe/data/tokenizer_kinds.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/core/json_file.h"
#include "strobe/data/bpe_files.h"
#include "strobe/data/bpe_train.h"
#include "strobe/data/tokenizer_json.h"
#include "strobe/data/wordpiece_files.h"
#include "strobe/data/wordpiece_train.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

bool has(const std::string& folder, const char* file) {
  return fs::exists(fs::path(folder) / file);
}

const TokenizerKind kinds[] = {
    {"BPE", "gpt2:", "encoder.json and vocab.bpe, or vocab.json and merges.txt",
     [](const std::string& path) {
       return (has(path, "encoder.json") && has(path, "vocab.bpe")) ||
              (has(path, "vocab.json") && has(path, "merges.txt"));
     },
     read_gpt2_files, read_bpe_json},
    {"WordPiece", "bert:", "vocab.txt",
     [](const std::string& path) {
       return fs::path(path).extension() == ".txt" || has(path, "vocab.txt");
     },
     read_bert_files, read_wordpiece_json},
};

struct Trainer {
  std::string_view name;
  std::unique_ptr<VocabularyTrainer> (*make)();
};

const Trainer trainers[] = {
    {"bpe", []() -> std::unique_ptr<VocabularyTrainer> { return std::make_unique<BpeTrainer>(); }},
    {"wordpiece",
     []() -> std::unique_ptr<VocabularyTrainer> {
       return std::make_unique<WordPieceTrainer>(BertNormalizerSettings{});
     }},
    {"wordpiece-cased",
     []() -> std::unique_ptr<VocabularyTrainer> {
       return std::make_unique<WordPieceTrainer>(
           BertNormalizerSettings{true, true, std::nullopt, false});
     }},
};

std::unique_ptr<const TokenModel> read_tokenizer_json(const std::string& file) {
  const nlohmann::json root = read_json("tokenizer", file, largest_tokenizer_file);
  if (!root.is_object())
    fail("tokenizer: {} holds {}; an object as Hugging Face's tokenizers writes is accepted", file,
         root.type_name());
  const SettingsCheck check(file);
  check.accept(member(root, "version") == "1.0", "version", member(root, "version"),
               "\"1.0\" is accepted");
  const nlohmann::json& type = member(member(root, "model"), "type");
  for (const TokenizerKind& kind : kinds)
    if (type == kind.json_type) return kind.read_json(file, root);
  check.accept(false, "model.type", type, "\"BPE\" and \"WordPiece\" are accepted");
  return nullptr;
}

}  // namespace

std::unique_ptr<const TokenModel> read_tokenizer(const std::string& spec) {
  for (const TokenizerKind& kind : kinds)
    if (spec.starts_with(kind.prefix)) return kind.read_files(spec.substr(kind.prefix.size()));
  if (!fs::exists(spec))
    fail(
        "tokenizer: no file {}; a Hugging Face tokenizer.json, a folder with one, gpt2:DIR (with "
        "{}) or bert:DIR (with {}) is accepted",
        spec, kinds[0].files, kinds[1].files);
  const std::string json = fs::is_directory(spec) ? spec + "/tokenizer.json" : spec;
  if (!fs::is_directory(spec) || !fs::exists(json))
    for (const TokenizerKind& kind : kinds)
      if (kind.owns(spec)) return kind.read_files(spec);
  if (!fs::exists(json))
    fail("tokenizer: {} has no tokenizer.json, nor {}, nor {}", spec, kinds[0].files,
         kinds[1].files);
  return read_tokenizer_json(json);
}

std::unique_ptr<VocabularyTrainer> make_vocabulary_trainer(std::string_view name) {
  std::string known;
  for (const Trainer& trainer : trainers) {
    if (name == trainer.name) return trainer.make();
    known += fmt::format("{}{}", known.empty() ? "" : ", ", trainer.name);
  }
  fail("tokenizer train: '{}' is no kind of tokenizer; {} are", name, known);
}

}  // namespace strobe
