// Documents from whatever text the user has.
//
// Inputs are files, folders (every text file below, in order of names) or "-" for standard input:
// .txt, .jsonl (one named field a line), WikiText's .tokens and .raw, and any of these inside gz,
// bz2, xz, zst, tar or zip. Read through libarchive, in bounded memory.
//
// In plain text a line "= Title =" begins a document; a file without one is one document. Each
// line of .jsonl is a document.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace strobe {

struct Document {
  std::string text;
  std::string split;  // "train", "valid", "test" where the file's name says so; else empty
};

/// Receives each document; may move from it. Returning false ends the reading.
using DocumentVisitor = std::function<bool(Document&)>;

/// Visits all documents of `inputs`, in order. Throws Error naming the file (and line) for what
/// cannot be read. A document longer than kLongestPiece is handed out in pieces, cut at line ends.
void for_each_document(const std::vector<std::string>& inputs, const std::string& jsonl_field,
                       const DocumentVisitor& visit);

/// Bytes of all inputs on disk, for progress; 0 for standard input.
int64_t input_bytes(const std::vector<std::string>& inputs);

inline constexpr size_t kLongestPiece = 16 << 20;  // bytes

}  // namespace strobe
