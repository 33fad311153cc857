// Tables of text for a terminal.
#pragma once

#include <string>
#include <vector>

namespace strobe {

/// Aligned columns, two spaces apart, a rule under the first row. `left` columns are aligned left,
/// the others right. Widths count characters, not bytes. All rows have the same length.
std::string text_table(const std::vector<std::vector<std::string>>& rows, size_t left = 1);

/// `text` broken at spaces into lines of at most `width` characters, each after `indent`.
std::string wrap_text(const std::string& text, size_t width, const std::string& indent = "");

}  // namespace strobe
