#include "strobe/report/html.h"

#include <fmt/format.h>

#include <algorithm>

#include "strobe/report/assets.h"

namespace strobe {

std::string escape_json(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  for (size_t i = 0; i < json.size(); ++i) {
    const std::string_view rest = json.substr(i);
    if (json[i] == '<' || json[i] == '>' || json[i] == '&') {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(json[i]));
    } else if (rest.starts_with("\u2028") || rest.starts_with("\u2029")) {
      out += rest.starts_with("\u2028") ? "\\u2028" : "\\u2029";
      i += 2;
    } else {
      out += json[i];
    }
  }
  return out;
}

std::string html_table(const std::vector<std::vector<std::string>>& rows, size_t left) {
  std::string out = "<div class=\"scroll\"><table>\n";
  for (size_t r = 0; r < rows.size(); ++r) {
    out += r == 0 ? "<thead><tr>" : "<tr>";
    for (size_t c = 0; c < rows[r].size(); ++c)
      out += fmt::format("<{0}{1}>{2}</{0}>", r == 0 || c == 0 ? "th" : "td",
                         c < left ? "" : " class=\"n\"", escape_html(rows[r][c]));
    out += r == 0 ? "</tr></thead><tbody>\n" : "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string html_comparison(const std::string& first_heading,
                            const std::vector<std::string>& columns,
                            const std::vector<ComparedRow>& rows) {
  const auto same = [](const ComparedRow& row) {
    return std::all_of(row.values.begin(), row.values.end(),
                       [&](const std::string& value) { return value == row.values[0]; });
  };
  const auto alike = std::count_if(rows.begin(), rows.end(), same);
  const bool one = columns.size() < 2;
  const auto differing = static_cast<int64_t>(rows.size()) - alike;
  std::string out;
  if (!one)
    out += fmt::format(
        "<p class=\"note\">{} of {} values differ. <button type=\"button\" class=\"all\" "
        "aria-pressed=\"false\">Show all</button></p>\n",
        differing, rows.size());
  // With nothing that differs there is nothing to show until all is asked for.
  const char* state = one ? " everything" : differing == 0 ? " alike" : "";
  out += fmt::format("<div class=\"scroll\"><table class=\"compare{}\">\n<thead><tr><th>{}</th>",
                     state, escape_html(first_heading));
  for (const std::string& column : columns) out += "<th>" + escape_html(column) + "</th>";
  out += "</tr></thead><tbody>\n";
  for (const ComparedRow& row : rows) {
    out += fmt::format("<tr class=\"{}\"><th>{}</th>", one || same(row) ? "same" : "differs",
                       escape_html(row.name));
    for (const std::string& value : row.values) out += "<td>" + escape_html(value) + "</td>";
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string html_paragraph(std::string_view text, std::string_view css_class) {
  const std::string attribute =
      css_class.empty() ? "" : fmt::format(" class=\"{}\"", escape_html(css_class));
  return fmt::format("<p{}>{}</p>\n", attribute, escape_html(text));
}

std::string html_section(const std::string& id, const std::string& title, const std::string& body) {
  if (body.empty()) return "";
  return fmt::format("<section id=\"{0}\">\n<h2>{1}</h2>\n{2}</section>\n", escape_html(id),
                     escape_html(title), body);
}

std::string html_page(const std::string& title, const std::string& sections,
                      const std::string& charts_json) {
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"generator\" content=\"strobe " STROBE_VERSION
      "\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n<style>\n",
      escape_html(title));
  out += page_css();
  out += "</style>\n</head>\n<body>\n<main>\n";
  out += sections;
  out += "</main>\n<script type=\"application/json\" id=\"charts\">";
  out += escape_json(charts_json);
  out += "</script>\n<script>";
  out += plotly_js();
  out += "</script>\n<script>\n";
  out += page_js();
  return out + "</script>\n</body>\n</html>\n";
}

}  // namespace strobe
