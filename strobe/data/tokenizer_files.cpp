#include "strobe/data/tokenizer_files.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/data/bpe.h"
#include "strobe/data/pretokenize.h"
#include "strobe/data/tokenizer.h"
#include "strobe/data/unicode.h"

namespace strobe {
namespace {

using Json = nlohmann::json;

constexpr int64_t largest_file = int64_t{256} << 20;
constexpr size_t deepest = 32;

// What a message quotes of a file's own text, which may be of any length.
std::string_view brief(std::string_view text) {
  text = text.substr(0, 160);
  return text.substr(0, find_ill_formed(text));
}

// Parses JSON; unlike the library's own reading, a key that stands twice in an object is an error.
Json parse(const std::string& file) {
  std::vector<std::unordered_set<std::string>> keys;
  size_t depth = 0;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start)
      if (++depth > deepest) fail("tokenizer: {}: nested more than {} deep", file, deepest);
    if (event == Event::object_end || event == Event::array_end) --depth;
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second)
        fail("tokenizer: {}: \"{}\" stands twice", file, brief(key));
    }
    return true;
  };
  try {
    return Json::parse(read_file("tokenizer", file, largest_file), watch);
  } catch (const Json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line ..." without the bracket.
    const std::string_view what = error.what();
    fail("tokenizer: {} is not JSON: {}", file, brief(what.substr(what.find(']') + 2)));
  }
}

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

// What the files of both forms hold, before it is checked.
class Builder {
 public:
  explicit Builder(std::string source) : source_(std::move(source)) {}

  // `special` tokens are text as it stands, the others characters of the byte alphabet.
  void add_special(const std::string& text, int64_t id) {
    if (!special_.emplace(text, id).second)
      fail("tokenizer: {}: the added token \"{}\" stands twice", source_, brief(text));
    tokens_.push_back({text, id, true});
  }

  void add_vocabulary(const Json& vocabulary) {
    if (!vocabulary.is_object())
      fail("tokenizer: {}: the vocabulary is of type {}; an object of token and id is accepted",
           source_, vocabulary.type_name());
    for (const auto& [text, id] : vocabulary.items()) {
      if (!id.is_number_integer())
        fail("tokenizer: {}: the id of \"{}\" is of type {}; an integer is accepted", source_,
             brief(text), id.type_name());
      add_token(text, id.get<int64_t>());
    }
  }

  void add_merge(std::string_view left, std::string_view right) {
    std::array<int32_t, 2> merge;
    const std::array<std::string_view, 2> names{left, right};
    for (size_t i = 0; i < 2; ++i) {
      const auto found = ids_.find(std::string(names[i]));
      if (found == ids_.end())
        fail("tokenizer: {}: merge {} names \"{}\", which is not in the vocabulary", source_,
             merges_.size(), brief(names[i]));
      merge[i] = static_cast<int32_t>(found->second);
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

  // Ids must be 0, 1, 2, ... without gaps, so no number in the file decides how much is allocated.
  Vocabulary finish() && {
    Vocabulary vocabulary;
    const int64_t count = static_cast<int64_t>(tokens_.size());
    vocabulary.tokens.resize(tokens_.size());
    std::vector<bool> taken(tokens_.size());
    for (Token& token : tokens_) {
      if (token.id < 0 || token.id >= count)
        fail("tokenizer: {}: \"{}\" has id {}; the ids of {} tokens are 0 to {}, without gaps",
             source_, brief(token.text), token.id, count, count - 1);
      if (taken[token.id])
        fail("tokenizer: {}: id {} stands for \"{}\" and another token", source_, token.id,
             brief(token.text));
      taken[token.id] = true;
      std::string& bytes = vocabulary.tokens[token.id];
      if (token.special) {
        bytes = std::move(token.text);
      } else if (!alphabet_.to_bytes(token.text, bytes)) {
        fail(
            "tokenizer: {}: \"{}\" has a character that stands for no byte; "
            "only byte-level vocabularies are accepted",
            source_, brief(token.text));
      }
    }
    vocabulary.merges = std::move(merges_);
    for (const auto& [text, id] : special_) vocabulary.special.push_back(static_cast<int32_t>(id));
    std::sort(vocabulary.special.begin(), vocabulary.special.end());
    return vocabulary;
  }

 private:
  struct Token {
    std::string text;
    int64_t id;
    bool special;
  };

  void add_token(const std::string& text, int64_t id) {
    // An added token may stand in the vocabulary too.
    const auto special = special_.find(text);
    if (special != special_.end() && special->second == id) return;
    tokens_.push_back({text, id, false});
    ids_.emplace(text, id);
  }

  std::string source_;
  ByteAlphabet alphabet_;
  std::vector<Token> tokens_;
  std::unordered_map<std::string, int64_t> special_;
  std::unordered_map<std::string, int64_t> ids_;  // of what merges may name
  std::vector<std::array<int32_t, 2>> merges_;
};

// A member of an object, null if it is not there.
const Json& member(const Json& object, const char* key) {
  static const Json null;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? null : *found;
}

bool is_type(const Json& object, const char* type) { return member(object, "type") == type; }

// How a value looks in a message.
std::string shown(const Json& value) {
  return std::string(brief(value.dump(-1, ' ', false, Json::error_handler_t::replace)));
}

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
  if (!root.is_object())
    fail("tokenizer: {} holds {}; an object as Hugging Face's tokenizers writes is accepted", file,
         root.type_name());
  const auto accept = [&](bool accepted, const char* key, const Json& found, const char* what) {
    if (!accepted) fail("tokenizer: {}: {} is {}; {}", file, key, shown(found), what);
  };
  const Json& model = member(root, "model");
  const auto is_empty = [](const Json& value) { return value.is_null() || value == ""; };
  const auto is_false = [](const Json& value) { return value.is_null() || value == false; };
  accept(member(root, "version") == "1.0", "version", member(root, "version"),
         "\"1.0\" is accepted");
  accept(is_type(model, "BPE"), "model.type", member(model, "type"), "\"BPE\" is accepted");
  accept(member(root, "normalizer").is_null(), "normalizer", member(root, "normalizer"),
         "null is accepted");
  accept(is_gpt2_split(member(root, "pre_tokenizer")), "pre_tokenizer",
         member(root, "pre_tokenizer"),
         "ByteLevel with add_prefix_space false and GPT-2's split is accepted");
  const Json& decoder = member(root, "decoder");
  accept(decoder.is_null() || is_type(decoder, "ByteLevel"), "decoder", decoder,
         "ByteLevel is accepted");
  const Json& dropout = member(model, "dropout");
  accept(dropout.is_null() || dropout == 0, "model.dropout", dropout, "null is accepted");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    accept(is_empty(member(model, key)), key, member(model, key), "null is accepted");
  for (const char* key : {"byte_fallback", "ignore_merges"})
    accept(is_false(member(model, key)), key, member(model, key), "false is accepted");
}

std::string quoted(const std::string& text) { return Json(text).dump(); }

}  // namespace

