// The report of a study as a page.
#include <algorithm>
#include <cmath>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/report/effects_section.h"
#include "strobe/report/format.h"
#include "strobe/report/html.h"
#include "strobe/report/page_parts.h"
#include "strobe/report/plots.h"
#include "strobe/report/study_analysis.h"
#include "strobe/report/study_report.h"

namespace strobe {

namespace {

std::string capital(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 32);
  return text;
}

// What was fixed before the first run.
std::string stated_section(const StudyResult& study) {
  if (study.stopping_rule.empty()) return "";
  std::vector<std::string> targets, seeds;
  for (const TargetResult& target : study.targets)
    if (target.stated) targets.push_back(fmt::format("{:g}", target.target));
  for (const int64_t seed : study.seeds) seeds.push_back(fmt::format("{}", seed));
  std::vector<std::vector<std::string>> rows = {
      {"", ""},
      {"Primary outcome", study.noun + (study.unit.empty() ? "" : ", " + study.unit)},
      {"Targets", targets.empty() ? "none stated" : fmt::format("{}", fmt::join(targets, ", "))},
      {"Seeds", fmt::format("{} ({})", seeds.size(), fmt::join(seeds, ", "))},
      {"Stopping rule", study.stopping_rule}};
  return html_section("stated", "Stated before the first run", html_table(rows, 2));
}

std::string steps_text(double value) {
  return std::isfinite(value) ? count_text(value) : std::isinf(value) ? "∞" : "—";
}

// A ratio out of an effect on logarithms.
std::string ratio_text(const Interval& logarithm) {
  Interval ratio = logarithm;
  for (double* x : {&ratio.estimate, &ratio.low, &ratio.high}) *x = std::exp(*x);
  return short_interval(ratio, 3);
}

// "lr: high / low" of "lr: high − low".
std::string as_ratio(std::string name) {
  const std::string minus = "−";
  if (const size_t at = name.find(minus); at != std::string::npos)
    name.replace(at, minus.size(), "/");
  return name;
}

std::string split_tables(const StudyResult& study) {
  std::vector<std::vector<std::string>> rows = {
      {"Target", "Effect, as a ratio", "Seconds", "= steps", "× seconds a step", "Seeds"}};
  for (const TargetResult& target : study.targets)
    if (const auto& split = target.split)
      for (size_t i = 0; i < split->seconds.size(); ++i)
        rows.push_back({fmt::format("{:.4g}", target.target), as_ratio(split->seconds[i].name),
                        ratio_text(split->seconds[i].effect), ratio_text(split->steps[i].effect),
                        ratio_text(split->seconds_a_step[i].effect),
                        fmt::format("{}", split->seeds)});
  if (rows.size() == 1) return "";
  return html_table(rows, 2) +
         html_paragraph(
             "Time to a target is its steps times the seconds of one, so that effects on its "
             "logarithm add up; over the seeds whose every run reached it. An interaction (×) is a "
             "ratio of ratios: 1 where the effects multiply.",
             "note");
}

std::string targets_section(const StudyResult& study, const std::vector<Plot>& plots) {
  if (study.targets.empty()) return "";
  std::vector<std::vector<std::string>> rows = {
      {"Target", "Arm", "Reached", "Seconds", "Tokens", "Steps", "FLOP"}};
  for (const TargetResult& target : study.targets)
    for (const ArmTarget& arm : target.arms)
      rows.push_back(
          {fmt::format("{:.4g}{}", target.target, target.stated ? "" : " (not stated before)"),
           arm.arm, fmt::format("{} of {}", arm.reached, arm.runs),
           std::isfinite(arm.seconds) ? number_text(arm.seconds, 1) : steps_text(arm.seconds),
           steps_text(arm.tokens), steps_text(arm.steps),
           std::isfinite(arm.flops) ? fmt::format("{:.3g}", arm.flops) : steps_text(arm.flops)});
  std::string note =
      "Medians over seeds of what it took to the first evaluation at or below the target; a run "
      "that "
      "misses it, or did not finish, counts as infinite (∞).";
  std::string scores;
  if (study.profile) {
    std::vector<std::vector<std::string>> table = {{"Arm", "Profile score"}};
    for (size_t a = 0; a < study.arms.size(); ++a)
      table.push_back({study.arms[a].name, number_text(study.profile->score[a], 3)});
    scores = html_table(table);
    note += fmt::format(
        " The profile (as AlgoPerf's) has an instance for each target and seed, {} that some arm "
        "reaches; the score is its mean between 1 and 4 times the fastest time.",
        study.profile->instances);
  }
  return html_section("targets", "To a target",
                      html_table(rows, 2) + plot_frames(plots, "targets") + scores +
                          html_paragraph(note, "note") + split_tables(study));
}

std::string fronts_section(const std::vector<Plot>& plots) {
  const std::string frames = plot_frames(plots, "fronts");
  if (frames.empty()) return "";
  return html_section("fronts", "Outcome against time and memory",
                      frames + html_paragraph("Points are runs; the line joins the arms that no "
                                              "other beats in both (the Pareto front).",
                                              "note"));
}

std::string search_section(const StudyResult& study, const std::vector<Plot>& plots) {
  if (!study.search) return "";
  const SearchResult& s = *study.search;
  std::vector<std::vector<std::string>> cost = {
      {"", "Trials", "Complete", "Pruned", "Failed", "Process time", "Tokens", "FLOP"},
      {fmt::format("search by {}{}", s.sampler, s.pruner == "none" ? "" : ", " + s.pruner),
       fmt::format("{}", s.complete + s.pruned + s.failed + s.running),
       fmt::format("{}", s.complete), fmt::format("{}", s.pruned), fmt::format("{}", s.failed),
       fmt::format("{:.0f} s", s.wall), count_text(s.tokens),
       s.flops > 0 ? fmt::format("{:.3g}", s.flops) : "—"}};
  std::vector<const TrialResult*> order;
  for (const TrialResult& t : s.trials)
    if (t.phase == "search") order.push_back(&t);
  std::stable_sort(order.begin(), order.end(), [](const TrialResult* a, const TrialResult* b) {
    const double x = std::isnan(a->value) ? INFINITY : a->value;
    const double y = std::isnan(b->value) ? INFINITY : b->value;
    return x < y;
  });
  std::vector<std::vector<std::string>> rows = {{"Trial"}};
  for (const std::string& name : s.parameters) rows[0].push_back(name);
  for (const char* head : {"Seed", "State", "Outcome", "Seconds"}) rows[0].emplace_back(head);
  for (const TrialResult* t : order) {
    rows.push_back({t->name});
    for (size_t p = 0; p < s.parameters.size(); ++p) {
      const double value = t->parameters[p];
      const bool label = !std::isnan(value) && static_cast<size_t>(value) < s.labels[p].size();
      rows.back().push_back(std::isnan(value) ? "—"
                            : label           ? s.labels[p][static_cast<size_t>(value)]
                                              : fmt::format("{:.4g}", value));
    }
    rows.back().push_back(fmt::format("{}", t->seed));
    rows.back().push_back(t->reason.empty() || t->reason == "diverged"
                              ? t->reason.empty() ? t->state : t->reason
                              : t->state + ": " + t->reason.substr(0, 60));
    rows.back().push_back(number_text(t->value, 4)),
        rows.back().push_back(number_text(t->seconds, 1));
  }
  std::string ranks;
  if (!s.rungs.empty()) {
    std::vector<std::vector<std::string>> table = {
        {"Rung", "Trials", "Short whole runs", "The whole run on its way", "Difference"}};
    for (const RungResult& rung : s.rungs)
      table.push_back({fmt::format("{} %", rung.percent), fmt::format("{}", rung.trials),
                       short_interval(rung.complete, 2), short_interval(rung.mid_run, 2),
                       short_interval(rung.difference, 2)});
    ranks =
        html_table(table) + html_paragraph(
                                "Spearman's rank correlation of what a rung showed with the final "
                                "outcome, over the trials that were run whole, with intervals "
                                "after Bonett and Wright; the difference's is bootstrapped.",
                                "note");
  }
  const std::string parallel =
      s.parameters.size() > 1 ? "<div id=\"parallel\" class=\"chart\"></div>\n" : "";
  return html_section(
      "search", "The search",
      html_table(cost) + plot_frames(plots, "search") + parallel + ranks +
          "<details><summary>All trials</summary>" + html_table(rows) + "</details>\n" +
          html_paragraph(
              "Importance is PED-ANOVA's: how far the best tenth of the trials lies from "
              "all of them. Failed trials are drawn at the top, as crosses.",
              "note"));
}

std::string arms_section(const StudyResult& study) {
  std::vector<std::vector<std::string>> rows = {{"Arm", "n", "Tokens", "Seconds", "Tokens/s",
                                                 "Peak memory", capital(study.noun),
                                                 "Bits per byte", "Word perplexity"}};
  for (const ArmResult& arm : study.arms)
    rows.push_back({arm.name, fmt::format("{}", arm.loss.n), count_text(arm.tokens),
                    number_text(arm.seconds, 1), count_text(arm.tokens_per_second),
                    bytes_text(arm.peak_bytes), short_interval(arm.loss, 3),
                    short_interval(arm.bits_per_byte, 3),
                    perplexity_text(arm.word_perplexity.estimate)});
  if (study.text) {
    rows.push_back(
        {"Unigram entropy of the text", "", "", "", "", "",
         number_text(study.in_unit(study.text->unigram_nats, study.text->unigram_bits_per_byte), 3),
         number_text(study.text->unigram_bits_per_byte, 3), ""});
    rows.push_back(
        {"Bigram entropy of the text", "", "", "", "", "",
         number_text(study.in_unit(study.text->bigram_nats, study.text->bigram_bits_per_byte), 3),
         number_text(study.text->bigram_bits_per_byte, 3), ""});
  }
  std::string averages;
  std::vector<std::vector<std::string>> averaged = {
      {"Arm", "Averaged weights", "n", "Validation loss", "Difference from the weights' own"}};
  for (const ArmResult& arm : study.arms)
    for (const auto& [name, average] : {std::pair("EMA", &arm.ema), {"LAWA", &arm.lawa}})
      if (average->loss.n > 0)
        averaged.push_back({arm.name, name, fmt::format("{}", average->loss.n),
                            short_interval(average->loss, 3),
                            short_interval(average->difference, 3)});
  if (averaged.size() > 1)
    averages = html_table(averaged, 2) +
               html_paragraph(
                   "Averages of the weights, evaluated beside the weights themselves; "
                   "differences are taken run by run.",
                   "note");
  return html_section(
      "arms", "Arms",
      html_table(rows) + averages +
          html_paragraph(
              "Means over n seeds, in brackets their 95 % interval (Student's t; from ten seeds on "
              "the bias-corrected and accelerated bootstrap). Lower is better." +
                  (study.unit.empty() ? "" : " " + capital(study.noun) + " in " + study.unit + "."),
              "note"));
}

std::string stability_section(const StudyResult& study) {
  std::vector<std::vector<std::string>> rows = {{"Arm", "Runs", "Diverged", "Failed",
                                                 "Standard deviation", "Clipped steps",
                                                 "Loss spikes", "Gradient spikes"}};
  for (const ArmResult& arm : study.arms) {
    const bool logged = arm.logged_steps > 0;
    rows.push_back({arm.name, fmt::format("{}", arm.runs.size()), fmt::format("{}", arm.diverged),
                    fmt::format("{}", arm.failed), short_interval(arm.deviation, 4),
                    std::isfinite(arm.clipped) ? fmt::format("{:.1f} %", 100 * arm.clipped) : "—",
                    logged ? number_text(arm.loss_spikes, 1) : "—",
                    logged ? number_text(arm.norm_spikes, 1) : "—"});
  }
  std::string out =
      html_table(rows) +
      html_paragraph(
          "Standard deviation of the " + study.noun +
              " over seeds, with the 95 % interval of a normal distribution's; share of the steps "
              "whose gradient was clipped; spikes a run: steps seven standard deviations above the "
              "mean of the hundred before them. Means over the runs of an arm.",
          "note");
  if (study.search && !study.search->bands.empty()) {
    std::vector<std::vector<std::string>> table = {
        {"Searched", "Best at", "Best", "Within", "From", "To", "Factor", "Points", "Failed"}};
    for (const BandResult& b : study.search->bands) {
      const auto end = [](double value, bool edge) {
        return fmt::format("{:.3g}{}", value, edge ? " (end)" : "");
      };
      table.push_back({(b.arm.empty() ? "" : b.arm + ": ") + b.parameter,
                       fmt::format("{:.3g}", b.band.best_at), number_text(b.band.best, 4),
                       fmt::format("{:.3g}", b.tolerance), end(b.band.low, b.band.low_is_edge),
                       end(b.band.high, b.band.high_is_edge), number_text(b.band.ratio(), 1),
                       fmt::format("{}", b.points), fmt::format("{}", b.failed)});
    }
    out += html_table(table) +
           html_paragraph(
               "How far a parameter may be from the best for the outcome to stay that "
               "near to it: between points by straight lines, on a logarithmic scale "
               "where the search had one. A point of which a run diverged ends a band.",
               "note");
  }
  return html_section("stability", "Stability", out);
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
  const std::vector<ChartGroup> groups = groups_of(study);
  std::string body =
      page_head("study", result.name, result.question, result.headline, result.sentences);
  const std::vector<Plot> plots = plots_of(result);
  if (!result.arms.empty()) body += arms_section(result);
  body += stated_section(result) + effects_section(result, plots) +
          (result.arms.empty() ? "" : stability_section(result)) + targets_section(result, plots) +
          fronts_section(plots) + search_section(result, plots) + equal_tokens_section(result);
  if (!groups.empty())
    body += curves_section(groups, true) + memory_section(groups) + configuration_section(groups) +
            environment_section(groups) + samples_section(groups);
  body += notes_section(result.notes);
  write_file("report", out,
             html_page(result.name + " · strobe", body, charts_json(groups, &result)));
}

}  // namespace strobe
