#include "strobe/report/table.h"

#include <algorithm>

#include "strobe/core/error.h"

namespace strobe {

namespace {

size_t characters(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::string text_table(const std::vector<std::vector<std::string>>& rows, size_t left) {
  if (rows.empty()) return "";
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    check(row.size() == widths.size(), "text_table: all rows have the same length");
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], characters(row[c]));
  }
  std::string out;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (size_t c = 0; c < widths.size(); ++c) {
      const std::string padding(widths[c] - characters(rows[r][c]), ' ');
      line += (c ? "  " : "") + (c < left ? rows[r][c] + padding : padding + rows[r][c]);
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    if (r > 0) continue;
    for (size_t c = 0; c < widths.size(); ++c) out += (c ? "  " : "") + std::string(widths[c], '-');
    out += "\n";
  }
  return out;
}

std::string wrap_text(const std::string& text, size_t width, const std::string& indent) {
  std::string out, line;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (!line.empty() && characters(line) + 1 + characters(word) > width)
      out += indent + line + "\n", line.clear();
    line += (line.empty() ? "" : " ") + word;
    begin = end + 1;
  }
  return line.empty() ? out : out + indent + line + "\n";
}

}  // namespace strobe
