// The files tokenizers are kept in.
#pragma once

#include <string>

#include "strobe/data/tokenizer_model.h"

namespace strobe {

/// Reads GPT-2's encoder.json and vocab.bpe (or vocab.json and merges.txt) from a folder.
Vocabulary read_gpt2_files(const std::string& folder);

/// Reads a Hugging Face tokenizer.json that holds a byte-level BPE with GPT-2's split pattern;
/// fails on any other, saying what it asks for.
Vocabulary read_tokenizer_json(const std::string& file);

/// Writes a byte-level BPE as a tokenizer.json, whole or not at all.
void write_tokenizer_json(const std::string& file, const Vocabulary& vocabulary);

}  // namespace strobe
