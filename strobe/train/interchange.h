// Runs from, and to, the folders of Hugging Face transformers.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace strobe {

struct ImportOptions {
  std::string from;       // a folder with config.json, model.safetensors and tokenizer files
  std::string out;        // the run to make; must not exist
  std::string tokenizer;  // what Tokenizer::load reads, "" for the folder's own
};

struct ImportResult {
  std::string kind;
  int64_t tensors = 0, parameters = 0;
};

/// Makes a run folder whose only checkpoint, of step 0, holds the folder's weights. Throws Error,
/// leaving nothing behind, unless every parameter has its tensor and every tensor its parameter (or
/// is a buffer, or a head's that the model has no use for: a word to `note`).
ImportResult import_huggingface(const ImportOptions& options,
                                const std::function<void(const std::string&)>& note);

struct ExportOptions {
  std::string run;            // its best checkpoint is taken, else its newest
  std::string out;            // the folder to make; must not exist
  int64_t largest_shard = 0;  // bytes; 0: one file
};

/// Writes config.json, the weights in f32 and the tokenizer's files. Returns the checkpoint.
std::string export_huggingface(const ExportOptions& options);

}  // namespace strobe
