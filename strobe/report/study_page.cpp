// The report of a study as a page.
#include <cmath>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/report/format.h"
#include "strobe/report/html.h"
#include "strobe/report/page_parts.h"
#include "strobe/report/study_analysis.h"
#include "strobe/report/study_report.h"

namespace strobe {

namespace {

std::string arms_section(const StudyResult& study) {
  std::vector<std::vector<std::string>> rows = {{"Arm", "n", "Tokens", "Seconds", "Tokens/s",
                                                 "Peak memory", "Validation loss", "Bits per byte",
                                                 "Word perplexity"}};
  for (const ArmResult& arm : study.arms)
    rows.push_back({arm.name, fmt::format("{}", arm.loss.n), count_text(arm.tokens),
                    number_text(arm.seconds, 1), count_text(arm.tokens_per_second),
                    bytes_text(arm.peak_bytes), short_interval(arm.loss, 3),
                    short_interval(arm.bits_per_byte, 3),
                    perplexity_text(arm.word_perplexity.estimate)});
  if (study.text) {
    rows.push_back({"Unigram entropy of the text", "", "", "", "", "",
                    number_text(study.text->unigram_nats, 3),
                    number_text(study.text->unigram_bits_per_byte, 3), ""});
    rows.push_back({"Bigram entropy of the text", "", "", "", "", "",
                    number_text(study.text->bigram_nats, 3),
                    number_text(study.text->bigram_bits_per_byte, 3), ""});
  }
  return html_section(
      "arms", "Arms",
      html_table(rows) +
          html_paragraph(
              "Means over n seeds, in brackets their 95 % interval (Student's t). Loss in "
              "nats a token, lower is better.",
              "note"));
}

void add_effect(std::vector<std::vector<std::string>>& rows, const std::string& name,
                const Interval& loss, const std::string& superiority = "") {
  const char* verdict = loss.n < 2          ? "too few runs"
                        : !loss.resolved()  ? "unresolved"
                        : loss.estimate < 0 ? "lower"
                                            : "higher";
  rows.push_back(
      {name, number_text(loss.estimate, 3),
       loss.n < 2 ? "—"
                  : fmt::format("{} to {}", number_text(loss.low, 3), number_text(loss.high, 3)),
       fmt::format("{}", loss.n), verdict});
  if (!superiority.empty()) rows.back().push_back(superiority);
}

std::string effects_section(const StudyResult& study) {
  std::string charts =
      "<div class=\"grid two\"><div id=\"effects\" class=\"chart\"></div>"
      "<div id=\"cells\" class=\"chart\"></div></div>\n";
  std::vector<std::vector<std::string>> rows = {
      {"Effect on the validation loss", "Difference", "95 % interval", "Seeds", "Verdict"}};
  std::string note =
      "Differences are taken seed by seed (the runs of a seed share data order and "
      "initialisation), "
      "intervals over seeds by Student's t. An interval that covers zero leaves the effect "
      "unresolved.";
  if (const auto& f = study.factorial) {
    for (size_t i = 0; i < 2; ++i) {
      const FactorResult &factor = f->factors[i], &other = f->factors[1 - i];
      const std::string name = fmt::format("{}: {} − {}", factor.name, factor.to, factor.from);
      add_effect(rows, name, factor.loss);
      add_effect(rows, fmt::format("   with {}", other.from), factor.loss_at[0]);
      add_effect(rows, fmt::format("   with {}", other.to), factor.loss_at[1]);
    }
    add_effect(rows, "both together", f->both);
    add_effect(rows, "interaction (both − sum of the two)", f->interaction);
    note += " A main effect is the mean of the effect at either level of the other factor.";
  } else {
    if (study.comparisons.empty()) return "";
    rows[0].push_back("P(lower)");
    for (const ComparisonResult& c : study.comparisons)
      add_effect(rows, fmt::format("{} − {}", c.arm, c.reference), c.loss,
                 number_text(c.superiority, 2));
    note +=
        " Not corrected for the number of comparisons. P(lower): the chance that a run of the "
        "arm beats one of the other.";
  }
  std::string ratios;
  if (study.factorial && study.factorial->both.n > 1) {
    std::vector<std::vector<std::string>> table = {
        {"Ratio", "Tokens/s", "Tokens seen", "Peak memory"}};
    for (const FactorResult& factor : study.factorial->factors)
      table.push_back({fmt::format("{}: {} / {}", factor.name, factor.to, factor.from),
                       short_interval(factor.tokens_per_second, 2),
                       short_interval(factor.tokens, 2), short_interval(factor.peak_bytes, 2)});
    ratios = html_table(table);
  }
  return html_section("effects-section", "Effects",
                      charts + html_table(rows) + ratios + html_paragraph(note, "note"));
}

std::string equal_tokens_section(const StudyResult& study) {
  if (!study.equal_tokens) return "";
  const EqualTokensResult& e = *study.equal_tokens;
  std::vector<std::vector<std::string>> rows = {
      {e.factor, "Tokens", "Steps", "Tokens/s", "Peak memory", "Validation loss"}};
  for (size_t i = 0; i < 2; ++i)
    rows.push_back({e.levels[i], count_text(e.tokens), number_text(e.steps, 0),
                    count_text(e.tokens_per_second[i]), bytes_text(e.peak_bytes[i]),
                    number_text(e.loss[i], 5)});
  return html_section(
      "equal-tokens", "At equal tokens",
      html_table(rows) +
          html_paragraph(fmt::format("Largest difference of the training loss at any step: {:.2g}.",
                                     e.largest_training_difference),
                         "note"));
}

}  // namespace

void write_study_report(const std::string& folder, const std::string& out) {
  const StudyRecord study = read_study_record(folder);
  const StudyResult result = analyse(study);
  std::vector<ChartGroup> groups;
  for (const ArmRecord& arm : study.arms) {
    groups.push_back({arm.name, {}});
    for (const auto& run : arm.runs)
      if (run) groups.back().runs.push_back(&*run);
  }
  std::erase_if(groups, [](const ChartGroup& group) { return group.runs.empty(); });
  std::string body =
      page_head("study", result.name, result.question, result.headline, result.sentences);
  body += arms_section(result) + effects_section(result) + equal_tokens_section(result);
  if (!groups.empty())
    body += curves_section(groups, true) + memory_section(groups) + configuration_section(groups) +
            environment_section(groups) + samples_section(groups);
  body += notes_section(result.notes);
  write_file("report", out,
             html_page(result.name + " · strobe", body, charts_json(groups, &result)));
}

}  // namespace strobe
