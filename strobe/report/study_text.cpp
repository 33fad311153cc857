// A study's result for a terminal and for programs.
#include <algorithm>
#include <cmath>

#include "strobe/core/error.h"
#include "strobe/core/json_text.h"
#include "strobe/report/charts.h"
#include "strobe/report/format.h"
#include "strobe/report/json_object.h"
#include "strobe/report/study_analysis.h"
#include "strobe/report/table.h"

namespace strobe {

namespace {

constexpr size_t kWidth = 100;

std::string plus_minus(const Interval& i, int decimals) {
  if (i.n < 2) return number_text(i.estimate, decimals);
  return fmt::format("{} ± {:.{}f}", number_text(i.estimate, decimals), (i.high - i.low) / 2,
                     decimals);
}

std::string json_of(const SeedResult& run) {
  return JsonObject()
      .number("seed", static_cast<double>(run.seed))
      .text("folder", run.folder)
      .text("state", run.state)
      .number("value", run.loss)
      .number("val/bits_per_byte", run.bits_per_byte)
      .number("val/word_perplexity", run.word_perplexity)
      .number("tokens", run.tokens)
      .number("seconds", run.seconds)
      .number("tokens_per_second", run.tokens_per_second)
      .number("peak_bytes", run.peak_bytes)
      .str();
}

std::string json_of(const ArmResult& arm) {
  return JsonObject()
      .text("name", arm.name)
      .raw("levels", json_entries(arm.levels))
      .raw("overrides", json_entries(arm.overrides))
      .interval("value", arm.loss)
      .interval("val/bits_per_byte", arm.bits_per_byte)
      .interval("val/word_perplexity", arm.word_perplexity)
      .interval("val/loss_ema", arm.ema.loss)
      .interval("val/loss_ema - val/loss", arm.ema.difference)
      .interval("val/loss_lawa", arm.lawa.loss)
      .interval("val/loss_lawa - val/loss", arm.lawa.difference)
      .number("tokens", arm.tokens)
      .number("seconds", arm.seconds)
      .number("tokens_per_second", arm.tokens_per_second)
      .number("peak_bytes", arm.peak_bytes)
      .interval("standard_deviation", arm.deviation)
      .number("clipped_share", arm.clipped)
      .number("loss_spikes", arm.loss_spikes)
      .number("gradient_norm_spikes", arm.norm_spikes)
      .number("logged_steps", arm.logged_steps)
      .number("diverged", arm.diverged)
      .number("failed", arm.failed)
      .raw("runs", json_array(arm.runs, [](const SeedResult& run) { return json_of(run); }))
      .str();
}

std::string json_of(const FactorialContrast& c) {
  return JsonObject()
      .text("name", c.name)
      .raw("interaction", c.interaction ? "true" : "false")
      .interval("effect", c.effect)
      .number("p", c.p)
      .number("p_holm", c.corrected)
      .str();
}

std::string json_of(const VarianceTest& t) {
  return JsonObject()
      .raw("factors", json_array(t.factors, [](const std::string& f) { return json_quote(f); }))
      .number("f", t.f)
      .number("numerator_df", t.numerator_df)
      .number("denominator_df", t.denominator_df)
      .number("p", t.p)
      .str();
}

std::string json_of(const TimeSplit& split) {
  const auto print = [](const FactorialContrast& c) { return json_of(c); };
  return JsonObject()
      .number("seeds", static_cast<double>(split.seeds))
      .raw("log_seconds", json_array(split.seconds, print))
      .raw("log_steps", json_array(split.steps, print))
      .raw("log_seconds_a_step", json_array(split.seconds_a_step, print))
      .str();
}

// Infinite times, of targets that were missed, are null.
std::string json_of(const TargetResult& t) {
  return JsonObject()
      .raw("split", t.split ? json_of(*t.split) : "null")
      .number("target", t.target)
      .raw("stated_before", t.stated ? "true" : "false")
      .raw("arms", json_array(t.arms,
                              [](const ArmTarget& a) {
                                return JsonObject()
                                    .text("arm", a.arm)
                                    .number("reached", a.reached)
                                    .number("runs", a.runs)
                                    .number("median_seconds", a.seconds)
                                    .number("median_seconds_with_search", a.seconds_with_search)
                                    .number("median_tokens", a.tokens)
                                    .number("median_steps", a.steps)
                                    .number("median_flops", a.flops)
                                    .str();
                              }))
      .str();
}

std::string json_of(const SearchResult& s, const TrialResult& t) {
  JsonObject parameters, rungs;
  for (size_t p = 0; p < s.parameters.size(); ++p) {
    const double value = t.parameters[p];
    if (std::isnan(value)) continue;
    const auto index = static_cast<size_t>(value);
    if (index < s.labels[p].size() && !s.labels[p].empty())
      parameters.text(s.parameters[p].c_str(), s.labels[p][index]);
    else
      parameters.number(s.parameters[p].c_str(), value);
  }
  for (const auto& [percent, value] : t.rungs)
    rungs.number(fmt::format("{}", percent).c_str(), value);
  JsonObject out;
  out.number("number", static_cast<double>(t.number)).text("name", t.name).text("arm", t.arm);
  out.text("phase", t.phase).number("seed", static_cast<double>(t.seed)).text("state", t.state);
  if (!t.reason.empty()) out.text("reason", t.reason);
  out.raw("parameters", parameters.str()).raw("rungs", rungs.str()).number("value", t.value);
  out.number("best_so_far", t.best).number("wall_seconds", t.wall).number("seconds", t.seconds);
  return out.number("tokens", t.tokens).number("flops", t.flops).str();
}

std::string json_of(const SearchResult& s) {
  JsonObject shares;
  for (size_t p = 0; p < s.importance.size(); ++p)
    shares.number(s.parameters[p].c_str(), s.importance[p]);
  JsonObject out;
  out.text("sampler", s.sampler).text("pruner", s.pruner);
  out.raw("confirmed", s.confirmed ? "true" : "false");
  out.number("complete", s.complete).number("pruned", s.pruned).number("failed", s.failed);
  out.number("running", s.running).number("wall_seconds", s.wall).number("tokens", s.tokens);
  out.number("flops", s.flops).number("confirm_wall_seconds", s.confirm_wall);
  out.number("best",
             s.best < 0 ? NAN : static_cast<double>(s.trials[static_cast<size_t>(s.best)].number));
  out.number("best_value", s.best_value).number("best_seeds", s.best_seeds);
  out.raw("importance", shares.str());
  out.raw("best_at_edge_of",
          json_array(s.edges, [](const std::string& p) { return json_quote(p); }));
  out.raw("rungs", json_array(s.rungs, [](const RungResult& r) {
            return JsonObject()
                .number("percent", static_cast<double>(r.percent))
                .number("trials", static_cast<double>(r.trials))
                .interval("rank_correlation_complete", r.complete)
                .interval("rank_correlation_mid_run", r.mid_run)
                .interval("difference", r.difference)
                .str();
          }));
  out.raw("bands", json_array(s.bands, [](const BandResult& b) {
            const auto flag = [](bool value) { return value ? "true" : "false"; };
            return JsonObject()
                .text("arm", b.arm)
                .text("parameter", b.parameter)
                .number("best_at", b.band.best_at)
                .number("best", b.band.best)
                .number("tolerance", b.tolerance)
                .number("from", b.band.low)
                .number("to", b.band.high)
                .number("ratio", b.band.ratio())
                .raw("from_is_edge", flag(b.band.low_is_edge))
                .raw("to_is_edge", flag(b.band.high_is_edge))
                .number("points", static_cast<double>(b.points))
                .number("failed_points", static_cast<double>(b.failed))
                .str();
          }));
  out.raw("pareto_seconds",
          json_array(s.front, [&](size_t i) { return fmt::format("{}", s.trials[i].number); }));
  out.raw("trials", json_array(s.trials, [&](const TrialResult& t) { return json_of(s, t); }));
  return out.str();
}

std::string json_of(const FactorResult& f) {
  return JsonObject()
      .text("factor", f.name)
      .text("from", f.from)
      .text("to", f.to)
      .interval("difference", f.loss)
      .number("p_holm", f.corrected)
      .raw("loss_at_levels_of_the_other",
           json_array(
               f.loss_at,
               [](const Interval& i) { return JsonObject().interval("difference", i).str(); }))
      .interval("tokens_per_second_ratio", f.tokens_per_second)
      .interval("peak_bytes_ratio", f.peak_bytes)
      .interval("tokens_ratio", f.tokens)
      .str();
}

}  // namespace

std::string console_summary(const StudyResult& result) {
  std::vector<std::vector<std::string>> rows = {
      {"arm", "runs", "tokens", "tokens/s", "peak memory", result.noun, "bits per byte"}};
  bool spread = false;
  for (const ArmResult& arm : result.arms) {
    spread = spread || arm.loss.n > 1;
    rows.push_back({arm.name, fmt::format("{}", arm.loss.n), count_text(arm.tokens),
                    count_text(arm.tokens_per_second), bytes_text(arm.peak_bytes),
                    plus_minus(arm.loss, 3), plus_minus(arm.bits_per_byte, 3)});
  }
  if (result.text) {
    rows.push_back(
        {"(text: unigram entropy)", "", "", "", "",
         number_text(result.in_unit(result.text->unigram_nats, result.text->unigram_bits_per_byte),
                     3),
         number_text(result.text->unigram_bits_per_byte, 3)});
    rows.push_back(
        {"(text: bigram entropy)", "", "", "", "",
         number_text(result.in_unit(result.text->bigram_nats, result.text->bigram_bits_per_byte),
                     3),
         number_text(result.text->bigram_bits_per_byte, 3)});
  }
  // Masked words and labelled texts are not compressed: nothing to show.
  if (std::ranges::none_of(result.arms,
                           [](const ArmResult& arm) { return arm.bits_per_byte.n > 0; }))
    for (auto& row : rows) row.pop_back();
  for (const auto& [name, average] :
       {std::pair("EMA − weights", &ArmResult::ema), {"LAWA − weights", &ArmResult::lawa}}) {
    if (std::ranges::none_of(result.arms,
                             [&](const ArmResult& arm) { return (arm.*average).loss.n > 0; }))
      continue;
    rows[0].emplace_back(name);
    for (size_t r = 1; r < rows.size(); ++r)
      rows[r].push_back(
          r <= result.arms.size() ? plus_minus((result.arms[r - 1].*average).difference, 3) : "");
  }
  std::string out = text_table(rows);
  if (spread)
    out +=
        "Means over seeds; ± is half of the 95 % interval (Student's t; resampled from ten seeds "
        "on).\n";
  out += "\n" + wrap_text(result.headline, kWidth);
  for (const std::string& sentence : result.sentences) out += "\n" + wrap_text(sentence, kWidth);
  for (const std::string& note : result.notes) out += "\n" + wrap_text("note: " + note, kWidth);
  return out;
}

std::string study_json(const StudyResult& result, const std::string& charts) {
  const auto quote = [](const std::string& text) { return json_quote(text); };
  JsonObject out;
  out.text("name", result.name).text("question", result.question).text("answer", result.headline);
  out.text("outcome", result.outcome).text("stopping_rule", result.stopping_rule);
  out.raw("sentences", json_array(result.sentences, quote))
      .raw("notes", json_array(result.notes, quote));
  out.raw("seeds", json_array(result.seeds, [](int64_t seed) { return fmt::format("{}", seed); }));
  out.raw("arms", json_array(result.arms, [](const ArmResult& arm) { return json_of(arm); }));
  if (const auto& f = result.factorial) {
    JsonObject factorial;
    factorial.raw("factors", json_array(f->factors, [](const FactorResult& factor) {
                    return json_of(factor);
                  }));
    factorial.interval("interaction", f->interaction).interval("both", f->both);
    factorial.number("interaction_p_holm", f->interaction_corrected)
        .number("both_p_holm", f->both_corrected);
    factorial.raw("seeds",
                  json_array(f->seeds, [](int64_t seed) { return fmt::format("{}", seed); }));
    out.raw("factorial", factorial.str());
  }
  out.raw("comparisons", json_array(result.comparisons, [](const ComparisonResult& c) {
            return JsonObject()
                .text("arm", c.arm)
                .text("reference", c.reference)
                .interval("difference", c.loss)
                .number("probability_of_superiority", c.superiority)
                .number("p", c.p)
                .number("p_holm", c.corrected)
                .str();
          }));
  if (const auto& e = result.effects) {
    const auto print = [](const auto& one) { return json_of(one); };
    out.raw("effects", JsonObject()
                           .number("seeds", static_cast<double>(e->seeds))
                           .raw("contrasts", json_array(e->contrasts, print))
                           .raw("analysis_of_variance", json_array(e->variance, print))
                           .str());
  }
  out.raw("targets", json_array(result.targets, [](const TargetResult& t) { return json_of(t); }));
  if (const auto& p = result.profile) {
    const auto number = [](double value) { return json_number(value); };
    JsonObject arms;
    for (size_t a = 0; a < result.arms.size(); ++a)
      arms.raw(result.arms[a].name.c_str(), JsonObject()
                                                .number("score", p->score[a])
                                                .raw("share", json_array(p->share[a], number))
                                                .str());
    out.raw("performance_profile", JsonObject()
                                       .number("instances", static_cast<double>(p->instances))
                                       .raw("tau", json_array(p->tau, number))
                                       .raw("arms", arms.str())
                                       .str());
  }
  const auto name = [&](size_t arm) { return json_quote(result.arms[arm].name); };
  out.raw("pareto_seconds", json_array(result.front_of_seconds, name));
  out.raw("pareto_memory", json_array(result.front_of_memory, name));
  if (result.search) out.raw("search", json_of(*result.search));
  if (const auto& text = result.text)
    out.raw("text", JsonObject()
                        .number("unigram_bits_per_byte", text->unigram_bits_per_byte)
                        .number("bigram_bits_per_byte", text->bigram_bits_per_byte)
                        .number("unigram_nats", text->unigram_nats)
                        .number("bigram_nats", text->bigram_nats)
                        .str());
  if (const auto& e = result.equal_tokens) {
    const auto number = [](double value) { return json_number(value); };
    out.raw("equal_tokens",
            JsonObject()
                .text("factor", e->factor)
                .raw("levels", json_array(e->levels, quote))
                .raw("value", json_array(e->loss, number))
                .raw("tokens_per_second", json_array(e->tokens_per_second, number))
                .raw("peak_bytes", json_array(e->peak_bytes, number))
                .number("tokens", e->tokens)
                .number("steps", e->steps)
                .number("largest_training_difference", e->largest_training_difference)
                .str());
  }
  if (!charts.empty()) out.raw("charts", charts);
  return out.str() + "\n";
}

std::string study_json(const std::string& folder) {
  const StudyRecord study = read_study_record(folder);
  const StudyResult result = analyse(study);
  return study_json(result, charts_json(groups_of(study), &result));
}

}  // namespace strobe
