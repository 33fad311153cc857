#include "strobe/study/study_checks.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/report/outcomes.h"
#include "strobe/study/sobol.h"

namespace strobe {

namespace {

// Runs that are judged on their way are not evaluated more often than this for rungs that have no
// other common divisor.
constexpr int64_t kFewestPercent = 5;

void check_names(const StudyFile& study, const std::string& file) {
  if (study.base.empty()) fail("study: {} has no 'base', the recipe its arms vary", file);
  if (study.seeds.empty()) fail("study: {} has no 'seeds', for example seeds = [1, 2, 3]", file);
  if (study.arms.empty())
    fail("study: {} has no arms: give it [factors.NAME], [arms] or a [space] to search", file);
  std::vector<int64_t> seeds = study.seeds;
  seeds.insert(seeds.end(), study.confirm.seeds.begin(), study.confirm.seeds.end());
  if (std::set<int64_t>(study.seeds.begin(), study.seeds.end()).size() != study.seeds.size())
    fail("study: {} names a seed twice", file);
  if (std::set<int64_t>(seeds.begin(), seeds.end()).size() != seeds.size())
    fail(
        "study: {} confirms on a seed it searches with, or names one twice; confirm.seeds takes "
        "fresh ones",
        file);
  std::set<std::string> names;
  for (const StudyArm& arm : study.arms)
    if (!names.insert(arm.name).second) fail("study: {} names the arm '{}' twice", file, arm.name);
}

void check_compare(const StudyFile& study, const std::string& file) {
  if (!study.compare.empty() && study.searches())
    fail("study: {} has [compare] and a [space]: confirmed points are compared with the first",
         file);
  for (const auto& [arm, reference] : study.compare)
    for (const std::string& name : {arm, reference})
      if (std::none_of(study.arms.begin(), study.arms.end(),
                       [&](const StudyArm& a) { return a.name == name; }))
        fail("study: [compare] of {} has '{}', which is no arm", file, name);
}

// "optimizer.lr" of "optimizer.lr=3"
std::string key_of(const std::string& override) { return override.substr(0, override.find('=')); }

using Keys = std::set<std::string>;

Keys keys_of(const std::vector<std::string>& overrides) {
  Keys out;
  for (const std::string& override : overrides) out.insert(key_of(override));
  return out;
}

// What can have no effect: keys that every run is given anyway.
void check_keys(const StudyFile& study, const Keys& keys, const std::string& what,
                const std::string& file) {
  static const Keys kLengths = {"train.steps", "train.tokens", "train.epochs", "train.seconds"};
  const char* budget = study.seconds > 0  ? "budget.seconds"
                       : study.tokens > 0 ? "budget.tokens"
                       : study.flops > 0  ? "budget.flops"
                                          : nullptr;
  for (const std::string& key : keys) {
    if (key == "seed")
      fail("study: {} of {} sets 'seed', which a run has from 'seeds'", what, file);
    if (key == "name") fail("study: {} of {} sets 'name', which names its runs", what, file);
    if (budget && kLengths.contains(key))
      fail("study: {} of {} sets '{}', and {} is the length of every run; it takes one of the two",
           what, file, key, budget);
  }
}

// Two that set one key: the second would always win.
void check_factors(const StudyFile& study, const std::string& file) {
  std::map<std::string, std::string> set_by;  // key -> factor
  for (const StudyFactor& factor : study.factors)
    for (const StudyLevel& level : factor.levels)
      for (const std::string& key : keys_of(level.overrides))
        if (const auto [at, fresh] = set_by.emplace(key, factor.name);
            !fresh && at->second != factor.name)
          fail("study: the factors '{}' and '{}' of {} both set '{}', so that one has no effect",
               at->second, factor.name, file, key);
}

// Keys that the parameter sets at every point.
Keys always_set(const Parameter& p) {
  if (!p.when.empty()) return {};
  if (!p.is_choice()) return {p.key};
  Keys out = keys_of(p.choices[0].overrides);
  for (const Choice& choice : p.choices) {
    const Keys own = keys_of(choice.overrides);
    std::erase_if(out, [&](const std::string& key) { return !own.contains(key); });
  }
  return out;
}

// Runs that could differ by nothing but the name of their arm.
void check_effects(const StudyFile& study, const std::string& file) {
  check_factors(study, file);
  for (const std::string& key : keys_of(study.overrides))
    if (key == "seed" || key == "name") check_keys(study, {key}, "an override", file);
  std::map<std::vector<std::string>, std::string> arms;  // what makes one -> its name
  for (const StudyArm& arm : study.arms) {
    const std::string what = fmt::format("arm '{}'", arm.name);
    check_keys(study, keys_of(arm.overrides), what, file);
    std::map<std::string, std::string> set_by;
    for (const std::string& key : keys_of(arm.overrides)) set_by[key] = what;
    std::vector<std::string> makes;
    for (const Parameter& p : study.space_of(arm)) {
      const std::string parameter = fmt::format("the space's '{}'", p.name);
      Keys keys = p.is_choice() ? Keys() : Keys{p.key};
      for (const Choice& choice : p.choices) keys.merge(keys_of(choice.overrides));
      check_keys(study, keys, parameter, file);
      for (const std::string& key : always_set(p))
        if (const auto [at, fresh] = set_by.emplace(key, parameter); !fresh)
          fail("study: {} and {} of {} both set '{}', so that the first has no effect", at->second,
               parameter, file, key);
      makes.push_back(p.name);
    }
    std::vector<std::string> overrides = study.overrides;
    overrides.insert(overrides.end(), arm.overrides.begin(), arm.overrides.end());
    for (const auto& [key, value] : flatten(load_config(study.base, overrides).config))
      makes.push_back(key + "=" + value);
    if (const auto [at, fresh] = arms.emplace(std::move(makes), arm.name); !fresh)
      fail(
          "study: the arms '{}' and '{}' of {} have the same configuration; what the seed alone "
          "makes is seen by one arm with more 'seeds'",
          at->second, arm.name, file);
  }
}

// A value inside a range that is no whole number, if the range has one.
double value_between(const Parameter& p) {
  if (p.step > 0) return p.low + p.step;
  return from_unit(p, (std::sqrt(5) - 1) / 2);
}

// The ends of every range, a value between and every choice, as the configuration sees them.
void check_values(const StudyFile& study, const std::string& file) {
  for (const StudyArm& arm : study.arms) {
    const auto try_out = [&](const std::vector<std::string>& more, const std::string& what) {
      std::vector<std::string> overrides = study.overrides;
      overrides.insert(overrides.end(), arm.overrides.begin(), arm.overrides.end());
      overrides.insert(overrides.end(), more.begin(), more.end());
      try {
        load_config(study.base, overrides);
      } catch (const Error& error) {
        fail("study: {} of {}: {}", what, file, error.what());
      }
    };
    try_out({}, arm.name.empty() ? "the base" : fmt::format("arm '{}'", arm.name));
    for (const Parameter& p : study.space_of(arm)) {
      const std::string what = fmt::format("the space's '{}'", p.name);
      for (const Choice& choice : p.choices) try_out(choice.overrides, what);
      if (p.is_choice()) continue;
      for (const double end : {p.low, p.high}) try_out({p.key + "=" + value_text(p, end)}, what);
      const std::string between = p.key + "=" + value_text(p, value_between(p));
      try {
        load_config(study.base, {between});
      } catch (const Error&) {
        fail("study: {} of {}: '{}' cannot be; it takes whole numbers, integer or log_integer",
             what, file, between);
      }
    }
  }
}

void check_budget(const StudyFile& study, const std::string& file) {
  if ((study.seconds > 0) + (study.tokens > 0) + (study.flops > 0) > 1)
    fail(
        "study: {} has more than one of budget.seconds, budget.tokens and budget.flops; it takes "
        "one of them",
        file);
  if (study.min_tokens > 0 && (study.seconds == 0 || study.searches()))
    fail(
        "study: {} has budget.min_tokens, which lengthens the budget.seconds of arms without a "
        "search; set that too",
        file);
  if (std::none_of(study.arms.begin(), study.arms.end(),
                   [&](const StudyArm& arm) { return study.needs_tokens(arm); }))
    fail("study: {} has no arm or level '{}' for budget.min_tokens_arms", file,
         study.min_tokens_arms);
  const std::pair<double, double> limits[] = {{study.seconds, study.total_seconds},
                                              {study.tokens, study.total_tokens},
                                              {study.flops, study.total_flops}};
  for (const auto& [one, all] : limits)
    if (all > 0 && one > all)
      fail("study: {} has a budget of {} for a run and of {} for the whole study: not one run fits",
           file, one, all);
  if (!study.searches() && study.total_seconds + study.total_tokens + study.total_flops > 0)
    fail(
        "study: {} has a budget for the whole study, which ends a search; without a [space] every "
        "arm is run with every seed",
        file);
  for (const auto& [one, all] : limits)
    if (all > 0 && one * (study.first_share() + study.confirming_runs()) > all * (1 + 1e-9))
      fail(
          "study: {} has a budget of {} for the whole study, and {:g} runs of {} are kept for "
          "[confirm]: not one trial fits",
          file, all, study.confirming_runs(), one);
}

void check_outcome(const StudyFile& study, const std::string& file) {
  const OutcomeKind* kind = find_outcome(study.outcome);
  if (study.outcome == "tokens_per_second")
    fail("study: {} has the outcome 'tokens_per_second', of which more is better; take 'seconds'",
         file);
  if (!kind) {
    std::vector<std::string> known;
    for (const OutcomeKind& one : outcome_kinds()) known.emplace_back(one.name);
    fail("study: {} has the outcome '{}'; it takes {}", file, study.outcome,
         fmt::join(known, ", "));
  }
  if (kind->of_evaluation) return;
  if (!study.targets.empty())
    fail("study: {} states a target of '{}', which evaluations do not have", file, study.outcome);
  if (study.pruner.name != "none" && !study.pruner.complete)
    fail("study: {} judges '{}' mid-run, which only whole runs have; it takes rung = \"complete\"",
         file, study.outcome);
}

void check_equal_tokens(const StudyFile& study, const std::string& file) {
  if (study.equal_tokens_factor.empty()) return;
  const bool known = std::any_of(study.factors.begin(), study.factors.end(), [&](const auto& f) {
    return f.name == study.equal_tokens_factor;
  });
  if (!known)
    fail("study: {} has no factor '{}' for equal_tokens", file, study.equal_tokens_factor);
  if (study.seconds == 0 || study.searches())
    fail("study: {} has equal_tokens, which need budget.seconds", file);
}

}  // namespace

void check_search(const StudyFile& study, const std::string& file) {
  if (!study.searches()) {
    if (study.trials > 0 || !study.confirm.seeds.empty() || study.pruner.name != "none")
      fail("study: {} has trials, a pruner or [confirm], but no [space] to search", file);
    return;
  }
  const auto names = sampler_names();
  if (std::find(names.begin(), names.end(), study.sampler.name) == names.end())
    fail("study: {} has the sampler '{}'; it takes {}", file, study.sampler.name,
         fmt::join(names, ", "));
  for (const StudyArm& arm : study.arms)
    if (const size_t size = study.space_of(arm).size();
        size > sobol_dimensions() && (study.sampler.name == "sobol" || study.sampler.name == "tpe"))
      fail(
          "study: {} searches {} parameters, and sampler '{}' takes {} at most; 'random' takes any",
          file, size, study.sampler.name, sobol_dimensions());
  if (study.sampler.name == "grid")
    for (const StudyArm& arm : study.arms) grid(study.space_of(arm));
  else if (study.trials == 0 && study.total_seconds + study.total_tokens + study.total_flops == 0)
    fail(
        "study: {} would search without end: give it budget.trials, or a budget.total_seconds, "
        "total_tokens or total_flops",
        file);
  const PrunerSpec& pruner = study.pruner;
  const std::string pruners[] = {"none", "median", "halving", "asha"};
  if (std::find(std::begin(pruners), std::end(pruners), pruner.name) == std::end(pruners))
    fail("study: {} has the pruner '{}'; it takes {}", file, pruner.name, fmt::join(pruners, ", "));
  if (!(pruner.eta > 1))
    fail("study: pruner.eta of {} is {}; it takes more than 1", file, pruner.eta);
  if (pruner.name == "halving" && !pruner.complete)
    fail(
        "study: {} halves mid-run: all would wait for each other half-way; halving takes rung = "
        "\"complete\"",
        file);
  if (pruner.name == "halving" && study.trials == 0 && study.sampler.name != "grid")
    fail("study: {} has the pruner 'halving', which needs to know budget.trials", file);
  for (size_t i = 0; i < pruner.rungs.size(); ++i) {
    const double before = i ? pruner.rungs[i - 1] : 0;
    if (!(pruner.rungs[i] > before) || pruner.rungs[i] >= 1)
      fail("study: pruner.rungs of {} take ascending shares of a run between 0 and 1", file);
    if (std::round(100 * pruner.rungs[i]) <= std::round(100 * before))
      fail("study: two of pruner.rungs of {} are the same percentage of a run", file);
  }
  if (!pruner.complete && !pruner.rungs.empty()) {
    const int64_t every = evaluated_percent(study), first = std::llround(100 * pruner.rungs[0]);
    if (every < std::min(first, kFewestPercent))
      fail(
          "study: pruner.rungs of {}, mid-run, would take an evaluation every {} % of a run; they "
          "take multiples of one share, of {} % at least",
          file, every, kFewestPercent);
  }
}

void check_study(const StudyFile& study, const std::string& file) {
  check_names(study, file);
  check_compare(study, file);
  check_search(study, file);
  check_values(study, file);
  check_effects(study, file);
  check_equal_tokens(study, file);
  check_budget(study, file);
  check_outcome(study, file);
}

}  // namespace strobe
