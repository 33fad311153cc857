#include "apps/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "strobe/core/json_text.h"

namespace strobe {

namespace {

std::string for_people(const Cell& cell, int decimals, const std::string& nothing) {
  if (const auto* word = std::get_if<std::string>(&cell)) return *word;
  if (const auto* number = std::get_if<double>(&cell))
    return fmt::format("{:.{}f}", *number, decimals);
  if (const auto* whole = std::get_if<int64_t>(&cell)) return fmt::format("{}", *whole);
  if (const auto* truth = std::get_if<bool>(&cell)) return *truth ? "yes" : "no";
  return nothing;
}

}  // namespace

std::string json_cell(const Cell& cell) {
  if (const auto* word = std::get_if<std::string>(&cell)) return json_quote(*word);
  if (const auto* number = std::get_if<double>(&cell))
    return std::isfinite(*number) ? fmt::format("{:.6g}", *number) : "null";
  if (const auto* whole = std::get_if<int64_t>(&cell)) return fmt::format("{}", *whole);
  if (const auto* truth = std::get_if<bool>(&cell)) return *truth ? "true" : "false";
  return "null";
}

void Table::print(bool json) const {
  if (json) {
    std::printf("[");
    for (size_t r = 0; r < rows_.size(); ++r) {
      std::printf("%s\n  {", r ? "," : "");
      for (size_t c = 0; c < columns_.size(); ++c)
        fmt::print("{}{}: {}", c ? ", " : "", json_quote(columns_[c].name), json_cell(rows_[r][c]));
      std::printf("}");
    }
    std::printf("\n]\n");
    return;
  }
  std::vector<std::vector<std::string>> lines(rows_.size() + 1);
  for (const Column& column : columns_) lines[0].push_back(column.name);
  for (size_t r = 0; r < rows_.size(); ++r)
    for (size_t c = 0; c < columns_.size(); ++c)
      lines[r + 1].push_back(for_people(rows_[r][c], columns_[c].decimals, nothing_));
  for (const auto& line : lines) {
    std::string out;
    for (size_t c = 0; c < columns_.size(); ++c) {
      if (!columns_[c].shown) continue;
      size_t width = 0;
      for (const auto& other : lines) width = std::max(width, other[c].size());
      const bool words = !rows_.empty() && std::holds_alternative<std::string>(rows_[0][c]);
      out +=
          words ? fmt::format("{:<{}}  ", line[c], width) : fmt::format("{:>{}}  ", line[c], width);
    }
    fmt::print("{}\n", out.substr(0, out.find_last_not_of(' ') + 1));
  }
}

}  // namespace strobe
