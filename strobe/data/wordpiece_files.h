// The files that WordPiece vocabularies are kept in.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "strobe/data/tokenizer_model.h"

namespace strobe {

/// Reads BERT's vocab.txt, a token a line, and what the tokenizer_config.json beside it says of
/// lower-casing, accents and ideographs. Without that file text is lower-cased unless a token of
/// the vocabulary has a capital letter. `path` is the file or its folder.
std::unique_ptr<const TokenModel> read_bert_files(const std::string& path);

/// From the contents of a tokenizer.json whose model is a WordPiece; fails on any but one with
/// BERT's normaliser and words, saying what it asks for.
std::unique_ptr<const TokenModel> read_wordpiece_json(const std::string& file,
                                                      const nlohmann::json& root);

/// The names of BERT's special tokens, in the order in which a new vocabulary begins with them.
inline constexpr const char* bert_special_tokens[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

}  // namespace strobe
