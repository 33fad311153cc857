#include "strobe/study/study_file.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "strobe/config/load.h"
#include "strobe/config/toml.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/number.h"
#include "strobe/study/space_file.h"
#include "strobe/study/study_checks.h"

namespace strobe {

namespace {

constexpr int64_t kLargestStudyFile = 1 << 20;
std::string text_of(const TomlEntry& entry, const std::string& where) {
  if (entry.array) fail("study: {} ({}) takes one value, not a list", entry.path, where);
  return entry.values[0];
}

double positive(const TomlEntry& entry, const std::string& where) {
  const std::optional<double> value = to_number(text_of(entry, where));
  if (!value || !(*value > 0)) fail("study: {} ({}) takes a number above 0", entry.path, where);
  return *value;
}

int64_t whole_number(const std::string& text, const std::string& what, const std::string& where,
                     int64_t least) {
  constexpr int64_t kMost = 9'000'000'000'000'000;  // as the configuration of a run
  const std::optional<int64_t> value = to_integer(text);
  if (!value || *value < least || *value > kMost)
    fail("study: {} ({}) takes integers from {} to 9e15, not '{}'{}", what, where, least, text,
         text.find(',') == text.npos ? "" : fmt::format("; several are '{}=[1, 2]'", what));
  return *value;
}

// Names become folders.
void check_name(const std::string& name, const std::string& where) {
  const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  });
  constexpr size_t kLongest =
      100;  // a run's folder adds its point and seed, and a file system takes 255
  if (name.size() > kLongest)
    fail("study: the name '{}...' ({}) has {} characters; {} at most are accepted",
         name.substr(0, 20), where, name.size(), kLongest);
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

bool is_recipe_key(const std::string& path) {
  static const auto keys = flatten(Config{});
  return path == "model.preset" ||
         std::any_of(keys.begin(), keys.end(), [&](const auto& key) { return key.first == path; });
}

// A choice between plain values sets its own key.
void complete_choices(Space& space) {
  for (Parameter& p : space) {
    // "precision", unlike the name of a choice that only others depend on.
    const bool is_key = p.key.find('.') != std::string::npos || is_recipe_key(p.key);
    for (Choice& choice : p.choices)
      if (choice.overrides.empty() && is_key) choice.overrides = {p.key + "=" + choice.label};
  }
}

// "seeds=[1, 2]" as a line of the file; text needs no quotes.
TomlEntry entry_of(const std::string& override) {
  const size_t equals = override.find('=');
  if (equals == std::string::npos || equals == 0)
    fail("study: '{}' is not an override; write key=value, for example budget.tokens=1e6",
         override);
  const std::string value = override.substr(equals + 1);
  std::vector<TomlEntry> entries;
  try {
    entries = parse_toml("x = " + value, "command line");
  } catch (const Error&) {
    if (value.starts_with('['))
      fail(
          "study: the list of '{}' cannot be read; its texts are in quotes, '{}=[\"one\", "
          "\"two\"]'",
          override, override.substr(0, equals));
    entries = parse_toml("x = " + toml_quote(value), "command line");
  }
  if (entries.size() != 1 || entries[0].path != "x")
    fail("study: '{}' takes one value: a number, a text or a list", override);
  // space."optimizer.lr".log=[1e-3, 1e-2]
  TomlEntry& entry = entries[0];
  entry.path = override.substr(0, equals), entry.line = 0, entry.keys = {""};
  bool quoted = false;
  for (const char c : entry.path)
    if (c == '"')
      quoted = !quoted;
    else if (c == '.' && !quoted)
      entry.keys.emplace_back();
    else
      entry.keys.back() += c;
  std::erase(entry.path, '"');
  return entry;
}

// The file's entries, and in their place or behind them what the command line says.
std::vector<TomlEntry> entries_of(StudyFile& study, const std::string& file,
                                  const std::vector<std::string>& overrides) {
  std::vector<TomlEntry> out = parse_toml(study.text, file);
  if (!study.text.ends_with('\n')) study.text += '\n';
  for (const std::string& override : overrides) {
    const TomlEntry entry = entry_of(override);
    const auto same = std::find_if(out.begin(), out.end(),
                                   [&](const TomlEntry& e) { return e.path == entry.path; });
    if (same == out.end())
      out.push_back(entry);
    else  // it need not be quoted again
      *same = {entry.path, same->keys, entry.values, entry.array, entry.text, entry.line};
    const bool one_line = override.find_first_of("\n\r") == std::string::npos;
    study.text += fmt::format("{}{}\n", kOnCommandLine, one_line ? override : toml_quote(override));
  }
  return out;
}

StudyFile parse_study(const std::string& file, const std::vector<std::string>& overrides) {
  StudyFile study;
  study.text = read_file("study", file, kLargestStudyFile);
  bool base_said = false;
  for (const TomlEntry& entry : entries_of(study, file, overrides)) {
    const std::string where =
        entry.line > 0 ? fmt::format("{}:{}", file, entry.line) : std::string("command line");
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
      if (path == n.path) *n.value = positive(entry, where), taken = true;
    for (const Whole& w : wholes)
      if (path == w.path)
        *w.value = whole_number(text_of(entry, where), path, where, w.least), taken = true;
    study.sampler.seed = static_cast<uint64_t>(seed);
    if (taken) continue;
    if (path == "overrides") {
      study.overrides.insert(study.overrides.begin(), entry.values.begin(), entry.values.end());
    } else if (entry.line == 0 && is_recipe_key(path)) {
      study.overrides.push_back(path + "=" + text_of(entry, where));
    } else if (path == "seeds" || path == "confirm.seeds") {
      auto& seeds = path == "seeds" ? study.seeds : study.confirm.seeds;
      for (const std::string& text : entry.values)
        seeds.push_back(whole_number(text, path, where, 0));
    } else if (path == "target") {
      for (const std::string& text : entry.values)
        study.targets.push_back(number_in(text, path, where));
    } else if (path == "pruner.rungs") {
      for (const std::string& text : entry.values)
        study.pruner.rungs.push_back(number_in(text, path, where));
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
    } else if (const std::string compared = below("compare."); !compared.empty()) {
      for (const std::string& reference : entry.values)
        study.compare.emplace_back(compared, reference);
    } else if (entry.keys[0] == "factors" && entry.keys.size() > 2) {
      if (entry.keys.size() > 3)
        fail(
            "study: '{}' ({}): the name of a factor or a level that has a dot is put in quotes, "
            "factors.\"optimizer.lr\".\"0.1\"",
            path, where);
      const std::string &factor = entry.keys[1], &level = entry.keys[2];
      check_name(factor, where), check_name(level, where);
      if (study.factors.empty() || study.factors.back().name != factor)
        study.factors.push_back({factor, {}});
      study.factors.back().levels.push_back({level, entry.values});
    } else {
      std::vector<std::string> known = {"overrides",    "seeds",       "confirm.seeds", "target",
                                        "pruner.rungs", "pruner.rung", "confirm.base"};
      for (const Text& t : texts) known.push_back(t.path);
      for (const Number& n : numbers) known.push_back(n.path);
      for (const Whole& w : wholes) known.push_back(w.path);
      std::string meant = nearest(path, known.data(), known.size());
      if (entry.line > 0 && suggest_key(path) == path)
        fail(
            "study: '{}' ({}) is a key of recipes{} A study file names its recipe, base = "
            "\"FILE\", and changes keys by overrides, arms or factors; 'strobe train' trains a "
            "recipe",
            path, where, meant.empty() ? "." : fmt::format("; did you mean '{}'?", meant));
      if (meant.empty() && entry.line == 0) meant = suggest_key(path);
      fail("study: unknown key '{}' ({}){}", path, where,
           meant.empty() ? "; known are name, question, base, overrides, seeds, outcome, target, "
                           "noise, budget, "
                           "factors, arms, compare, space, sampler, pruner, confirm, equal_tokens"
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

std::vector<int64_t> rung_percents(const StudyFile& study) {
  std::vector<int64_t> out;
  for (const double share : study.pruner.rungs) out.push_back(std::llround(100 * share));
  return out;
}

int64_t evaluated_percent(const StudyFile& study) {
  int64_t out = 0;
  for (const int64_t percent : rung_percents(study)) out = std::gcd(out, percent);
  return out;
}

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
    limits.push_back(fmt::format("{}{}",
                                 seeds.size() > 1
                                     ? fmt::format("{} points x {} seeds", trials, seeds.size())
                                     : fmt::format("{} trials", trials),
                                 arms.size() > 1 ? " of each arm" : ""));
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
  StudyFile study = parse_study(file, {});
  if (!study.searches()) fail("study: {} has no [space]", file);
  check_space(study.space, outer_choices(study), file);
  if (study.trials == 0) study.trials = 1;
  check_search(study, file);
  return study;
}

StudyFile read_study(const std::string& file, const std::vector<std::string>& overrides) {
  StudyFile study = parse_study(file, overrides);
  if (study.name.empty()) fail("study: {} has no 'name'", file);
  check_name(study.name, file);
  check_space(study.space, outer_choices(study), file);
  check_study(study, file);
  return study;
}

}  // namespace strobe
