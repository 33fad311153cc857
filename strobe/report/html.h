// Pieces of the report's page. Everything that comes from a run is escaped here, and nowhere else
// does text become HTML.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "strobe/core/html_text.h"

namespace strobe {

/// JSON as the content of a <script>: without < > & and the line separators that end it or that
/// older parsers trip over.
std::string escape_json(std::string_view json);

/// A table. `rows[0]` is the heading; cells are plain text. The first `left` columns are words, the
/// others numbers.
std::string html_table(const std::vector<std::vector<std::string>>& rows, size_t left = 1);

/// A comparison of named values between columns: rows whose values differ are marked, the others
/// hidden until the reader asks for all of them.
struct ComparedRow {
  std::string name;
  std::vector<std::string> values;  // one a column
};
std::string html_comparison(const std::string& first_heading,
                            const std::vector<std::string>& columns,
                            const std::vector<ComparedRow>& rows);

/// <p>text</p>, with a class if one is given.
std::string html_paragraph(std::string_view text, std::string_view css_class = "");

/// A section with its heading and an anchor; "" if `body` is empty.
std::string html_section(const std::string& id, const std::string& title, const std::string& body);

/// The page: style, plotting library and script inside, nothing fetched. `sections` is HTML;
/// `charts_json` is what the script draws (strobe/report/charts.h).
std::string html_page(const std::string& title, const std::string& sections,
                      const std::string& charts_json);

}  // namespace strobe
