#include "strobe/report/page_parts.h"

#include <fmt/format.h>

#include <algorithm>

#include "strobe/report/format.h"
#include "strobe/report/html.h"

namespace strobe {

namespace {

constexpr size_t kLongestSample = 6000;  // bytes

// As many whole characters of `text` as fit into `most` bytes.
std::string_view beginning(std::string_view text, size_t most) {
  if (text.size() <= most) return text;
  const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; };
  while (most > 0 && continues(text[most])) --most;
  return text.substr(0, most);
}

using Entries = std::vector<std::pair<std::string, std::string>>;

// One row a name, in the order in which the groups' first runs name them.
std::string comparison(const std::vector<ChartGroup>& groups, const std::string& heading,
                       const Entries RunRecord::*entries, const std::vector<std::string>& without) {
  std::vector<std::string> columns;
  std::vector<ComparedRow> rows;
  for (const ChartGroup& group : groups) {
    columns.push_back(group.name);
    for (const auto& [name, value] : group.runs[0]->*entries) {
      const bool known =
          std::any_of(rows.begin(), rows.end(),
                      [&key = name](const ComparedRow& row) { return row.name == key; });
      const bool out = std::find(without.begin(), without.end(), name) != without.end();
      if (!known && !out) rows.push_back({name, {}});
    }
  }
  for (ComparedRow& row : rows)
    for (const ChartGroup& group : groups)
      row.values.push_back(value_of(group.runs[0]->*entries, row.name));
  return rows.empty() ? "" : html_comparison(heading, columns, rows);
}

bool has_several(const std::vector<ChartGroup>& groups) {
  return std::any_of(groups.begin(), groups.end(),
                     [](const ChartGroup& group) { return group.runs.size() > 1; });
}

std::string first_of_arm(const std::vector<ChartGroup>& groups, const char* what) {
  return has_several(groups)
             ? html_paragraph(fmt::format("{} of the first run of each arm.", what), "note")
             : "";
}

}  // namespace

std::string page_head(const std::string& kind, const std::string& name, const std::string& question,
                      const std::string& headline, const std::vector<std::string>& sentences) {
  std::string out = fmt::format(
      "<header>\n<div class=\"bar\"><span class=\"kind\">strobe · {}</span><nav></nav>"
      "<button type=\"button\" id=\"theme\" title=\"Light, dark, or as the system\">Theme</button>"
      "</div>\n<h1>{}</h1>\n",
      escape_html(kind), escape_html(name));
  if (!question.empty()) out += html_paragraph(question, "question");
  out += html_paragraph(headline, "headline");
  if (!sentences.empty()) {
    out += "<ul class=\"findings\">\n";
    for (const std::string& sentence : sentences) {
      // "Attention: ..." : the word before the colon leads the eye.
      const size_t colon = sentence.find(": ");
      const bool lead = colon != std::string::npos && colon < 30;
      out += lead ? fmt::format("<li><strong>{}</strong>{}</li>\n",
                                escape_html(sentence.substr(0, colon)),
                                escape_html(sentence.substr(colon)))
                  : fmt::format("<li>{}</li>\n", escape_html(sentence));
    }
    out += "</ul>\n";
  }
  return out +
         "<noscript><p class=\"note\">Charts need JavaScript; tables and text do not.</p>"
         "</noscript>\n</header>\n";
}

std::string curves_section(const std::vector<ChartGroup>& groups, bool study) {
  const bool any = std::any_of(groups.begin(), groups.end(), [](const ChartGroup& group) {
    return std::any_of(group.runs.begin(), group.runs.end(), [](const RunRecord* run) {
      return !run->training.empty() || !run->evaluations.empty();
    });
  });
  if (!any) return "";
  std::string body =
      "<div class=\"controls\"><div class=\"segments\" id=\"axis\" role=\"group\" "
      "aria-label=\"Horizontal axis\">"
      "<button type=\"button\" data-axis=\"steps\" aria-pressed=\"true\">Steps</button>"
      "<button type=\"button\" data-axis=\"tokens\" aria-pressed=\"false\">Tokens</button>"
      "<button type=\"button\" data-axis=\"seconds\" aria-pressed=\"false\">Seconds</button></div>"
      "<label>Smoothing <input type=\"range\" id=\"smoothing\" min=\"0\" max=\"0.99\" "
      "step=\"0.01\" value=\"0.9\"></label>"
      "<label><input type=\"checkbox\" id=\"log\"> Logarithmic x</label>"
      "<span class=\"legend\" id=\"legend\"></span></div>\n"
      "<div id=\"curves\" class=\"grid\"></div>\n";
  std::string note =
      "Seconds are of training alone: evaluation and checkpoints are outside the "
      "clock. Smoothing is an exponential moving average of the points shown; it leaves the "
      "validation loss and the learning rate alone. Drag to zoom, double-click to reset; names "
      "switch lines on and off.";
  if (study && has_several(groups))
    note +=
        " Thick lines are means over seeds, at steps that every seed reached, the band about them "
        "their 95 % interval; thin lines are the seeds.";
  if (any_thinned(groups))
    note += fmt::format(
        " Curves of more than {} points show the least and the greatest value in "
        "each of {} equal intervals.",
        kMostPoints, kMostPoints / 2);
  return html_section("curves-section", "Curves", body + html_paragraph(note, "note"));
}

