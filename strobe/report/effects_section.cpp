#include "strobe/report/effects_section.h"

#include <cmath>

#include "strobe/core/error.h"
#include "strobe/report/format.h"
#include "strobe/report/html.h"

namespace strobe {

namespace {

std::string p_text(double p) {
  return std::isnan(p) ? "—" : p < 0.001 ? "< 0.001" : number_text(p, 3);
}

// `corrected`: NaN of what is not judged.
void add_effect(std::vector<std::vector<std::string>>& rows, const std::string& name,
                const Interval& loss, double corrected, const std::vector<std::string>& more = {}) {
  const char* verdict = loss.n < 2              ? "too few runs"
                        : std::isnan(corrected) ? "—"
                        : corrected >= 0.05     ? "unresolved"
                        : loss.estimate < 0     ? "lower"
                                                : "higher";
  rows.push_back(
      {name, number_text(loss.estimate, 3),
       loss.n < 2 ? "—"
                  : fmt::format("{} to {}", number_text(loss.low, 3), number_text(loss.high, 3)),
       fmt::format("{}", loss.n), verdict, p_text(corrected)});
  rows.back().insert(rows.back().end(), more.begin(), more.end());
}

std::vector<std::vector<std::string>> effect_rows(const StudyResult& study, const char* what) {
  return {{what + study.noun, "Difference", "95 % interval", "Seeds", "Verdict", "p, Holm"}};
}

// Which method intervals and p-values have, by the number of seeds.
std::string method_text(const StudyResult& study) {
  return study.seeds.size() < kFewestForBootstrap
             ? "intervals and p over seeds are Student's t's"
             : fmt::format(
                   "intervals and p over seeds are the bias-corrected and accelerated "
                   "bootstrap's (Student's t's of fewer than {} seeds)",
                   kFewestForBootstrap);
}

// What [compare] states; otherwise every arm against the first.
std::string comparisons_table(const StudyResult& study) {
  if (study.comparisons.empty()) return "";
  auto rows = effect_rows(study, "Difference of the ");
  rows[0].push_back("P(lower)");
  for (const ComparisonResult& c : study.comparisons)
    add_effect(rows, fmt::format("{} − {}", c.arm, c.reference), c.loss, c.corrected,
               {number_text(c.superiority, 2)});
  return html_table(rows) +
         html_paragraph(
             fmt::format(
                 "{}. Differences are taken seed by seed (the runs of a seed share data order and "
                 "initialisation); {}. The verdict is after Holm's correction for {} comparison{}; "
                 "the intervals are not corrected. P(lower): the chance that a run of the arm "
                 "beats one of the other.",
                 study.compare_stated ? "The comparisons that the study file states"
                                      : "Every arm against the first",
                 method_text(study), study.comparisons.size(),
                 study.comparisons.size() == 1 ? "" : "s"),
             "note");
}

// Of the factors that make the arms.
std::string factors_table(const StudyResult& study) {
  auto rows = effect_rows(study, "Effect on the ");
  if (const auto& f = study.factorial) {
    for (size_t i = 0; i < 2; ++i) {
      const FactorResult &factor = f->factors[i], &other = f->factors[1 - i];
      add_effect(rows, fmt::format("{}: {} − {}", factor.name, factor.to, factor.from), factor.loss,
                 factor.corrected);
      add_effect(rows, fmt::format("   with {}", other.from), factor.loss_at[0], NAN);
      add_effect(rows, fmt::format("   with {}", other.to), factor.loss_at[1], NAN);
    }
    add_effect(rows, "interaction (both − sum of the two)", f->interaction,
               f->interaction_corrected);
    add_effect(rows, "both together", f->both, f->both_corrected);
    return html_table(rows) +
           html_paragraph(
               fmt::format(
                   "Differences are taken seed by seed; {}. A main effect is the mean of the "
                   "effect at either level of the other factor. The verdict is after Holm's "
                   "correction for the two main effects and the interaction, of both together for "
                   "these and itself; what a factor does at one level of the other is not judged. "
                   "The intervals are not corrected.",
                   method_text(study)),
               "note");
  }
  if (!study.effects || study.effects->seeds < 2) return "";
  for (const FactorialContrast& c : study.effects->contrasts)
    add_effect(rows, c.name, c.effect, c.corrected);
  return html_table(rows) +
         html_paragraph(
             fmt::format(
                 "Levels against the first of their factor, averaged over the other "
                 "factors; an interaction (×) is by how much such a difference changes with "
                 "the other's level. Paired by seed; {}. The verdict is after Holm's "
                 "correction for {} contrasts; the intervals are not corrected.",
                 method_text(study), study.effects->contrasts.size()),
             "note");
}

}  // namespace

std::string effects_section(const StudyResult& study, const std::vector<Plot>& plots) {
  const std::string charts =
      "<div class=\"grid two\"><div id=\"effects\" class=\"chart\"></div>"
      "<div id=\"cells\" class=\"chart\"></div></div>\n";
  const std::string tables = factors_table(study) + comparisons_table(study);
  if (tables.empty()) return "";
  std::string variance;
  if (study.effects && study.effects->seeds > 1 && !study.effects->variance.empty()) {
    std::vector<std::vector<std::string>> table = {{"Analysis of variance", "F", "df", "p"}};
    for (const VarianceTest& t : study.effects->variance)
      table.push_back({fmt::format("{}", fmt::join(t.factors, " × ")), number_text(t.f, 2),
                       fmt::format("{:.0f}, {:.0f}", t.numerator_df, t.denominator_df),
                       p_text(t.p)});
    variance = html_table(table) +
               html_paragraph(
                   "Repeated measures: seeds are blocks, each effect is tested against "
                   "its own interaction with them.",
                   "note");
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
                      charts + tables + ratios + plot_frames(plots, "interactions") + variance);
}

}  // namespace strobe
