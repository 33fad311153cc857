// What the kinds of tokenizer share of Hugging Face's tokenizer.json.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "strobe/data/tokenizer_model.h"

namespace strobe {

inline constexpr int64_t largest_tokenizer_file = int64_t{256} << 20;

/// What a file asks for of which a kind does only some: fails where it is not accepted.
class SettingsCheck {
 public:
  explicit SettingsCheck(std::string file) : file_(std::move(file)) {}
  void accept(bool accepted, const char* key, const nlohmann::json& found, const char* what) const;
  /// A boolean that may be missing.
  bool flag(const nlohmann::json& object, const char* key, bool missing) const;

 private:
  std::string file_;
};

bool is_type(const nlohmann::json& object, const char* type);

/// Tokens with their ids as a file lists them, checked and put in order.
class VocabularyBuilder {
 public:
  explicit VocabularyBuilder(std::string source) : source_(std::move(source)) {}

  /// A token that stands for no text. It may be added again as an ordinary one.
  void add_special(const std::string& text, int64_t id);
  void add(const std::string& text, int64_t id);
  /// The tokens of "added_tokens", all special.
  void add_added_tokens(const nlohmann::json& list);
  /// The tokens of "vocab".
  void add_vocabulary(const nlohmann::json& vocabulary);

  /// The id that an ordinary token was given, whatever it is.
  std::optional<int64_t> id_of(std::string_view text) const;
  /// Gives the tokens their places. `convert` turns an ordinary token from what files hold to what
  /// a Vocabulary does, or fails. Ids must be 0, 1, 2, ... without gaps, so that no number in a
  /// file decides how much is allocated.
  Vocabulary finish(const std::function<std::string(const std::string&)>& convert) &&;

 private:
  struct Token {
    std::string text;
    int64_t id;
    bool special;
  };

  std::string source_;
  std::vector<Token> tokens_;
  std::unordered_map<std::string, int64_t> special_;
  std::unordered_map<std::string, int64_t> ids_;
};

/// The parts of a tokenizer.json; each a JSON value but for the last two, which are lists' insides.
struct TokenizerJson {
  std::string normalizer = "null", pre_tokenizer = "null", post_processor = "null";
  std::string decoder = "null";
  std::string model_settings;  // `"type": "BPE", ...`, without the vocabulary
  std::string model_rest;      // what follows the vocabulary: `, "merges": [...]`
};

/// A tokenizer.json. `text_of` gives an ordinary token as files hold it.
std::string tokenizer_json(const Vocabulary& vocabulary, const TokenizerJson& parts,
                           const std::function<std::string(const std::string&)>& text_of);

bool is_special(const Vocabulary& vocabulary, int32_t id);

}  // namespace strobe
