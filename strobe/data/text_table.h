// Tables of texts: TSV, CSV and JSON lines, plain or compressed.
//
//   tsv     fields between tabs, a row a line, no quoting: as the official files of GLUE, where
//           quotation marks are text
//   csv     RFC 4180: a field in quotation marks may hold commas, line ends, and marks doubled
//   jsonl   an object a line; texts, numbers and booleans
//
// UTF-8, with or without a byte order mark; lines end with LF or CRLF. Messages name the line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace strobe {

struct TableOptions {
  enum class Format { by_name, tsv, csv, jsonl };
  Format format = Format::by_name;  // .tsv, .csv, .jsonl, before .gz and the like
  bool header = true;    // the first row names the columns; without, "1", "2", ... are their names
  size_t most_rows = 0;  // read no more than so many; 0: all
  bool skip_broken_rows = false;  // those with a wrong number of fields, instead of failing
};

/// Some columns of a file.
class TextTable {
 public:
  /// Reads the columns named, each of which must be there; of "-", standard input, JSON lines. Throws Error naming file and line for
  /// what is malformed: a wrong number of fields, a quotation mark that is not closed or has
  /// something after it, ill-formed UTF-8, a NUL, a column that stands twice, an object without the
  /// key.
  static TextTable read(const std::string& file, const std::vector<std::string>& columns,
                        const TableOptions& options = {});

  const std::string& file() const { return file_; }
  size_t rows() const { return lines_.size(); }
  /// `column` counts within those that were asked for.
  const std::string& at(size_t row, size_t column) const {
    return fields_[row * columns_ + column];
  }
  /// The line, from 1, on which a row begins.
  int64_t line(size_t row) const { return lines_[row]; }
  /// Rows that were left out, and the line of the first of them.
  int64_t skipped() const { return skipped_; }
  int64_t first_skipped() const { return first_skipped_; }

  /// Where a row is, for messages: "train.tsv, line 12".
  std::string place(size_t row) const;

 private:
  class Reader;

  std::string file_;
  size_t columns_ = 0;
  std::vector<std::string> fields_;
  std::vector<int64_t> lines_;
  int64_t skipped_ = 0, first_skipped_ = 0;
};

}  // namespace strobe
