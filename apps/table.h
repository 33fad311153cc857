// Tables of results, for people or, with --json, for programs.
#pragma once

#include <string>
#include <variant>
#include <vector>

namespace strobe {

/// Nothing (null), a word, a number, a truth.
using Cell = std::variant<std::monostate, std::string, double, int64_t, bool>;

struct Column {
  std::string name;   // the key in JSON, the heading of the table
  int decimals = 0;   // of a double, for people
  bool shown = true;  // in the table for people
};

class Table {
 public:
  /// `nothing`: what people see in a cell that holds nothing.
  explicit Table(std::vector<Column> columns, std::string nothing = "busy")
      : columns_(std::move(columns)), nothing_(std::move(nothing)) {}
  void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
  /// To standard output: aligned columns, or one JSON array of objects.
  void print(bool json) const;

 private:
  std::vector<Column> columns_;
  std::string nothing_;
  std::vector<std::vector<Cell>> rows_;
};

/// A cell as a JSON value.
std::string json_cell(const Cell& cell);

}  // namespace strobe
