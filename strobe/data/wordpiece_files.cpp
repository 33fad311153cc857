#include "strobe/data/wordpiece_files.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/json_file.h"
#include "strobe/core/json_text.h"
#include "strobe/data/tokenizer_json.h"
#include "strobe/data/unicode.h"
#include "strobe/data/wordpiece.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

bool names_a_special_token(std::string_view token) {
  return std::ranges::find(bert_special_tokens, token) != std::end(bert_special_tokens);
}

bool has_capital(const Vocabulary& vocabulary) {
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id)
    if (!is_special(vocabulary, static_cast<int32_t>(id)) &&
        std::ranges::any_of(vocabulary.tokens[id], [](char c) { return c >= 'A' && c <= 'Z'; }))
      return true;
  return false;
}

std::string yes_no(bool on) { return on ? "true" : "false"; }
std::string yes_no(std::optional<bool> on) { return on ? yes_no(*on) : "null"; }

std::optional<bool> strip_accents_in(const SettingsCheck& check, const Json& object) {
  if (member(object, "strip_accents").is_null()) return std::nullopt;
  return check.flag(object, "strip_accents", false);
}

void read_config(const std::string& file, BertNormalizerSettings& settings) {
  const SettingsCheck check(file);
  const Json root = read_json("tokenizer", file, 1 << 24);
  settings.lowercase = check.flag(root, "do_lower_case", settings.lowercase);
  settings.handle_chinese_chars = check.flag(root, "tokenize_chinese_chars", true);
  settings.strip_accents = strip_accents_in(check, root);
}

std::string text_member(const SettingsCheck& check, const Json& object, const char* key,
                        const char* missing) {
  const Json& value = member(object, key);
  check.accept(value.is_null() || (value.is_string() && value != Json("")), key, value,
               "a text is accepted");
  return value.is_null() ? missing : value.get<std::string>();
}

}  // namespace

std::unique_ptr<const TokenModel> read_bert_files(const std::string& path) {
  const fs::path file = fs::is_directory(path) ? fs::path(path) / "vocab.txt" : fs::path(path);
  const std::string text = read_file("tokenizer", file.string(), largest_tokenizer_file);
  if (find_ill_formed(text) != text.size())
    fail("tokenizer: {}: line {} is not UTF-8", file.string(),
         1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(find_ill_formed(text)),
                        '\n'));
  WordPieceVocabulary vocabulary;
  std::unordered_map<std::string, size_t> lines;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t size = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, size);
    rest.remove_prefix(std::min(size + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t number = vocabulary.tokens.size() + 1;
    const auto [known, is_new] = lines.emplace(line, number);
    if (!is_new)
      fail("tokenizer: {}: lines {} and {} are the same token \"{}\"", file.string(), known->second,
           number, brief(line));
    if (names_a_special_token(line))
      vocabulary.special.push_back(static_cast<int32_t>(vocabulary.tokens.size()));
    vocabulary.tokens.emplace_back(line);
  }
  vocabulary.normalizer.lowercase = !has_capital(vocabulary);
  const fs::path config = file.parent_path() / "tokenizer_config.json";
  if (fs::exists(config)) read_config(config.string(), vocabulary.normalizer);
  return std::make_unique<WordPiece>(std::move(vocabulary), file.string());
}

std::unique_ptr<const TokenModel> read_wordpiece_json(const std::string& file, const Json& root) {
  const SettingsCheck check(file);
  WordPieceVocabulary vocabulary;
  BertNormalizerSettings& settings = vocabulary.normalizer;
  const Json& normalizer = member(root, "normalizer");
  if (normalizer.is_null()) {
    settings = {false, false, false, false};
  } else {
    check.accept(is_type(normalizer, "BertNormalizer"), "normalizer", normalizer,
                 "BertNormalizer or null is accepted");
    settings.clean_text = check.flag(normalizer, "clean_text", true);
    settings.handle_chinese_chars = check.flag(normalizer, "handle_chinese_chars", true);
    settings.strip_accents = strip_accents_in(check, normalizer);
    settings.lowercase = check.flag(normalizer, "lowercase", true);
  }
  const Json& pre_tokenizer = member(root, "pre_tokenizer");
  check.accept(is_type(pre_tokenizer, "BertPreTokenizer"), "pre_tokenizer", pre_tokenizer,
               "BertPreTokenizer is accepted");
  const Json& decoder = member(root, "decoder");
  check.accept(decoder.is_null() || is_type(decoder, "WordPiece"), "decoder", decoder,
               "WordPiece is accepted");
  vocabulary.cleanup = check.flag(decoder, "cleanup", true);

  const Json& model = member(root, "model");
  vocabulary.unknown = text_member(check, model, "unk_token", "[UNK]");
  vocabulary.prefix = text_member(check, model, "continuing_subword_prefix", "##");
  const std::string decoded = text_member(check, decoder, "prefix", vocabulary.prefix.c_str());
  check.accept(decoded == vocabulary.prefix, "decoder", decoder, "the model's prefix is accepted");
  const Json& longest = member(model, "max_input_chars_per_word");
  check.accept(longest.is_null() || (longest.is_number_unsigned() &&
                                     longest <= WordPiece::most_characters && longest > 0),
               "model.max_input_chars_per_word", longest, "1 to 10000 is accepted");
  if (!longest.is_null()) vocabulary.longest_word = longest.get<int64_t>();

  VocabularyBuilder tokens(file);
  tokens.add_added_tokens(member(root, "added_tokens"));
  tokens.add_vocabulary(member(model, "vocab"));
  static_cast<Vocabulary&>(vocabulary) =
      std::move(tokens).finish([](const std::string& text) { return text; });
  return std::make_unique<WordPiece>(std::move(vocabulary), file);
}

