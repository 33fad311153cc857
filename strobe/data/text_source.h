// Documents out of the files that a user has, as a stream.
//
//   .jsonl                 a document a line, the text of one field
//   .txt, .tokens, .raw    articles, each under a line "= Title =" as in WikiText; a file without
//                          such lines is one document
//   folders                what is inside, by name, files of these kinds
//   "-"                    standard input
//   .gz .bz2 .xz .zst .tar .zip   with any of these inside
//
// A file named outright is read as text whatever its name ends in. UTF-8 is expected; a byte order
// mark at the beginning of a file is left out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace strobe {

struct TextOptions {
  std::vector<std::string> paths;
  std::string field = "text";   // of a .jsonl line
  bool lines_are_json = false;  // what standard input holds
};

/// A file, or a file inside an archive, that holds text.
struct TextFile {
  std::string path, entry;
  std::string split;  // "train", "valid" or "test" if its name says so, else ""
  bool json = false;
};

/// The text files of `options` in the order in which they are read. The `skipped` ones, inside
/// folders and archives, are of no known kind. Throws Error for what cannot be read, or if nothing
/// is found.
std::vector<TextFile> text_files(const TextOptions& options, std::vector<std::string>& skipped);

/// Which split a path's name belongs to: "train", "valid" (also "val", "dev", "validation"),
/// "test", or "". Whole words count: "latest.txt" is no test set.
std::string split_named_by(std::string_view path);

/// A piece of a document. Long documents come in several, of about a megabyte each, cut before a
/// white-space character that is followed by another character: there GPT-2's split pattern always
/// begins a new word, so that the pieces have the tokens of the whole. Only 4 MiB without such a
/// place are cut anyhow, between two characters.
struct TextPiece {
  std::string text;
  size_t file = 0;    // its number in the list of files
  bool last = false;  // of its document
};

/// Streams the documents of a list of files in bounded memory.
class TextSource {
 public:
  TextSource(std::vector<TextFile> files, TextOptions options);
  ~TextSource();
  TextSource(const TextSource&) = delete;
  TextSource& operator=(const TextSource&) = delete;

  /// The next piece; false when there is none. Throws Error for damaged files and lines of JSON
  /// that do not hold the field, naming the line.
  bool next(TextPiece& out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace strobe
