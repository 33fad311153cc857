#include "strobe/data/tokenizer_json.h"

#include <algorithm>

#include "strobe/core/error.h"
#include "strobe/core/json_file.h"
#include "strobe/core/json_text.h"

namespace strobe {

using Json = nlohmann::json;

void SettingsCheck::accept(bool accepted, const char* key, const Json& found,
                           const char* what) const {
  if (!accepted) fail("tokenizer: {}: {} is {}; {}", file_, key, shown(found), what);
}

bool SettingsCheck::flag(const Json& object, const char* key, bool missing) const {
  const Json& value = member(object, key);
  accept(value.is_null() || value.is_boolean(), key, value, "true or false is accepted");
  return value.is_null() ? missing : value.get<bool>();
}

bool is_type(const Json& object, const char* type) { return member(object, "type") == type; }

void VocabularyBuilder::add_special(const std::string& text, int64_t id) {
  if (!special_.emplace(text, id).second)
    fail("tokenizer: {}: the added token \"{}\" stands twice", source_, brief(text));
  tokens_.push_back({text, id, true});
}

void VocabularyBuilder::add(const std::string& text, int64_t id) {
  const auto special = special_.find(text);
  if (special != special_.end() && special->second == id) return;
  tokens_.push_back({text, id, false});
  ids_.emplace(text, id);
}

void VocabularyBuilder::add_added_tokens(const Json& list) {
  if (!list.is_null() && !list.is_array())
    fail("tokenizer: {}: added_tokens is {}; a list is accepted", source_, shown(list));
  for (const Json& token : list) {
    const Json& content = member(token, "content");
    const Json& id = member(token, "id");
    if (!content.is_string() || content == Json("") || !id.is_number_integer())
      fail(
          "tokenizer: {}: added token {}; one with a string \"content\" and an integer \"id\" is "
          "accepted",
          source_, shown(token));
    add_special(content.get<std::string>(), id.get<int64_t>());
  }
}

void VocabularyBuilder::add_vocabulary(const Json& vocabulary) {
  if (!vocabulary.is_object())
    fail("tokenizer: {}: the vocabulary is of type {}; an object of token and id is accepted",
         source_, vocabulary.type_name());
  for (const auto& [text, id] : vocabulary.items()) {
    if (!id.is_number_integer())
      fail("tokenizer: {}: the id of \"{}\" is of type {}; an integer is accepted", source_,
           brief(text), id.type_name());
    add(text, id.get<int64_t>());
  }
}

std::optional<int64_t> VocabularyBuilder::id_of(std::string_view text) const {
  const auto found = ids_.find(std::string(text));
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

Vocabulary VocabularyBuilder::finish(
    const std::function<std::string(const std::string&)>& convert) && {
  Vocabulary vocabulary;
  const int64_t count = static_cast<int64_t>(tokens_.size());
  vocabulary.tokens.resize(tokens_.size());
  std::vector<bool> taken(tokens_.size());
  for (Token& token : tokens_) {
    if (token.id < 0 || token.id >= count)
      fail("tokenizer: {}: \"{}\" has id {}; the ids of {} tokens are 0 to {}, without gaps",
           source_, brief(token.text), token.id, count, count - 1);
    const auto id = static_cast<size_t>(token.id);
    if (taken[id])
      fail("tokenizer: {}: id {} stands for \"{}\" and another token", source_, token.id,
           brief(token.text));
    taken[id] = true;
    vocabulary.tokens[id] = token.special ? std::move(token.text) : convert(token.text);
  }
  for (const auto& [text, id] : special_) vocabulary.special.push_back(static_cast<int32_t>(id));
  std::sort(vocabulary.special.begin(), vocabulary.special.end());
  return vocabulary;
}

bool is_special(const Vocabulary& vocabulary, int32_t id) {
  return std::binary_search(vocabulary.special.begin(), vocabulary.special.end(), id);
}

std::string tokenizer_json(const Vocabulary& vocabulary, const TokenizerJson& parts,
                           const std::function<std::string(const std::string&)>& text_of) {
  // The order of keys is Hugging Face's: `tokenizers` reads "model" by its "type", which is first.
  std::string text = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n";
  text += "  \"added_tokens\": [";
  const char* separator = "";
  for (const int32_t id : vocabulary.special) {
    text += fmt::format(
        "{}\n    {{\"id\": {}, \"content\": {}, \"single_word\": false, \"lstrip\": false, "
        "\"rstrip\": false, \"normalized\": false, \"special\": true}}",
        separator, id, json_quote(vocabulary.tokens[static_cast<size_t>(id)]));
    separator = ",";
  }
  text += fmt::format(
      "\n  ],\n  \"normalizer\": {},\n  \"pre_tokenizer\": {},\n  \"post_processor\": {},\n"
      "  \"decoder\": {},\n  \"model\": {{\n    {},\n    \"vocab\": {{",
      parts.normalizer, parts.pre_tokenizer, parts.post_processor, parts.decoder,
      parts.model_settings);
  separator = "";
  for (int32_t id = 0; id < static_cast<int32_t>(vocabulary.tokens.size()); ++id) {
    const std::string& token = vocabulary.tokens[static_cast<size_t>(id)];
    text += fmt::format("{}\n      {}: {}", separator,
                        json_quote(is_special(vocabulary, id) ? token : text_of(token)), id);
    separator = ",";
  }
  return text + "\n    }" + parts.model_rest + "\n  }\n}\n";
}

}  // namespace strobe