Vocabulary read_gpt2_files(const std::string& folder) {
  namespace fs = std::filesystem;
  fs::path tokens = fs::path(folder) / "encoder.json", merges = fs::path(folder) / "vocab.bpe";
  if (!fs::exists(tokens) && fs::exists(fs::path(folder) / "vocab.json")) {
    tokens = fs::path(folder) / "vocab.json";
    merges = fs::path(folder) / "merges.txt";
  }
  Builder builder(folder);
  const Json vocabulary = parse(tokens.string());
  const Json& end = member(vocabulary, end_of_text_token.data());
  if (end.is_number_integer())
    builder.add_special(std::string(end_of_text_token), end.get<int64_t>());
  builder.add_vocabulary(vocabulary);

  const std::string text = read_file("tokenizer", merges.string(), largest_file);
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

Vocabulary read_tokenizer_json(const std::string& file) {
  if (!std::filesystem::exists(file))
    fail("tokenizer: no file {}; a Hugging Face tokenizer.json or gpt2:DIR is accepted", file);
  const Json root = parse(file);
  check_settings(file, root);
  Builder builder(file);
  const Json& added = member(root, "added_tokens");
  if (!added.is_null() && !added.is_array())
    fail("tokenizer: {}: added_tokens is {}; a list is accepted", file, shown(added));
  for (const Json& token : added) {
    const Json& content = member(token, "content");
    const Json& id = member(token, "id");
    if (!content.is_string() || content == "" || !id.is_number_integer())
      fail(
          "tokenizer: {}: added token {}; one with a string \"content\" and an integer \"id\" is "
          "accepted",
          file, shown(token));
    builder.add_special(content.get<std::string>(), id.get<int64_t>());
  }
  const Json& model = member(root, "model");
  builder.add_vocabulary(member(model, "vocab"));
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

void write_tokenizer_json(const std::string& file, const Vocabulary& vocabulary) {
  const ByteAlphabet alphabet;
  const std::string byte_level =
      R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})";
  const auto shown_token = [&](int32_t id) {
    const bool special =
        std::binary_search(vocabulary.special.begin(), vocabulary.special.end(), id);
    return quoted(special ? vocabulary.tokens[id] : alphabet.to_characters(vocabulary.tokens[id]));
  };
  // The order of keys is Hugging Face's: `tokenizers` reads "model" by its "type", which is first.
  std::string text = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n";
  text += "  \"added_tokens\": [";
  const char* separator = "";
  for (const int32_t id : vocabulary.special) {
    text += fmt::format(
        "{}\n    {{\"id\": {}, \"content\": {}, \"single_word\": false, \"lstrip\": false, "
        "\"rstrip\": false, \"normalized\": false, \"special\": true}}",
        separator, id, shown_token(id));
    separator = ",";
  }
  text += fmt::format(
      "\n  ],\n  \"normalizer\": null,\n  \"pre_tokenizer\": {0},\n  \"post_processor\": {0},\n"
      "  \"decoder\": {0},\n  \"model\": {{\n    \"type\": \"BPE\",\n    \"dropout\": null,\n"
      "    \"unk_token\": null,\n    \"continuing_subword_prefix\": null,\n"
      "    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n"
      "    \"ignore_merges\": false,\n    \"vocab\": {{",
      byte_level);
  separator = "";
  for (int32_t id = 0; id < static_cast<int32_t>(vocabulary.tokens.size()); ++id) {
    text += fmt::format("{}\n      {}: {}", separator, shown_token(id), id);
    separator = ",";
  }
  text += "\n    },\n    \"merges\": [";
  separator = "";
  for (const auto& [left, right] : vocabulary.merges) {
    text += fmt::format("{}\n      [{}, {}]", separator, shown_token(left), shown_token(right));
    separator = ",";
  }
  text += "\n    ]\n  }\n}\n";
  write_file("tokenizer", file, text);
}

}  // namespace strobe
