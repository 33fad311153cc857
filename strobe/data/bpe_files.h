// The files that byte-level BPEs are kept in.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "strobe/data/tokenizer_model.h"

namespace strobe {

/// Reads GPT-2's encoder.json and vocab.bpe (or vocab.json and merges.txt) from a folder.
std::unique_ptr<const TokenModel> read_gpt2_files(const std::string& folder);

/// From the contents of a tokenizer.json whose model is a BPE; fails on any but a byte-level one
/// with GPT-2's split pattern, saying what it asks for.
std::unique_ptr<const TokenModel> read_bpe_json(const std::string& file,
                                                const nlohmann::json& root);

}  // namespace strobe