std::string WordPiece::to_json() const {
  const BertNormalizerSettings& s = normalizer_.settings();
  const auto& tokens = vocabulary().tokens;
  TokenizerJson parts;
  parts.normalizer = fmt::format(
      R"({{"type": "BertNormalizer", "clean_text": {}, "handle_chinese_chars": {}, "strip_accents": {}, "lowercase": {}}})",
      s.clean_text, s.handle_chinese_chars, yes_no(s.strip_accents), s.lowercase);
  parts.pre_tokenizer = R"({"type": "BertPreTokenizer"})";
  parts.decoder = fmt::format(R"({{"type": "WordPiece", "prefix": {}, "cleanup": {}}})",
                              json_quote(prefix_), cleanup_);
  const auto cls = std::ranges::find(tokens, "[CLS]"), sep = std::ranges::find(tokens, "[SEP]");
  if (cls != tokens.end() && sep != tokens.end()) {
    const auto special = [&](const char* name, const auto& at) {
      return fmt::format(R"("{0}": {{"id": "{0}", "ids": [{1}], "tokens": ["{0}"]}})", name,
                         at - tokens.begin());
    };
    const auto piece = [](const char* kind, const char* id, int type) {
      return fmt::format(R"({{"{}": {{"id": "{}", "type_id": {}}}}})", kind, id, type);
    };
    const std::string first = piece("SpecialToken", "[CLS]", 0) + ", " + piece("Sequence", "A", 0) +
                              ", " + piece("SpecialToken", "[SEP]", 0);
    parts.post_processor = fmt::format(
        R"({{"type": "TemplateProcessing", "single": [{0}], "pair": [{0}, {1}, {2}], "special_tokens": {{{3}, {4}}}}})",
        first, piece("Sequence", "B", 1), piece("SpecialToken", "[SEP]", 1), special("[CLS]", cls),
        special("[SEP]", sep));
  }
  parts.model_settings = fmt::format(
      "\"type\": \"WordPiece\",\n    \"unk_token\": {},\n    \"continuing_subword_prefix\": {},\n"
      "    \"max_input_chars_per_word\": {}",
      json_quote(unknown_), json_quote(prefix_), longest_word_);
  return tokenizer_json(vocabulary(), parts, [](const std::string& text) { return text; });
}

std::vector<NamedText> WordPiece::vocabulary_files() const {
  std::string text;
  for (const std::string& token : vocabulary().tokens) {
    if (token.find_first_of("\r\n") != token.npos) return {};  // tokenizer.json alone can hold it
    text += token + '\n';
  }
  return {{"vocab.txt", text}};
}

std::string WordPiece::config_json(int64_t longest) const {
  const BertNormalizerSettings& s = normalizer_.settings();
  std::string text = "{\n  \"tokenizer_class\": \"BertTokenizer\",\n";
  for (const auto& [role, token] : {std::pair{"pad_token", "[PAD]"},
                                    {"unk_token", "[UNK]"},
                                    {"cls_token", "[CLS]"},
                                    {"sep_token", "[SEP]"},
                                    {"mask_token", "[MASK]"}})
    if (std::ranges::find(vocabulary().tokens, token) != vocabulary().tokens.end())
      text += fmt::format("  \"{}\": \"{}\",\n", role, token);
  return text + fmt::format(
                    "  \"do_lower_case\": {},\n  \"strip_accents\": {},\n"
                    "  \"tokenize_chinese_chars\": {},\n  \"model_max_length\": {}\n}}\n",
                    s.lowercase, yes_no(s.strip_accents), s.handle_chinese_chars, longest);
}

}  // namespace strobe
