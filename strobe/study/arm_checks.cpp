#include "strobe/study/arm_checks.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <tuple>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/optim/unread.h"
#include "strobe/report/run_reader.h"
#include "strobe/study/plan.h"
#include "strobe/study/words.h"
#include "strobe/train/run_data.h"

namespace strobe {

namespace {

// "optimizer.name=muon", unlike "model.layers=4" or "schedule.warmup=5 %".
bool sets_a_name(const std::string& override) {
  const size_t at = override.find('=');
  return at + 1 < override.size() && std::isalpha(static_cast<unsigned char>(override[at + 1]));
}

// The shortest run of the study has a step at least.
void check_length(const StudyFile& study, const RunSizes& sizes, const std::string& what) {
  const double share = study.first_share();
  for (const auto& [budget, step, unit] :
       {std::tuple(study.tokens, sizes.tokens_per_step, "tokens"),
        {study.flops, sizes.flops_per_step, "operations"}})
    if (budget > 0 && budget * share < step)
      fail("study: {}{:.6g} {} is less than one step of {}, which takes {:.6g} {}",
           share < 1 ? fmt::format("the first rung, {:g} % of the budget of ", 100 * share)
                     : "a budget of ",
           budget, unit, what, step, unit);
}

// What an arm or its space sets in vain, once; the base recipe is for all arms, and each reads of
// it what it needs.
void note_unread(const std::string& recipe, const StudyArm& arm, const Words& overrides,
                 std::set<std::string>& noted) {
  const LoadedConfig loaded = load_config(recipe, overrides);
  for (const std::string& sentence :
       unread_keys(loaded.config, load_config("", overrides), load_config(recipe, {}).config))
    if (noted.insert(sentence).second)
      fmt::print(stderr, "config: {}{}\n",
                 arm.name.empty() ? "" : fmt::format("in the arm '{}', ", arm.name), sentence);
}

// Names that a choice is between are known: what is said of the choice's own key is no matter of
// sizes.
void check_labels(const StudyFile& study, const DryRuns& runs, const StudyArm& arm,
                  std::set<std::string>& noted) {
  const Space space = study.space_of(arm);
  for (size_t i = 0; i < space.size(); ++i)
    for (size_t label = 0; label < space[i].choices.size(); ++label) {
      const Words& keys = space[i].choices[label].overrides;
      if (std::none_of(keys.begin(), keys.end(), sets_a_name)) continue;
      std::vector<double> unit(space.size(), 0.5);
      const auto choose = [&](size_t parameter, size_t at) {
        unit[parameter] = (static_cast<double>(at) + 0.5) / space[parameter].size();
      };
      choose(i, label);
      // And what it depends on.
      for (size_t of = i, j = i; j-- > 0;) {
        if (space[j].name != space[of].when) continue;
        for (size_t at = 0; at < space[j].choices.size(); ++at)
          if (space[j].choices[at].label == space[of].when_labels[0]) choose(j, at);
        of = j;
      }
      const Words overrides = arm.overrides + overrides_of(space, point_at(space, unit));
      const ChildResult tried = runs.of(overrides);
      if (runs.stopped()) return;
      if (tried.status == 0) note_unread(runs.recipe(), arm, overrides, noted);
      const std::string reason = tried.reason();
      for (const std::string& key : keys)
        if (tried.status != 0 && reason.starts_with(key.substr(0, key.find('=')) + ":"))
          fail("study: '{}' of the space's '{}' cannot run: {}; nothing was started",
               space[i].choices[label].label, space[i].name, reason);
    }
}

// Either end of a range of integers, which sizes may not take (heads that do not divide channels):
// said, since such a point is a trial that fails.
void note_ends(const StudyFile& study, const DryRuns& runs, const StudyArm& arm) {
  const Space space = study.space_of(arm);
  for (size_t i = 0; i < space.size(); ++i) {
    if (space[i].kind != Parameter::Kind::integer || !space[i].when.empty()) continue;
    for (const double end : {0.0, 1.0}) {
      std::vector<double> unit(space.size(), 0.5);
      unit[i] = end;
      const Point point = point_at(space, unit);
      const ChildResult tried = runs.of(arm.overrides + overrides_of(space, point));
      if (runs.stopped()) return;
      if (tried.status != 0)
        fmt::print(stderr, "study: {} = {:g} cannot run, and will be a trial that fails: {}\n",
                   space[i].name, point[i], tried.reason());
    }
  }
}

// Keys set for every arm that none of them keeps.
void note_overridden(const StudyFile& study) {
  for (const std::string& override : study.overrides) {
    const std::string key = override.substr(0, override.find('='));
    if (std::ranges::all_of(study.arms, [&](const StudyArm& arm) {
          return std::ranges::any_of(arm.overrides, [&](const std::string& own) {
            return own.substr(0, own.find('=')) == key;
          });
        }))
      fmt::print(stderr, "config: {} has no effect: every arm sets a {} of its own\n", override,
                 key);
  }
}

// Runs that can never give the outcome are not begun.
void check_outcome(const StudyFile& study, const std::string& recipe, const StudyArm& arm,
                   const Words& overrides, const std::string& what) {
  const Config config = load_config(recipe, overrides).config;
  const bool labelled = !config.texts.train.empty();
  const std::string& data = labelled ? config.texts.train : config.data.path;
  if (study.outcome.starts_with("val/") && !data_facts(config).has_valid)
    fail("study: the outcome is '{}', and {} has {}; nothing was started", study.outcome, data,
         labelled ? "neither texts.valid nor texts.hold_out" : "no split 'valid'");
  const bool of_text = study.outcome.ends_with("_perplexity") || study.outcome.ends_with("_byte");
  if (labelled ? of_text : study.outcome == "val/error")
    fail("study: the outcome is '{}', which runs on {} do not have; nothing was started",
         study.outcome, labelled ? "labelled texts" : "a dataset");
  for (const auto& [outcome, key, off] :
       {std::tuple("val/loss_ema", "average.ema", config.average.ema == 0),
        {"val/loss_lawa", "average.lawa", config.average.lawa == 0}}) {
    bool varies = false;
    for (const Parameter& p : study.space_of(arm)) {
      varies = varies || p.key == key;
      for (const Choice& choice : p.choices)
        for (const std::string& one : choice.overrides)
          varies = varies || one.starts_with(key + std::string("="));
    }
    if (study.outcome != outcome) continue;
    if (off && !varies)
      fail("study: the outcome is '{}', and {} has none: its {} is 0; nothing was started", outcome,
           what, key);
    const auto keys = flatten(load_config(recipe, arm.overrides).config);
    if (study.confirm.base && !study.confirm.seeds.empty() && value_of(keys, key) == "0")
      fail(
          "study: the outcome is '{}', and the base recipe, which [confirm] runs too, has none: "
          "its {} is 0; nothing was started",
          outcome, key);
  }
}

}  // namespace

void check_arms(const StudyFile& study, const DryRuns& runs) {
  note_overridden(study);
  for (const StudyArm& arm : study.arms) {
    const std::string what =
        arm.name.empty() ? std::string("the base recipe") : fmt::format("the arm '{}'", arm.name);
    const Words overrides = runs.one_that_runs(study, arm, what);
    if (runs.stopped()) return;
    std::set<std::string> noted;
    note_unread(runs.recipe(), arm, overrides, noted);
    check_length(study, runs.sizes(overrides, what), what);
    check_outcome(study, runs.recipe(), arm, overrides, what);
    check_labels(study, runs, arm, noted);
    note_ends(study, runs, arm);
    if (runs.stopped()) return;
  }
  if (!study.pruner.complete &&
      own_length(load_config(runs.recipe(), {}).config).first == "train.epochs" &&
      study.seconds + study.tokens + study.flops == 0)
    fail(
        "study: rungs mid-run need a length in steps, tokens or seconds, and the recipe's is in "
        "epochs; give the study a budget");
}

}  // namespace strobe
