// How Hugging Face transformers names and lays out the tensors of the models that strobe has: a
// line a family. strobe's own names are these names with the prefix; what is said here is where
// files differ from each other and from strobe.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strobe {

struct HuggingFaceFamily {
  std::string_view kind;    // "model_type" in config.json, model.kind in strobe
  std::string_view prefix;  // which files written from the model without a head leave out
  std::vector<std::string_view> heads;     // beginnings of names that have no prefix
  std::vector<std::string_view> optional;  // beginnings, with the prefix, of parts likewise
  std::vector<std::string_view> buffers;   // endings of names that are no parameters

  struct Pair {
    std::string_view from, to;
  };
  std::vector<Pair> old_endings;  // what older files call something
  std::vector<Pair> tied;         // a name, and the one whose tensor it is

  /// Matrices other than embeddings are (out, in); strobe's are (in, out).
  bool linear_is_out_in;

  /// Tensors that strobe keeps side by side as one, by a part of their names.
  struct Joined {
    std::string_view whole;
    std::vector<std::string_view> parts;
  };
  std::vector<Joined> joined;
};

std::span<const HuggingFaceFamily> huggingface_families();

/// The family of a model_type; throws Error naming those that are known.
const HuggingFaceFamily& huggingface_family(std::string_view kind, const std::string& where);

/// The full name of a tensor of a file, "" for a buffer.
std::string full_name(const HuggingFaceFamily& family, std::string_view name);

/// The name whose tensor `name` is; itself where it is not tied.
std::string_view tied_to(const HuggingFaceFamily& family, std::string_view name);

/// Whether the tensor is a head's, which a file may have or lack.
bool is_of_head(const HuggingFaceFamily& family, std::string_view name);

/// Whether it is of a part with the prefix that a file may have or lack.
bool is_optional(const HuggingFaceFamily& family, std::string_view name);

/// Throws Error, with `operation` first, for a tensor of `from` that is not among the `used` and no
/// part that a file may have or lack; these go to `left_out`, where it is not empty.
void check_leftovers(const std::string& operation, const std::string& from,
                     const HuggingFaceFamily& family, std::span<const std::string> names,
                     std::span<const std::string> used,
                     const std::function<void(const std::string&)>& left_out);

/// Whether a tensor of so many dimensions is kept transposed.
bool is_transposed(const HuggingFaceFamily& family, std::string_view name, size_t dimensions);

/// The tensors of Hugging Face that one of strobe's parameters is: itself, or those that are
/// joined.
std::vector<std::string> parts_of(const HuggingFaceFamily& family, std::string_view name);

}  // namespace strobe
