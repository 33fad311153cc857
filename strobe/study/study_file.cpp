#include "strobe/study/study_file.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "strobe/config/load.h"
#include "strobe/config/toml.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"

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

void check_whole(const StudyFile& study, const std::string& file) {
  if (study.name.empty()) fail("study: {} has no 'name'", file);
  check_name(study.name, file);
  if (study.base.empty()) fail("study: {} has no 'base', the recipe its arms vary", file);
  if (study.seeds.empty()) fail("study: {} has no 'seeds', for example seeds = [1, 2, 3]", file);
  if (study.arms.empty()) fail("study: {} has no arms: give it [factors.NAME] or [arms]", file);
  if (std::set<int64_t>(study.seeds.begin(), study.seeds.end()).size() != study.seeds.size())
    fail("study: {} names a seed twice", file);
  std::set<std::string> names;
  for (const StudyArm& arm : study.arms) {
    if (!names.insert(arm.name).second) fail("study: {} names the arm '{}' twice", file, arm.name);
    try {
      load_config(study.base, arm.overrides);
    } catch (const Error& error) {
      fail("study: arm '{}' of {}: {}", arm.name, file, error.what());
    }
  }
  if (!study.equal_tokens_factor.empty()) {
    const bool known = std::any_of(study.factors.begin(), study.factors.end(), [&](const auto& f) {
      return f.name == study.equal_tokens_factor;
    });
    if (!known)
      fail("study: {} has no factor '{}' for equal_tokens", file, study.equal_tokens_factor);
    if (study.seconds == 0) fail("study: {} has equal_tokens, which need budget.seconds", file);
  }
  if (study.seconds > 0 && study.tokens > 0)
    fail("study: {} has budget.seconds and budget.tokens; it takes one of them", file);
  if (study.min_tokens > 0 && study.seconds == 0)
    fail("study: {} has budget.min_tokens, which lengthens budget.seconds; set that too", file);
  if (std::none_of(study.arms.begin(), study.arms.end(),
                   [&](const StudyArm& arm) { return study.needs_tokens(arm); }))
    fail("study: {} has no arm or level '{}' for budget.min_tokens_arms", file,
         study.min_tokens_arms);
}

}  // namespace

bool StudyFile::needs_tokens(const StudyArm& arm) const {
  return min_tokens_arms.empty() || arm.name == min_tokens_arms ||
         std::find(arm.levels.begin(), arm.levels.end(), min_tokens_arms) != arm.levels.end();
}

StudyFile read_study(const std::string& file) {
  StudyFile study;
  study.text = read_file("study", file, kLargestStudyFile);
  for (const TomlEntry& entry : parse_toml(study.text, file)) {
    const std::string where = fmt::format("{}:{}", file, entry.line);
    const auto below = [&](std::string_view prefix) {
      return entry.path.starts_with(prefix) ? entry.path.substr(prefix.size()) : std::string();
    };
    if (entry.path == "name") {
      study.name = text_of(entry, where);
    } else if (entry.path == "question") {
      study.question = text_of(entry, where);
    } else if (entry.path == "base") {
      study.base = text_of(entry, where);
    } else if (entry.path == "seeds") {
      for (const std::string& seed : entry.values) study.seeds.push_back(seed_of(seed, where));
    } else if (entry.path == "budget.seconds") {
      study.seconds = number(entry, where);
    } else if (entry.path == "budget.tokens") {
      study.tokens = number(entry, where);
    } else if (entry.path == "budget.min_tokens") {
      study.min_tokens = number(entry, where);
    } else if (entry.path == "budget.min_tokens_arms") {
      study.min_tokens_arms = text_of(entry, where);
    } else if (entry.path == "equal_tokens.factor") {
      study.equal_tokens_factor = text_of(entry, where);
    } else if (entry.path == "equal_tokens.seconds") {
      study.equal_tokens_seconds = number(entry, where);
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
      const std::string known[] = {"name",
                                   "question",
                                   "base",
                                   "seeds",
                                   "budget.seconds",
                                   "budget.tokens",
                                   "budget.min_tokens",
                                   "budget.min_tokens_arms",
                                   "equal_tokens.factor",
                                   "equal_tokens.seconds"};
      const std::string meant = nearest(entry.path, known, std::size(known));
      fail("study: unknown key '{}' ({}){}", entry.path, where,
           meant.empty()
               ? "; known are name, question, base, seeds, budget, factors, arms, equal_tokens"
               : fmt::format("; did you mean '{}'?", meant));
    }
  }
  multiply(study);
  check_whole(study, file);
  return study;
}

}  // namespace strobe
