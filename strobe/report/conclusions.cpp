#include "strobe/report/conclusions.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/error.h"
#include "strobe/report/conclusion_words.h"
#include "strobe/report/format.h"
#include "strobe/report/study_analysis.h"
#include "strobe/report/study_factors.h"

namespace strobe {

namespace {

// Runs whose lengths differ by less count as equally long.
constexpr double kSameSeconds = 0.1, kSameTokens = 0.001;
// Ratios of speed and memory whose whole interval is nearer to 1 count as the same.
constexpr double kSameRatio = 0.02;
// Rounding differs between algorithms, and training amplifies it; beyond these shares of the loss
// (at the end, and at any step) it is no longer called rounding.
constexpr double kRoundingAtEnd = 0.005, kRoundingAtAnyStep = 0.02;

// "attention" for "attention.algorithm".
std::string noun(const std::string& factor) { return factor.substr(0, factor.find('.')); }

std::string capital(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 32);
  return text;
}

// The same, shorter after a change in the same direction: "by 0.212 (0.164 to 0.260)".
std::string change_after(Finding before, const Interval& loss, const std::string& noun,
                         double corrected) {
  const Finding found = finding(loss, corrected);
  if (found == Finding::unresolved || found != before) return change(loss, noun, corrected);
  return "by " + size_of(loss, "");
}

bool alike(const std::vector<ArmResult>& arms, double ArmResult::*figure, double tolerance) {
  double low = INFINITY, high = -INFINITY;
  for (const ArmResult& arm : arms)
    if (std::isfinite(arm.*figure))
      low = std::min(low, arm.*figure), high = std::max(high, arm.*figure);
  return high > 0 && (high - low) <= tolerance * high;
}

// What was held equal between the arms.
std::string basis(const StudyResult& result) {
  if (alike(result.arms, &ArmResult::tokens, kSameTokens))
    return fmt::format("at equal tokens ({} a run)", count_text(result.arms[0].tokens));
  std::vector<double> seconds;
  for (const ArmResult& arm : result.arms)
    if (std::isfinite(arm.seconds)) seconds.push_back(arm.seconds);
  if (alike(result.arms, &ArmResult::seconds, kSameSeconds))
    return fmt::format("in equal training time ({:.0f} s a run)", mean(seconds));
  if (seconds.empty()) return "with runs of unknown length";
  const auto [least, most] = std::minmax_element(seconds.begin(), seconds.end());
  if (result.seconds > 0)
    return fmt::format(
        "with lengths planned for equal training time ({:.0f} s; they took {:.0f} to "
        "{:.0f} s)",
        result.seconds, *least, *most);
  return fmt::format("with runs of unequal length ({:.0f} to {:.0f} s)", *least, *most);
}

std::string swap_text(const FactorResult& factor) {
  return fmt::format("{} {} instead of {}", factor.to, noun(factor.name), factor.from);
}

std::string factorial_headline(const StudyResult& result) {
  const FactorialResult& f = *result.factorial;
  const std::array<Finding, 2> found = {finding(f.factors[0].loss, f.factors[0].corrected),
                                        finding(f.factors[1].loss, f.factors[1].corrected)};
  const std::array<std::string, 2> nouns = {noun(f.factors[0].name), noun(f.factors[1].name)};
  if (f.seeds.size() < 2)
    return fmt::format(
        "Not yet answered: {} of {} seeds have all four runs finished, and it takes "
        "two for an interval.",
        f.seeds.size(), result.seeds.size());
  std::string answer;
  if (found[0] == Finding::better && found[1] == Finding::better)
    answer = "Both made a difference";
  else if (found[0] == Finding::better || found[1] == Finding::better)
    answer =
        fmt::format("{} made the difference", capital(nouns[found[0] == Finding::better ? 0 : 1]));
  else
    answer = fmt::format("Neither {} nor {} brought a resolved gain", nouns[0], nouns[1]);
  std::string out = fmt::format(
      "{}, {}: {} {}; {} {}", answer, basis(result), swap_text(f.factors[0]),
      change(f.factors[0].loss, result.noun, f.factors[0].corrected), swap_text(f.factors[1]),
      change_after(found[0], f.factors[1].loss, result.noun, f.factors[1].corrected));
  const auto loss_at = [&](size_t level) {
    for (const ArmResult& arm : result.arms)
      if (value_of(arm.levels, f.factors[0].name) ==
              (level ? f.factors[0].to : f.factors[0].from) &&
          value_of(arm.levels, f.factors[1].name) == (level ? f.factors[1].to : f.factors[1].from))
        return arm.loss.estimate;
    return static_cast<double>(NAN);
  };
  return out + fmt::format("; both together {}, from {:.3f} to {:.3f}{}.",
                           change_after(found[0], f.both, result.noun, f.both_corrected),
                           loss_at(0), loss_at(1), after_space(result.unit));
}

// "1.86 times the tokens a second (1.80 to 1.92)", and so on.
std::string ratio_text(const Interval& ratio, const char* what) {
  return fmt::format("{:.2f} times the {} ({}{:.2f} to {:.2f})", ratio.estimate, what,
                     ratio.resolved(1) ? "" : "unresolved: ", ratio.low, ratio.high);
}

// What a factor does to speed and memory.
std::string cost_text(const FactorResult& f) {
  std::vector<std::string> out;
  std::vector<std::string> same;
  for (const auto& [ratio, what] : {std::pair(f.tokens_per_second, "tokens a second"),
                                    std::pair(f.peak_bytes, "peak memory")}) {
    if (!std::isfinite(ratio.estimate)) continue;
    if (ratio.low > 1 - kSameRatio && ratio.high < 1 + kSameRatio)
      same.push_back(what);
    else
      out.push_back(ratio_text(ratio, what));
  }
  if (!same.empty()) out.push_back(fmt::format("the same {} to 2 %", fmt::join(same, " and ")));
  return fmt::format("{}", fmt::join(out, ", "));
}

std::string factor_sentence(const FactorResult& f, const FactorResult& other,
                            const StudyResult& result) {
  std::string out = fmt::format("{}: {}, {} {}", capital(noun(f.name)), basis(result), swap_text(f),
                                change(f.loss, result.noun, f.corrected));
  out += fmt::format(" ({} with {}, {} with {})", number_text(f.loss_at[0].estimate, 3), other.from,
                     number_text(f.loss_at[1].estimate, 3), other.to);
  const std::string cost = cost_text(f);
  if (!cost.empty()) out += "; at " + cost;
  return out + ".";
}

std::string both_sentence(const FactorialResult& f, const std::string& outcome) {
  const auto& [a, b] = f.factors;
  std::string out =
      fmt::format("Both together: {} {} and {} {} instead of {} and {} {}. ", a.to, noun(a.name),
                  b.to, noun(b.name), a.from, b.from, change(f.both, outcome, f.both_corrected));
  if (f.interaction.n < 2) return out;
  const std::string figure = with_interval(f.interaction);
  if (finding(f.interaction, f.interaction_corrected) == Finding::unresolved)
    return out + fmt::format(
                     "The interaction is {}: {}, so whether the two effects simply add is "
                     "unresolved.",
                     figure,
                     f.interaction.resolved() ? "it is not significant after Holm's correction"
                                              : "it covers zero");
  return out + fmt::format("The interaction is {}: together they {} the sum of both.", figure,
                           f.interaction.estimate < 0 ? "give more than" : "give less than");
}

std::string equal_tokens_sentence(const EqualTokensResult& e) {
  const double loss = std::max(e.loss[0], e.loss[1]);
  const double at_end = std::abs(e.loss[0] - e.loss[1]);
  const bool same =
      at_end <= kRoundingAtEnd * loss && e.largest_training_difference <= kRoundingAtAnyStep * loss;
  std::string out = fmt::format(
      "At equal tokens ({}, same seed), {} and {} end at validation losses {:.4f} and {:.4f}, and "
      "their training losses differ by at most {:.2g} at any of {:.0f} steps",
      count_text(e.tokens), e.levels[0], e.levels[1], e.loss[0], e.loss[1],
      e.largest_training_difference, e.steps);
  if (!same) return out + ": more than rounding explains, so they are not the same model.";
  return out + fmt::format(
                   ": the same to rounding. What {} changes is time and memory ({:.2f} "
                   "times the tokens a second, {:.2f} times the peak memory), not the model.",
                   noun(e.factor), e.tokens_per_second[1] / e.tokens_per_second[0],
                   e.peak_bytes[1] / e.peak_bytes[0]);
}

// What runs like these cannot tell.
std::string not_shown(const StudyRecord& study, const StudyResult& result) {
  std::string out = "Not shown: ";
  const ArmRecord *from = arm_at(study, 0, 0), *to = arm_at(study, 0, 1);
  const RunRecord *a = from ? first_run(*from) : nullptr, *b = to ? first_run(*to) : nullptr;
  if (a && b && result.factorial) {
    const std::vector<std::string> keys = settings_that_differ(*a, *b);
    if (keys.size() > 1)
      out += fmt::format("which of {} makes the {}'s effect: they change together; ",
                         fmt::join(keys, ", "), noun(result.factorial->factors[1].name));
    if (std::find(keys.begin(), keys.end(), "model.dropout") != keys.end())
      out += "what dropout does, which acts in runs that pass over their text many times; ";
  }
  double parameters = NAN, seconds = NAN;
  for (const ArmRecord& arm : study.arms)
    if (const RunRecord* run = first_run(arm)) {
      parameters = std::fmax(parameters, run->result.parameters);
      seconds = std::fmax(seconds, run->result.seconds);
    }
  out += "how the arms would rank in a larger model, a longer run or on another text";
  if (std::isfinite(parameters) && std::isfinite(seconds))
    out += fmt::format(" (these are {} parameters, trained for {:.0f} s)", count_text(parameters),
                       seconds);
  return out + ".";
}

// One arm: what nothing but the seed makes of it.
void conclude_noise(StudyResult& result) {
  const ArmResult& arm = result.arms[0];
  if (arm.deviation.n < 2) {
    result.headline = fmt::format("Not yet answered: {} finished run{} of {}, and it takes two.",
                                  arm.deviation.n, arm.deviation.n == 1 ? "" : "s", arm.name);
    return;
  }
  // With this standard deviation in both of two arms whose runs are independent.
  const auto resolved = [&](double n) {
    return std::sqrt(2 / n) * student_t_quantile(0.975, 2 * n - 2) * arm.deviation.estimate;
  };
  result.headline = fmt::format(
      "Runs of {} that differ in nothing but the seed have a {} of {}{}, with a standard deviation "
      "of {:.4f} (95 % interval {:.4f} to {:.4f}).",
      arm.name, result.noun, number_text(arm.loss.estimate, 4), after_space(result.unit),
      arm.deviation.estimate, arm.deviation.low, arm.deviation.high);
  result.sentences.push_back(fmt::format(
      "Two arms with such runs are told apart from a difference of about {:.3f} with 3 seeds each, "
      "{:.3f} with 5 and {:.3f} with 10, less where seeds pair well.",
      resolved(3), resolved(5), resolved(10)));
}

// "a, b and c"
std::string listed(const std::vector<std::string>& words) {
  if (words.size() < 2) return words.empty() ? "" : words[0];
  return fmt::format("{} and {}", fmt::join(words.begin(), words.end() - 1, ", "), words.back());
}

// "3 of 4 runs diverged"
std::string lost_text(const ArmResult& arm) {
  std::string out =
      fmt::format("{} of {} run{} ", arm.lost(), arm.runs.size(), arm.runs.size() == 1 ? "" : "s");
  if (arm.failed == 0) return out + "diverged";
  return out + (arm.diverged == 0 ? "failed" : "diverged or failed");
}

// Means over the runs that are left say less than they seem to.
void conclude_lost(StudyResult& result) {
  std::vector<std::string> words;
  for (const ArmResult& arm : result.arms)
    if (arm.lost() > 0) words.push_back(fmt::format("of {} {}", arm.name, lost_text(arm)));
  if (words.empty()) return;
  result.sentences.push_back(
      fmt::format("Lost: {}; means are over the others, and such an arm ranks behind those that "
                  "lost fewer.",
                  fmt::join(words, ", ")));
}

// Arms against the first, and effects of a factorial, with what many of them may claim.
void conclude_comparisons(StudyResult& result) {
  const bool paired = std::any_of(result.comparisons.begin(), result.comparisons.end(),
                                  [](const ComparisonResult& c) { return c.loss.n > 1; });
  // Of two factors of two levels it is their effects that answer, unless the study asks for more.
  const bool asked = result.compare_stated || (!result.factorial && result.comparisons.size() > 1);
  if (asked && paired) {
    const std::string& first = result.comparisons[0].reference;
    const bool one = std::all_of(result.comparisons.begin(), result.comparisons.end(),
                                 [&](const ComparisonResult& c) { return c.reference == first; });
    std::vector<std::string> better, worse, open, lost;
    for (const ComparisonResult& c : result.comparisons)
      (std::isnan(c.p)       ? lost
       : !c.resolved()       ? open
       : c.loss.estimate < 0 ? better
                             : worse)
          .push_back(one ? c.arm
                         : fmt::format("{} than {} ({})", c.arm, c.reference,
                                       number_text(c.loss.estimate, 3)));
    const auto tests = std::ranges::count_if(
        result.comparisons, [](const ComparisonResult& c) { return !std::isnan(c.p); });
    std::string out = tests == 1
                          ? fmt::format("Against {}: ", first)
                          : fmt::format("{}fter Holm's correction for {} comparisons: ",
                                        one ? fmt::format("Against {}, a", first) : "A", tests);
    std::vector<std::string> parts;
    if (!better.empty()) parts.push_back(listed(better) + " better");
    if (!worse.empty()) parts.push_back(listed(worse) + " worse");
    if (!open.empty()) parts.push_back(listed(open) + " unresolved");
    if (!lost.empty()) parts.push_back(listed(lost) + " not compared, for want of runs");
    result.sentences.push_back(out + fmt::format("{}.", fmt::join(parts, "; ")));
  }
  if (!result.effects || result.factorial || result.effects->seeds < 2) return;
  std::vector<std::string> found;
  for (const FactorialContrast& c : result.effects->contrasts)
    if (c.corrected < 0.05) found.push_back(fmt::format("{} {}", c.name, with_interval(c.effect)));
  result.sentences.push_back(
      found.empty()
          ? fmt::format("None of the {} main effects and interactions is significant after Holm's "
                        "correction.",
                        result.effects->contrasts.size())
          : fmt::format("Significant after Holm's correction for {} main effects and interactions: "
                        "{}.",
                        result.effects->contrasts.size(), fmt::join(found, "; ")));
}

}  // namespace

