#include "strobe/data/bpe_files.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/json_file.h"
#include "strobe/core/json_text.h"
#include "strobe/data/bpe.h"
#include "strobe/data/pretokenize.h"
#include "strobe/data/tokenizer_json.h"
#include "strobe/data/unicode.h"

namespace strobe {
namespace {

using Json = nlohmann::json;

// Files hold bytes as characters: the printable ones of Latin-1 as themselves, the others as
// U+0100 and on, in gpt2_byte_order().
constexpr size_t printable = 188;

char32_t character_of(size_t order) {
  return order < printable ? gpt2_byte_order()[order]
                           : 256 + static_cast<char32_t>(order - printable);
}

class ByteAlphabet {
 public:
  ByteAlphabet() {
    bytes_.fill(-1);
    for (size_t i = 0; i < 256; ++i) {
      const uint8_t byte = gpt2_byte_order()[i];
      bytes_[character_of(i)] = byte;
      append_utf8(characters_[byte], character_of(i));
    }
  }

  std::string to_characters(std::string_view bytes) const {
    std::string text;
    for (const char byte : bytes) text += characters_[static_cast<uint8_t>(byte)];
    return text;
  }

  // False if a character stands for no byte.
  bool to_bytes(std::string_view text, std::string& bytes) const {
    bytes.clear();
    for (size_t at = 0; at < text.size();) {
      const CodePoint point = decode_utf8(text, at);
      at += point.size;
      if (point.value >= bytes_.size() || bytes_[point.value] < 0) return false;
      bytes.push_back(static_cast<char>(bytes_[point.value]));
    }
    return true;
  }

 private:
  std::array<int16_t, 256 + 256 - printable> bytes_;
  std::array<std::string, 256> characters_;
};

const ByteAlphabet& alphabet() {
  static const ByteAlphabet instance;
  return instance;
}

// What the files of both forms hold, before it is checked.
class Builder {
 public:
  explicit Builder(const std::string& source) : source_(source), tokens_(source) {}

  VocabularyBuilder& tokens() { return tokens_; }

  void add_merge(std::string_view left, std::string_view right) {
    std::array<int32_t, 2> merge;
    const std::array<std::string_view, 2> names{left, right};
    for (size_t i = 0; i < 2; ++i) {
      const std::optional<int64_t> id = tokens_.id_of(names[i]);
      if (!id)
        fail("tokenizer: {}: merge {} names \"{}\", which is not in the vocabulary", source_,
             merges_.size(), brief(names[i]));
      merge[i] = static_cast<int32_t>(*id);
    }
    merges_.push_back(merge);
  }

  // "left right"
  void add_merge(std::string_view line) {
    const size_t space = line.find(' ');
    if (space == 0 || space == line.npos || space + 1 == line.size() ||
        line.find(' ', space + 1) != line.npos)
      fail("tokenizer: {}: merge {} is \"{}\"; two tokens with a space between are accepted",
           source_, merges_.size(), brief(line));
    add_merge(line.substr(0, space), line.substr(space + 1));
  }

  std::unique_ptr<const TokenModel> finish() && {
    BpeVocabulary vocabulary;
    static_cast<Vocabulary&>(vocabulary) = std::move(tokens_).finish([&](const std::string& text) {
      std::string bytes;
      if (!alphabet().to_bytes(text, bytes))
        fail(
            "tokenizer: {}: \"{}\" has a character that stands for no byte; "
            "only byte-level vocabularies are accepted",
            source_, brief(text));
      return bytes;
    });
    vocabulary.merges = std::move(merges_);
    return std::make_unique<ByteLevelBpe>(std::move(vocabulary), source_);
  }

