// The kinds of tokenizer: one line each in tokenizer_kinds.cpp. Nothing else names them.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "strobe/data/tokenizer_model.h"
#include "strobe/data/vocabulary_trainer.h"

namespace strobe {

struct TokenizerKind {
  std::string_view json_type;  // "model"."type" of a tokenizer.json
  std::string_view prefix;     // of a spec that names the kind's own files
  std::string_view files;      // which those are, for people
  /// Whether a path is, or a folder has, the kind's own files.
  bool (*owns)(const std::string& path);
  std::unique_ptr<const TokenModel> (*read_files)(const std::string& path);
  std::unique_ptr<const TokenModel> (*read_json)(const std::string& file,
                                                 const nlohmann::json& root);
};

/// Reads what Tokenizer::load describes.
std::unique_ptr<const TokenModel> read_tokenizer(const std::string& spec);

/// The trainer of a name, "bpe", "wordpiece" (lower-cased) or "wordpiece-cased"; fails on others.
std::unique_ptr<VocabularyTrainer> make_vocabulary_trainer(std::string_view name);

}  // namespace strobe