void conclude_ranking(StudyResult& result) {
  std::vector<const ArmResult*> order;
  for (const ArmResult& arm : result.arms)
    if (std::isfinite(arm.loss.estimate)) order.push_back(&arm);
  std::sort(order.begin(), order.end(),
            [](const ArmResult* a, const ArmResult* b) { return a->ranks_before(*b); });
  const ArmResult& best = *order[0];
  const bool some_lost = std::ranges::any_of(
      result.arms, [&](const ArmResult& arm) { return arm.lost() > best.lost(); });
  result.headline = fmt::format("{} has the lowest {}{}, {}: {}{}.", best.name, result.noun,
                                !some_lost        ? ""
                                : best.lost() > 0 ? " of the arms that lost the fewest runs"
                                                  : " of the arms that lost no run",
                                basis(result), with_interval(best.loss), after_space(result.unit));
  if (order.size() < 2) return;
  // Which is the best was not known before: its lead counts as one of all those that it has.
  std::vector<double> p;
  Interval lead_over_next;
  for (const ArmResult* other : order) {
    if (other == &best) continue;
    std::vector<double> lead;
    for (size_t s = 0; s < best.runs.size(); ++s)
      if (const double d = best.runs[s].loss - other->runs[s].loss; std::isfinite(d))
        lead.push_back(d);
    const MeanInference inferred = infer_mean(lead);
    p.push_back(inferred.p);
    if (p.size() == 1) lead_over_next = inferred.interval;
  }
  const double corrected = holm(p)[0];
  std::string text = with_interval(lead_over_next);
  if (lead_over_next.n < 2)
    text = "without an interval (it takes two common seeds)";
  else if (!lead_over_next.resolved())
    text = fmt::format("unresolved: {} covers zero", text);
  else if (corrected >= 0.05)
    text = fmt::format(
        "unresolved: {} is not significant after Holm's correction for {} "
        "comparisons with the best",
        text, p.size());
  result.headline.pop_back();
  result.headline += fmt::format("; its lead over {}, the next, is {}.", order[1]->name, text);
  if (order.size() > 2 && !result.search)
    result.sentences.push_back(fmt::format(
        "The best of {} arms on the seeds that chose it looks better than it is. Fresh seeds "
        "confirm.",
        order.size()));
}

