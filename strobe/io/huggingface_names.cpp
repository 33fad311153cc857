#include "strobe/io/huggingface_names.h"

#include <set>

#include "strobe/core/error.h"

namespace strobe {

std::span<const HuggingFaceFamily> huggingface_families() {
  static const HuggingFaceFamily families[] = {
      {.kind = "gpt2",
       .prefix = "transformer.",
       .heads = {},
       .optional = {},
       .buffers = {".attn.bias", ".attn.masked_bias"},
       .old_endings = {},
       .tied = {{"lm_head.weight", "transformer.wte.weight"}},
       .linear_is_out_in = false,  // Conv1D
       .joined = {}},
      {.kind = "bert",
       .prefix = "bert.",
       .heads = {"cls.", "classifier.", "qa_outputs."},
       .optional = {"bert.pooler."},
       .buffers = {"embeddings.position_ids", "embeddings.token_type_ids"},
       .old_endings = {{".gamma", ".weight"}, {".beta", ".bias"}},
       .tied = {{"cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"},
                {"cls.predictions.decoder.bias", "cls.predictions.bias"}},
       .linear_is_out_in = true,
       .joined = {{".attention.self.c_attn.",
                   {".attention.self.query.", ".attention.self.key.", ".attention.self.value."}}}},
  };
  return families;
}

const HuggingFaceFamily& huggingface_family(std::string_view kind, const std::string& where) {
  std::string known;
  for (const HuggingFaceFamily& family : huggingface_families()) {
    if (family.kind == kind) return family;
    known += fmt::format("{}\"{}\"", known.empty() ? "" : ", ", family.kind);
  }
  fail("{}: a model of the type \"{}\"; {} are accepted", where, kind, known);
}

std::string full_name(const HuggingFaceFamily& family, std::string_view name) {
  for (const std::string_view ending : family.buffers)
    if (name.ends_with(ending)) return "";
  std::string out(name);
  for (const auto& [from, to] : family.old_endings)
    if (name.ends_with(from)) out.replace(out.size() - from.size(), from.size(), to);
  const bool is_tied = tied_to(family, out) != out;
  if (out.starts_with(family.prefix) || is_of_head(family, out) || is_tied) return out;
  return std::string(family.prefix) + out;
}

std::string_view tied_to(const HuggingFaceFamily& family, std::string_view name) {
  for (const auto& [from, to] : family.tied)
    if (name == from) return to;
  return name;
}

bool is_of_head(const HuggingFaceFamily& family, std::string_view name) {
  for (const std::string_view head : family.heads)
    if (name.starts_with(head)) return true;
  return false;
}

bool is_optional(const HuggingFaceFamily& family, std::string_view name) {
  for (const std::string_view part : family.optional)
    if (name.starts_with(part)) return true;
  return false;
}

void check_leftovers(const std::string& operation, const std::string& from,
                     const HuggingFaceFamily& family, std::span<const std::string> names,
                     std::span<const std::string> used,
                     const std::function<void(const std::string&)>& left_out) {
  const std::set<std::string> known(used.begin(), used.end());
  for (const std::string& name : names) {
    if (known.contains(name)) continue;
    if (!is_of_head(family, name) && !is_optional(family, name))
      fail("{}: {} holds \"{}\", for which a {} of this configuration has no place", operation,
           from, name, family.kind);
    if (left_out) left_out(name);
  }
}

bool is_transposed(const HuggingFaceFamily& family, std::string_view name, size_t dimensions) {
  return family.linear_is_out_in && dimensions == 2 && name.find("embeddings.") == name.npos;
}

std::vector<std::string> parts_of(const HuggingFaceFamily& family, std::string_view name) {
  std::vector<std::string> out;
  for (const auto& [whole, parts] : family.joined)
    if (const size_t at = name.find(whole); at != name.npos)
      for (const std::string_view part : parts)
        out.push_back(std::string(name).replace(at, whole.size(), part));
  if (out.empty()) out.emplace_back(name);
  return out;
}

}  // namespace strobe
