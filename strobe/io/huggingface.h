// A model's folder as Hugging Face transformers keeps it: config.json, and model.safetensors or its
// shards with model.safetensors.index.json.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "strobe/config/config.h"
#include "strobe/core/tensor.h"
#include "strobe/io/huggingface_names.h"
#include "strobe/io/safetensors.h"

namespace strobe {

/// What a folder's tensors say that its config.json may not: which head the model has. Returns why
/// a classifier is none that strobe has (one of tokens, of multiple choices); else "".
class HuggingFaceWeights;
std::string read_huggingface_head(const HuggingFaceWeights& weights, const std::string& config_json,
                                  Config& config);

/// Reads a config.json: the model's sizes, with model.vocab set, and the names of classes. Throws
/// Error if it asks for anything that strobe's model does otherwise (another activation, epsilon,
/// scaling, ...); a word to `note` for what only training would notice.
Config read_huggingface_config(const std::string& file,
                               const std::function<void(const std::string&)>& note);

/// The text of a config.json. `end_of_text` -1: there is none. Throws Error for a model that
/// transformers does not have.
std::string huggingface_config(const Config& config, int32_t end_of_text);

/// The tensors of a folder, whatever files and names they are in.
class HuggingFaceWeights {
 public:
  /// Throws Error for files that are missing, malformed or contradict each other, and for tensors
  /// that stand twice under different names, unless they are tied and equal.
  static HuggingFaceWeights open(const std::string& folder, const HuggingFaceFamily& family);

  /// Full names, buffers and tied copies left out.
  std::vector<std::string> names() const;

  /// Whether one of strobe's parameters is there, in these sizes (see read).
  bool fits(const std::string& name, int64_t rows, int64_t columns) const;
  /// The sizes of a tensor; empty where there is none of that name.
  std::vector<int64_t> shape(const std::string& name) const;

  /// The values of one of strobe's parameters, of so many rows and columns (rows 0: a vector),
  /// converted to f32 from F32, F16, BF16 or F64. Throws Error if it is not there or has another
  /// shape. `used` receives the names of the tensors that it is made of.
  std::vector<float> read(const std::string& name, int64_t rows, int64_t columns,
                          std::vector<std::string>& used) const;

 private:
  struct Place {
    size_t file;
    std::string name;  // in the file
  };

  explicit HuggingFaceWeights(const HuggingFaceFamily& family) : family_(family) {}
  void add_file(const std::string& path);
  void check_index(const std::string& index, const std::map<std::string, std::string>& files);
  void untie();
  const Place& place(const std::string& name) const;
  const SafetensorsEntry& entry(const Place& place) const;
  std::span<const std::byte> bytes(const Place& place) const;

  const HuggingFaceFamily& family_;
  std::string folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, Place> places_;
};

/// Writes strobe's parameters, f32, as model.safetensors of Hugging Face's names and layout; as
/// shards with an index if they take more than `largest_shard` bytes (0: one file). `prefixed`:
/// names begin with the family's prefix, as those of a model with a head do.
void write_huggingface_weights(const std::string& folder, const HuggingFaceFamily& family,
                               const std::map<std::string, Tensor>& params, int64_t largest_shard,
                               bool prefixed = true);

}  // namespace strobe