void conclude(const StudyRecord& study, StudyResult& result) {
  const bool any = std::any_of(result.arms.begin(), result.arms.end(), [](const ArmResult& arm) {
    return std::isfinite(arm.loss.estimate);
  });
  if (result.search) {
    conclude_search(result);
    conclude_lost(result);
    conclude_comparisons(result);
    if (any) result.sentences.push_back(not_shown(study, result));
    return;
  }
  if (!any) {
    result.headline = "Not yet answered: no run of this study has finished.";
    conclude_lost(result);
    return;
  }
  if (result.factorial) {
    const FactorialResult& f = *result.factorial;
    result.headline = factorial_headline(result);
    if (f.seeds.size() >= 2) {
      for (size_t i = 0; i < 2; ++i)
        result.sentences.push_back(factor_sentence(f.factors[i], f.factors[1 - i], result));
      result.sentences.push_back(both_sentence(f, result.noun));
    }
    conclude_comparisons(result);
  } else if (result.arms.size() == 1) {
    conclude_noise(result);
  } else {
    conclude_ranking(result);
    conclude_comparisons(result);
  }
  conclude_lost(result);
  if (result.equal_tokens) result.sentences.push_back(equal_tokens_sentence(*result.equal_tokens));
  result.sentences.push_back(not_shown(study, result));
}

}  // namespace strobe