 private:
  std::string source_;
  VocabularyBuilder tokens_;
  std::vector<std::array<int32_t, 2>> merges_;
};

// ByteLevel as GPT-2's, or the same split spelt out and ByteLevel without one.
bool is_gpt2_split(const Json& pre_tokenizer) {
  const auto is_byte_level = [](const Json& step, bool use_regex) {
    const Json& own_split = member(step, "use_regex");  // absent from older files: true
    return is_type(step, "ByteLevel") && member(step, "add_prefix_space") == false &&
           (own_split.is_null() ? use_regex : own_split == use_regex);
  };
  if (is_byte_level(pre_tokenizer, true)) return true;
  const Json& steps = member(pre_tokenizer, "pretokenizers");
  if (!is_type(pre_tokenizer, "Sequence") || !steps.is_array()) return false;
  if (steps.size() == 1) return is_byte_level(steps[0], true);
  return steps.size() == 2 && is_type(steps[0], "Split") &&
         member(member(steps[0], "pattern"), "Regex") == gpt2_pattern &&
         member(steps[0], "behavior") == "Isolated" && member(steps[0], "invert") == false &&
         is_byte_level(steps[1], false);
}

// Fails unless the file asks for nothing but what ByteLevelBpe does.
void check_settings(const std::string& file, const Json& root) {
  const SettingsCheck check(file);
  const Json& model = member(root, "model");
  const auto is_empty = [](const Json& value) { return value.is_null() || value == Json(""); };
  const auto is_false = [](const Json& value) { return value.is_null() || value == false; };
  check.accept(member(root, "normalizer").is_null(), "normalizer", member(root, "normalizer"),
               "null is accepted");
  check.accept(is_gpt2_split(member(root, "pre_tokenizer")), "pre_tokenizer",
               member(root, "pre_tokenizer"),
               "ByteLevel with add_prefix_space false and GPT-2's split is accepted");
  const Json& decoder = member(root, "decoder");
  check.accept(decoder.is_null() || is_type(decoder, "ByteLevel"), "decoder", decoder,
               "ByteLevel is accepted");
  const Json& dropout = member(model, "dropout");
  check.accept(dropout.is_null() || dropout == 0, "model.dropout", dropout, "null is accepted");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    check.accept(is_empty(member(model, key)), key, member(model, key), "null is accepted");
  for (const char* key : {"byte_fallback", "ignore_merges"})
    check.accept(is_false(member(model, key)), key, member(model, key), "false is accepted");
}

}  // namespace

std::unique_ptr<const TokenModel> read_gpt2_files(const std::string& folder) {
  namespace fs = std::filesystem;
  fs::path tokens = fs::path(folder) / "encoder.json", merges = fs::path(folder) / "vocab.bpe";
  if (!fs::exists(tokens) && fs::exists(fs::path(folder) / "vocab.json")) {
    tokens = fs::path(folder) / "vocab.json";
    merges = fs::path(folder) / "merges.txt";
  }
  Builder builder(folder);
  const Json vocabulary = read_json("tokenizer", tokens.string(), largest_tokenizer_file);
  const Json& end = member(vocabulary, end_of_text_token.data());
  if (end.is_number_integer())
    builder.tokens().add_special(std::string(end_of_text_token), end.get<int64_t>());
  builder.tokens().add_vocabulary(vocabulary);

  const std::string text = read_file("tokenizer", merges.string(), largest_tokenizer_file);
  std::string_view rest = text;
  for (bool first = true; !rest.empty(); first = false) {
    const size_t size = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, size);
    rest.remove_prefix(std::min(size + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (first && line.starts_with("#version"))) continue;
    builder.add_merge(line);
  }
  return std::move(builder).finish();
}

std::unique_ptr<const TokenModel> read_bpe_json(const std::string& file, const Json& root) {
  check_settings(file, root);
  Builder builder(file);
  builder.tokens().add_added_tokens(member(root, "added_tokens"));
  const Json& model = member(root, "model");
  builder.tokens().add_vocabulary(member(model, "vocab"));
  const Json& merges = member(model, "merges");
  if (!merges.is_array())
    fail("tokenizer: {}: model.merges is {}; a list is accepted", file, shown(merges));
  for (const Json& merge : merges) {
    if (merge.is_string()) {
      builder.add_merge(merge.get_ref<const std::string&>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      builder.add_merge(merge[0].get_ref<const std::string&>(),
                        merge[1].get_ref<const std::string&>());
    } else {
      fail("tokenizer: {}: merge {}; a pair of tokens or \"left right\" is accepted", file,
           shown(merge));
    }
  }
  return std::move(builder).finish();
}

std::string ByteLevelBpe::to_json() const {
  const auto characters = [](const std::string& bytes) { return alphabet().to_characters(bytes); };
  const auto quoted = [&](int32_t id) {
    return json_quote(characters(vocabulary().tokens[static_cast<size_t>(id)]));
  };
  TokenizerJson parts;
  parts.pre_tokenizer =
      R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})";
  parts.post_processor = parts.decoder = parts.pre_tokenizer;
  parts.model_settings =
      "\"type\": \"BPE\",\n    \"dropout\": null,\n"
      "    \"unk_token\": null,\n    \"continuing_subword_prefix\": null,\n"
      "    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n"
      "    \"ignore_merges\": false";
  parts.model_rest = ",\n    \"merges\": [";
  const char* separator = "";
  for (const auto& [left, right] : merges_) {
    parts.model_rest += fmt::format("{}\n      [{}, {}]", separator, quoted(left), quoted(right));
    separator = ",";
  }
  parts.model_rest += "\n    ]";
  return tokenizer_json(vocabulary(), parts, characters);
}

// Everything is in tokenizer.json.
std::vector<NamedText> ByteLevelBpe::vocabulary_files() const { return {}; }

std::string ByteLevelBpe::config_json(int64_t longest) const {
  std::string text =
      "{\n  \"tokenizer_class\": \"GPT2Tokenizer\",\n  \"add_prefix_space\": false,\n";
  for (const int32_t id : vocabulary().special)
    if (vocabulary().tokens[static_cast<size_t>(id)] == end_of_text_token)
      for (const char* role : {"bos_token", "eos_token", "unk_token"})
        text += fmt::format("  \"{}\": {},\n", role, json_quote(end_of_text_token));
  return text + fmt::format("  \"model_max_length\": {}\n}}\n", longest);
}

}  // namespace strobe
