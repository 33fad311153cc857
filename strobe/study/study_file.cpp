#include "strobe/study/study_file.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "strobe/config/load.h"
#include "strobe/config/toml.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/report/outcomes.h"
#include "strobe/study/sobol.h"
#include "strobe/study/space_file.h"

namespace strobe {

namespace {

constexpr int64_t kLargestStudyFile = 1 << 20;

double number(const TomlEntry& entry, const std::string& where) {
  try {
    size_t used = 0;
    const double value = std::stod(entry.values.at(0), &used);
    if (!entry.array && used == entry.values[0].size() && value > 0) return value;
  } catch (const std::logic_error&) {
  }
  fail("study: {} ({}) takes a number above 0", entry.path, where);
}

int64_t whole_number(const TomlEntry& entry, const std::string& where, int64_t least) {
  int64_t value = 0;
  const std::string text = entry.values.empty() ? "" : entry.values[0];
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (entry.array || error != std::errc() || end != text.data() + text.size() || value < least)
    fail("study: {} ({}) takes an integer from {}", entry.path, where, least);
  return value;
}

double any_number(const std::string& text, const std::string& what, const std::string& where) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    fail("study: {} ({}) takes numbers, not '{}'", what, where, text);
  return value;
}

int64_t seed_of(const std::string& text, const std::string& where) {
  int64_t seed = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (error != std::errc() || end != text.data() + text.size() || seed < 0)
    fail("study: '{}' ({}) is not a seed; it takes integers from 0", text, where);
  return seed;
}

std::string text_of(const TomlEntry& entry, const std::string& where) {
  if (entry.array) fail("study: {} ({}) takes one value, not a list", entry.path, where);
  return entry.values[0];
}

// Names become folders.
void check_name(const std::string& name, const std::string& where) {
  const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  });
  if (!plain || name[0] == '.')
    fail("study: '{}' ({}) is not a name; it takes letters, digits, '-', '_' and '.'", name, where);
}

void multiply(StudyFile& study) {
  if (study.factors.empty()) return;
  std::vector<StudyArm> arms = {StudyArm{}};
  for (const StudyFactor& factor : study.factors) {
    std::vector<StudyArm> next;
    for (const StudyArm& arm : arms)
      for (const StudyLevel& level : factor.levels) {
        StudyArm longer = arm;
        longer.name += (arm.name.empty() ? "" : "-") + level.name;
        longer.levels.push_back(level.name);
        longer.overrides.insert(longer.overrides.end(), level.overrides.begin(),
                                level.overrides.end());
        next.push_back(std::move(longer));
      }
    arms = std::move(next);
  }
  study.arms.insert(study.arms.end(), arms.begin(), arms.end());
}

