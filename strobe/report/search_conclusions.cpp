// The sentences of a search, and words that all sentences share.
#include <algorithm>
#include <cmath>

#include "strobe/core/error.h"
#include "strobe/report/conclusion_words.h"
#include "strobe/report/format.h"

namespace strobe {

namespace {

ArmTarget* target_of(TargetResult& target, const std::string& arm) {
  for (ArmTarget& at : target.arms)
    if (at.arm == arm) return &at;
  return nullptr;
}

// "10 trials (5 points x 2 seeds)"
std::string trials_text(const SearchResult& search) {
  const int ended = search.complete + search.pruned + search.failed;
  std::string out = fmt::format("{} trials", ended);
  if (search.seeds > 1)
    out += fmt::format(" ({} points{} x {} seeds)", search.points,
                       search.arms > 1 ? " of each arm" : "", search.seeds);
  return out;
}

// What an arm of a search is called: the base recipe, or the name of its point.
std::string called(const ArmResult& arm) {
  return arm.name == "base" ? "the base recipe" : arm.name.substr(0, arm.name.find(" ("));
}

// What the search is worth: seconds to targets with it and without.
void conclude_targets(const ArmResult& base, const ArmResult& best, StudyResult& result) {
  for (TargetResult& target : result.targets) {
    const ArmTarget* without = target_of(target, base.name);
    ArmTarget* with = target_of(target, best.name);
    if (!target.stated || !without || !with) continue;
    if (without->runs == 0 || with->runs == 0) continue;  // nothing has ended
    const auto time = [](double seconds) {
      return std::isfinite(seconds) ? fmt::format("{:.{}f} s", seconds, seconds < 10 ? 1 : 0)
                                    : std::string("never");
    };
    std::string out =
        fmt::format("To {} {:.4g}: {} with {}, {} with {}", result.noun, target.target,
                    time(without->seconds), called(base), time(with->seconds), called(best));
    // Where both were searched for, it was needed either way.
    if (with->seconds < without->seconds && base.name == "base") {
      with->seconds_with_search = with->seconds + result.search->wall;
      out += fmt::format(", {} with the search's own {:.0f} s", time(with->seconds_with_search),
                         result.search->wall);
    }
    result.sentences.push_back(out + ".");
  }
}

}  // namespace

Finding finding(const Interval& loss, double corrected) {
  if (!loss.resolved() || corrected >= 0.05) return Finding::unresolved;
  return loss.estimate < 0 ? Finding::better : Finding::worse;
}

std::string after_space(const std::string& text) { return text.empty() ? "" : " " + text; }

std::string size_of(const Interval& loss, const char* words) {
  const bool fell = loss.estimate < 0;
  return fmt::format("{:.3f} ({}{:.3f} to {:.3f})", std::abs(loss.estimate), words,
                     fell ? -loss.high : loss.low, fell ? -loss.low : loss.high);
}

std::string change(const Interval& loss, const std::string& noun, double corrected) {
  const std::string what = "the " + noun;
  if (loss.n < 2)
    return fmt::format("has no interval yet ({} finished seeds; it takes two)", loss.n);
  if (finding(loss, corrected) == Finding::unresolved)
    return fmt::format(
        "has an unresolved effect on {}: {}, {}", what, with_interval(loss),
        loss.resolved() ? "not significant after Holm's correction" : "which covers zero");
  return fmt::format("{} {} by {}", loss.estimate < 0 ? "lowered" : "raised", what,
                     size_of(loss, "95 % interval "));
}

void conclude_search(StudyResult& result) {
  const SearchResult& search = *result.search;
  const int ended = search.complete + search.pruned + search.failed;
  if (search.best < 0) {
    result.headline =
        fmt::format("Not yet answered: of {} trials none is complete{}.", ended + search.running,
                    search.failed ? fmt::format(" ({} failed)", search.failed) : "");
    return;
  }
  const TrialResult& best = search.trials[static_cast<size_t>(search.best)];
  const auto arm_named = [&](const std::string& name) -> const ArmResult* {
    for (const ArmResult& arm : result.arms)
      if (arm.name == name) return &arm;
    return nullptr;
  };
  const bool any = std::ranges::any_of(
      result.arms, [](const ArmResult& arm) { return std::isfinite(arm.loss.estimate); });
  if (!search.confirmed && search.arms > 1 && any) {
    conclude_ranking(result);
    result.headline +=
        " It is not confirmed on fresh seeds, and the best of many looks better than it is.";
    std::vector<std::string> widths;
    for (const BandResult& b : search.bands)
      widths.push_back(fmt::format("{} from {:.3g} to {:.3g}, a factor of {}{:.1f}",
                                   b.arm.empty() ? b.parameter : b.arm, b.band.low, b.band.high,
                                   b.band.low_is_edge || b.band.high_is_edge ? "at least " : "",
                                   b.band.ratio()));
    if (!widths.empty())
      result.headline += fmt::format(" Within {:.3g}{} of its best: {}.", search.bands[0].tolerance,
                                     after_space(result.unit), fmt::join(widths, "; "));
  } else if (!search.confirmed) {
    result.headline = fmt::format(
        "Best of {} so far: {}, with a {} of {:.4f}{}{}. It is not confirmed on fresh seeds, "
        "and the best of many looks better than it is.",
        trials_text(search), best.text, result.noun, search.best_value, after_space(result.unit),
        search.seeds > 1 ? fmt::format(" (mean of {} seed{})", search.best_seeds,
                                       search.best_seeds == 1 ? "" : "s")
                         : "");
  } else if (const ArmResult* found = arm_named(best.text); found && found == &result.arms.back() &&
                                                            result.arms.size() == 2 &&
                                                            result.comparisons.size() == 1) {
    const ComparisonResult& c = result.comparisons[0];
    result.headline =
        fmt::format("Best of {}: {}, with a {} of {}{} on {} fresh seeds; against {} ({}) it {}.",
                    trials_text(search), found->name, result.noun, short_interval(found->loss, 3),
                    after_space(result.unit), found->loss.n, called(result.arms[0]),
                    short_interval(result.arms[0].loss, 3), change(c.loss, result.noun));
    conclude_targets(result.arms[0], *found, result);
  } else if (any) {
    conclude_ranking(result);
  } else {
    result.headline = fmt::format(
        "Not yet answered: of {} the best was {}, and no run that confirms has finished.",
        trials_text(search), best.text);
  }
  for (const ArmResult& arm : result.arms)
    if (arm.name.find('(') == std::string::npos && !arm.overrides.empty()) {
      std::vector<std::string> values;
      for (const auto& [key, value] : arm.overrides) values.push_back(key + "=" + value);
      result.sentences.push_back(fmt::format("{} is {}.", arm.name, fmt::join(values, ", ")));
    }
  for (const BandResult& b : search.bands)
    result.sentences.push_back(fmt::format(
        "{}{} may lie from {:.3g}{} to {:.3g}{} to stay within {:.3g} of the best, {:.4g} at "
        "{:.3g}: "
        "a factor of {:.1f}{}.",
        b.arm.empty() ? "" : b.arm + ": ", b.parameter, b.band.low,
        b.band.low_is_edge ? " (the range's end)" : "", b.band.high,
        b.band.high_is_edge ? " (the range's end)" : "", b.tolerance, b.band.best, b.band.best_at,
        b.band.ratio(), b.band.low_is_edge || b.band.high_is_edge ? " at least" : ""));
  if (!search.edges.empty())
    result.sentences.push_back(fmt::format(
        "The best lies at the edge of the range{} of {}: a wider range may hold a better one.",
        search.edges.size() > 1 ? "s" : "", fmt::join(search.edges, ", ")));
  if (!search.importance.empty()) {
    std::vector<std::pair<double, std::string>> order;
    for (size_t p = 0; p < search.parameters.size(); ++p)
      order.emplace_back(search.importance[p], search.parameters[p]);
    std::sort(order.rbegin(), order.rend());
    result.sentences.push_back(
        fmt::format("What mattered most among the trials: {} ({:.0f} %){}.", order[0].second,
                    100 * order[0].first,
                    fmt::format(", then {} ({:.0f} %)", order[1].second, 100 * order[1].first)));
  }
  if (search.confirmed && search.points < search.wanted)
    result.sentences.push_back(
        fmt::format("The study's budget ended the search after {} of {} points{}: it is less than "
                    "was asked for.",
                    search.points, search.wanted, result.arms.size() > 2 ? " of each arm" : ""));
  std::string cost = fmt::format(
      "The search cost {} by {} ({} pruned, {} failed), {:.0f} s of process time and {} "
      "tokens; its best was {}",
      trials_text(search), search.sampler, search.pruned, search.failed, search.wall,
      count_text(search.tokens),
      search.seeds > 1 ? best.name : fmt::format("trial {}", best.number));
  if (search.confirm_wall > 0)
    cost += fmt::format("; confirming took {:.0f} s", search.confirm_wall);
  result.sentences.push_back(cost + ".");
  // Of trials that were all run whole; those that a pruner lets through are too alike.
  for (const RungResult& rung : search.rungs)
    if (search.pruner == "none" &&
        (std::isfinite(rung.complete.estimate) || std::isfinite(rung.mid_run.estimate)))
      result.sentences.push_back(fmt::format(
          "At {} % of a run ({} trials) the rank correlation with the final outcome was {} for "
          "short whole runs and {} for the whole run on its way{}.",
          rung.percent, rung.trials, short_interval(rung.complete, 2),
          short_interval(rung.mid_run, 2),
          std::isnan(rung.difference.low) ? ""
          : rung.difference.resolved()
              ? fmt::format("; the difference is {}", short_interval(rung.difference, 2))
              : fmt::format("; the difference is unresolved: {}",
                            short_interval(rung.difference, 2))));
}

}  // namespace strobe