std::string memory_section(const std::vector<ChartGroup>& groups) {
  std::vector<std::vector<std::string>> rows = {{"Part"}};
  std::vector<std::string> parts;
  std::vector<std::vector<MemoryPart>> merged;
  for (const ChartGroup& group : groups) {
    rows[0].push_back(group.name);
    merged.push_back(merge_layers(group.runs[0]->memory));
    for (const MemoryPart& part : merged.back())
      if (std::find(parts.begin(), parts.end(), part.part) == parts.end())
        parts.push_back(part.part);
  }
  if (parts.empty()) return "";
  for (const std::string& name : parts) {
    rows.push_back({name});
    for (const auto& list : merged) {
      const auto at = std::find_if(list.begin(), list.end(),
                                   [&](const MemoryPart& part) { return part.part == name; });
      rows.back().push_back(at == list.end() ? "—" : bytes_text(at->bytes));
    }
  }
  std::vector<std::string> planned = {"All planned"}, peak = {"Measured peak of the process"};
  for (size_t g = 0; g < groups.size(); ++g) {
    double sum = 0;
    for (const MemoryPart& part : merged[g]) sum += part.bytes;
    planned.push_back(merged[g].empty() ? "—" : bytes_text(sum));
    peak.push_back(bytes_text(groups[g].runs[0]->result.peak_bytes));
  }
  rows.push_back(planned), rows.push_back(peak);
  std::string body =
      "<div id=\"memory\" class=\"chart\"></div>\n<details><summary>Parts in "
      "figures</summary>\n" +
      html_table(rows) + "</details>\n";
  body += html_paragraph(
      "Planned before the first step. The measured peak also holds the program "
      "and its libraries. The chart adds up parts of one kind, and layers: h.* is all blocks.",
      "note");
  return html_section("memory-section", "Memory", body);
}

std::string configuration_section(const std::vector<ChartGroup>& groups) {
  const std::vector<std::string> names =
      has_several(groups) ? std::vector<std::string>{"name", "seed"} : std::vector<std::string>{};
  const std::string body = comparison(groups, "Key", &RunRecord::config, names);
  return html_section("configuration", "Configuration",
                      body.empty() ? "" : first_of_arm(groups, "Resolved configurations") + body);
}

std::string environment_section(const std::vector<ChartGroup>& groups) {
  const std::string body = comparison(groups, "Entry", &RunRecord::environment, {});
  return html_section("environment", "Environment",
                      body.empty() ? "" : first_of_arm(groups, "Environments") + body);
}

std::string samples_section(const std::vector<ChartGroup>& groups) {
  std::string body;
  for (const ChartGroup& group : groups)
    for (const RunRecord* run : group.runs) {
      if (run->samples.empty()) continue;
      const bool cut = run->samples.size() > kLongestSample;
      body += fmt::format("<details{}><summary>{}</summary>\n<pre>{}{}</pre></details>\n",
                          body.empty() ? " open" : "", escape_html(run->name),
                          escape_html(beginning(run->samples, kLongestSample)), cut ? " …" : "");
    }
  if (body.empty()) return "";
  return html_section(
      "samples", "Samples",
      html_paragraph("What the models write at the end of training; not a measure of anything.",
                     "note") +
          body);
}

std::string notes_section(const std::vector<std::string>& notes) {
  if (notes.empty()) return "";
  std::string body = "<ul>\n";
  for (const std::string& note : notes) body += "<li>" + escape_html(note) + "</li>\n";
  return html_section("notes", "Notes", body + "</ul>\n");
}

}  // namespace strobe