void check_names(const StudyFile& study, const std::string& file) {
  if (study.name.empty()) fail("study: {} has no 'name'", file);
  check_name(study.name, file);
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

// The ends of every range and every choice, as the configuration sees them.
void check_values(const StudyFile& study, const std::string& file) {
  for (const StudyArm& arm : study.arms) {
    const auto try_out = [&](const std::vector<std::string>& more, const std::string& what) {
      std::vector<std::string> overrides = arm.overrides;
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

// Factors as choices, which conditions of the space may name; "arm" names the arms themselves.
std::vector<Parameter> outer_choices(const StudyFile& study) {
  std::vector<Parameter> out;
  const auto add = [&](const std::string& name) -> std::vector<Choice>& {
    out.push_back({});
    out.back().name = name, out.back().kind = Parameter::Kind::choice;
    return out.back().choices;
  };
  for (const StudyFactor& factor : study.factors) {
    auto& choices = add(factor.name);
    for (const StudyLevel& level : factor.levels) choices.push_back({level.name, {}});
  }
  auto& arms = add("arm");
  for (const StudyArm& arm : study.arms) arms.push_back({arm.name, {}});
  return out;
}

// A choice between plain values sets its own key.
void complete_choices(Space& space) {
  const auto keys = flatten(Config{});
  for (Parameter& p : space) {
    // "precision", unlike the name of a choice that only others depend on.
    const bool is_key =
        p.key.find('.') != std::string::npos ||
        std::any_of(keys.begin(), keys.end(), [&](const auto& key) { return key.first == p.key; });
    for (Choice& choice : p.choices)
      if (choice.overrides.empty() && is_key) choice.overrides = {p.key + "=" + choice.label};
  }
}

StudyFile parse_study(const std::string& file) {
  StudyFile study;
  study.text = read_file("study", file, kLargestStudyFile);
  bool base_said = false;
  for (const TomlEntry& entry : parse_toml(study.text, file)) {
    const std::string where = fmt::format("{}:{}", file, entry.line);
    const std::string& path = entry.path;
    const auto below = [&](std::string_view prefix) {
      return path.starts_with(prefix) ? path.substr(prefix.size()) : std::string();
    };
    struct Text {
      const char* path;
      std::string* value;
    };
    struct Number {
      const char* path;
      double* value;
    };
    struct Whole {
      const char* path;
      int64_t* value;
      int64_t least;
    };
    int64_t seed = static_cast<int64_t>(study.sampler.seed);
    const Text texts[] = {{"name", &study.name},
                          {"question", &study.question},
                          {"base", &study.base},
                          {"outcome", &study.outcome},
                          {"budget.min_tokens_arms", &study.min_tokens_arms},
                          {"equal_tokens.factor", &study.equal_tokens_factor},
                          {"sampler.name", &study.sampler.name},
                          {"pruner.name", &study.pruner.name}};
    const Number numbers[] = {{"budget.seconds", &study.seconds},
                              {"budget.tokens", &study.tokens},
                              {"budget.flops", &study.flops},
                              {"budget.min_tokens", &study.min_tokens},
                              {"budget.total_seconds", &study.total_seconds},
                              {"budget.total_tokens", &study.total_tokens},
                              {"budget.total_flops", &study.total_flops},
                              {"equal_tokens.seconds", &study.equal_tokens_seconds},
                              {"noise", &study.noise},
                              {"pruner.eta", &study.pruner.eta}};
    const Whole wholes[] = {{"budget.trials", &study.trials, 1},
                            {"sampler.seed", &seed, 0},
                            {"sampler.startup", &study.sampler.startup, 1},
                            {"confirm.top", &study.confirm.top, 1}};
    bool taken = false;
    for (const Text& t : texts)
      if (path == t.path) *t.value = text_of(entry, where), taken = true;
    for (const Number& n : numbers)
      if (path == n.path) *n.value = number(entry, where), taken = true;
    for (const Whole& w : wholes)
      if (path == w.path) *w.value = whole_number(entry, where, w.least), taken = true;
    study.sampler.seed = static_cast<uint64_t>(seed);
    if (taken) continue;
    if (path == "seeds" || path == "confirm.seeds") {
      auto& seeds = path == "seeds" ? study.seeds : study.confirm.seeds;
      for (const std::string& text : entry.values) seeds.push_back(seed_of(text, where));
    } else if (path == "target") {
      for (const std::string& text : entry.values)
        study.targets.push_back(any_number(text, path, where));
    } else if (path == "pruner.rungs") {
      for (const std::string& text : entry.values)
        study.pruner.rungs.push_back(any_number(text, path, where));
    } else if (path == "pruner.rung") {
      const std::string rung = text_of(entry, where);
      if (rung != "complete" && rung != "mid-run")
        fail("study: pruner.rung ({}) is '{}'; it takes complete or mid-run", where, rung);
      study.pruner.complete = rung == "complete";
    } else if (path == "confirm.base") {
      const std::string said = text_of(entry, where);
      if (said != "true" && said != "false")
        fail("study: confirm.base ({}) takes true or false", where);
      study.confirm.base = said == "true", base_said = true;
    } else if (const std::string parameter = below("space."); !parameter.empty()) {
      add_to_space(study.space, parameter, entry, where);
    } else if (const std::string arm = below("arms."); !arm.empty()) {
      check_name(arm, where);
      study.arms.push_back({arm, {}, entry.values});
    } else if (const std::string rest = below("factors."); rest.find('.') != std::string::npos) {
      const std::string factor = rest.substr(0, rest.find('.'));
      const std::string level = rest.substr(rest.find('.') + 1);
      check_name(factor, where), check_name(level, where);
      if (study.factors.empty() || study.factors.back().name != factor)
        study.factors.push_back({factor, {}});
      study.factors.back().levels.push_back({level, entry.values});
    } else {
      std::vector<std::string> known = {"seeds",        "confirm.seeds", "target",
                                        "pruner.rungs", "pruner.rung",   "confirm.base"};
      for (const Text& t : texts) known.push_back(t.path);
      for (const Number& n : numbers) known.push_back(n.path);
      for (const Whole& w : wholes) known.push_back(w.path);
      const std::string meant = nearest(path, known.data(), known.size());
      fail("study: unknown key '{}' ({}){}", path, where,
           meant.empty()
               ? "; known are name, question, base, seeds, outcome, target, noise, budget, "
                 "factors, arms, space, sampler, pruner, confirm, equal_tokens"
               : fmt::format("; did you mean '{}'?", meant));
    }
  }
  multiply(study);
  if (study.arms.empty() && study.searches()) study.arms.push_back({});
  if (!base_said) study.confirm.base = study.arms.size() == 1;
  complete_choices(study.space);
  if (study.pruner.name != "none" && study.pruner.rungs.empty())
    study.pruner.rungs = {1 / (study.pruner.eta * study.pruner.eta), 1 / study.pruner.eta};
  return study;
}

}  // namespace

bool StudyFile::needs_tokens(const StudyArm& arm) const {
  return min_tokens_arms.empty() || arm.name == min_tokens_arms ||
         std::find(arm.levels.begin(), arm.levels.end(), min_tokens_arms) != arm.levels.end();
}

Space StudyFile::space_of(const StudyArm& arm) const {
  Space out;
  for (Parameter p : space) {
    std::string label;
    if (p.when == "arm") label = arm.name;
    for (size_t f = 0; f < factors.size() && f < arm.levels.size(); ++f)
      if (p.when == factors[f].name) label = arm.levels[f];
    if (!label.empty()) {
      if (std::find(p.when_labels.begin(), p.when_labels.end(), label) == p.when_labels.end())
        continue;
      p.when.clear(), p.when_labels.clear();
    }
    out.push_back(std::move(p));
  }
  return out;
}

double StudyFile::confirming_runs() const {
  const auto points = static_cast<double>(confirm.top + (confirm.base ? 1 : 0));
  return static_cast<double>(confirm.seeds.size() * arms.size()) * points;
}

std::string StudyFile::stopping_rule() const {
  if (!searches())
    return fmt::format("every arm is run with {} seed{}", seeds.size(),
                       seeds.size() == 1 ? "" : "s");
  std::vector<std::string> limits;
  if (trials > 0)
    limits.push_back(fmt::format("{} trials{}", trials, arms.size() > 1 ? " of each arm" : ""));
  else if (sampler.name == "grid")
    limits.push_back("the whole grid");
  if (total_seconds > 0) limits.push_back(fmt::format("{:g} s of all processes", total_seconds));
  if (total_tokens > 0) limits.push_back(fmt::format("{:g} tokens of training", total_tokens));
  if (total_flops > 0) limits.push_back(fmt::format("{:g} operations", total_flops));
  std::string out = fmt::format("the search ends after {}{}", fmt::join(limits, " or "),
                                limits.size() > 1 ? ", whichever comes first" : "");
  if (confirm.seeds.empty()) return out + "; its best is not run again";
  return out + fmt::format("; then {}{} run with {} fresh seed{}",
                           confirm.top == 1 ? std::string("the best")
                                            : fmt::format("the best {}", confirm.top),
                           fmt::format("{}{} {}", arms.size() > 1 ? " of each arm" : "",
                                       confirm.base ? " and the base recipe" : "",
                                       confirm.top == 1 && !confirm.base ? "is" : "are"),
                           confirm.seeds.size(), confirm.seeds.size() == 1 ? "" : "s");
}

StudyFile read_space(const std::string& file) {
  StudyFile study = parse_study(file);
  if (!study.searches()) fail("study: {} has no [space]", file);
  check_space(study.space, outer_choices(study), file);
  if (study.trials == 0) study.trials = 1;
  check_search(study, file);
  return study;
}

StudyFile read_study(const std::string& file) {
  StudyFile study = parse_study(file);
  check_names(study, file);
  check_space(study.space, outer_choices(study), file);
  check_search(study, file);
  check_values(study, file);
  check_equal_tokens(study, file);
  check_budget(study, file);
  check_outcome(study, file);
  return study;
}

}  // namespace strobe
