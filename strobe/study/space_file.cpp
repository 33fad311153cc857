#include "strobe/study/space_file.h"

#include <algorithm>

#include "strobe/config/terms.h"
#include "strobe/core/error.h"
#include "strobe/core/number.h"

namespace strobe {

namespace {

const std::string kAttributes[] = {"float",  "log",  "integer", "log_integer", "choice",
                                   "points", "step", "unit",    "key",         "when"};

void set_range(Parameter& p, const TomlEntry& entry, const std::string& kind,
               const std::string& where) {
  if (p.low != p.high || p.is_choice())
    fail("study: '{}' ({}) has two ranges; it takes one", p.name, where);
  if (entry.values.size() != 2)
    fail("study: '{}' ({}) takes a range of two numbers, {} = [lowest, highest]", p.name, where,
         kind);
  p.low = number_in(entry.values[0], p.name, where),
  p.high = number_in(entry.values[1], p.name, where);
  p.log = kind == "log" || kind == "log_integer";
  if (kind == "integer" || kind == "log_integer") {
    p.kind = Parameter::Kind::integer;
    if (p.step == 0) p.step = 1;
  }
  if (!(p.low < p.high))
    fail("study: the range of '{}' ({}) is empty: {} is not below {}", p.name, where,
         entry.values[0], entry.values[1]);
}

// "schedule.name = wsd | cosine"
void set_condition(Parameter& p, const std::string& text, const std::string& where) {
  const size_t equals = text.find('=');
  p.when = trimmed(text.substr(0, equals));
  for (size_t at = equals; at != std::string::npos;) {
    const size_t next = text.find('|', at + 1);
    p.when_labels.emplace_back(trimmed(text.substr(at + 1, next - at - 1)));
    at = next;
  }
  if (p.when.empty() || p.when_labels.empty() || p.when_labels.back().empty())
    fail("study: 'when' of '{}' ({}) is not a condition; it takes when = \"NAME = LABEL\"", p.name,
         where);
}

}  // namespace

double number_in(const std::string& text, const std::string& what, const std::string& where) {
  const std::optional<double> value = to_number(text);
  if (!value) fail("study: {} ({}) takes numbers, not '{}'", what, where, text);
  return *value;
}

void add_to_space(Space& space, const std::string& path, const TomlEntry& entry,
                  const std::string& where) {
  // "NAME.choice.LABEL", a list of overrides, or "NAME.ATTRIBUTE".
  const std::string marker = ".choice.";
  const size_t labelled = path.find(marker);
  const size_t dot = labelled == std::string::npos ? path.rfind('.') : labelled;
  const std::string attribute = dot == std::string::npos ? "" : path.substr(dot + 1);
  const std::string meant = nearest(attribute, kAttributes, std::size(kAttributes));
  const bool known =
      labelled != std::string::npos ||
      std::find(std::begin(kAttributes), std::end(kAttributes), attribute) != std::end(kAttributes);
  if (!known)
    fail(
        "study: 'space.{}' ({}) is no range{}; a parameter is \"KEY\" = {{ float|log|integer|"
        "log_integer = [lowest, highest] }} or {{ choice = [...] }}",
        path, where, meant.empty() ? "" : fmt::format(" (did you mean '{}'?)", meant));
  const std::string name = path.substr(0, dot);
  if (space.empty() || space.back().name != name) {
    if (std::any_of(space.begin(), space.end(), [&](const auto& p) { return p.name == name; }))
      fail("study: '{}' is in the space twice ({})", name, where);
    space.push_back({});
    space.back().name = space.back().key = name;
  }
  Parameter& p = space.back();
  const auto one = [&] {
    if (entry.array) fail("study: {} of '{}' ({}) takes one value", attribute, name, where);
    return entry.values[0];
  };
  if (labelled != std::string::npos) {
    p.kind = Parameter::Kind::choice;
    p.choices.push_back({path.substr(labelled + marker.size()), entry.values});
  } else if (attribute == "choice") {
    p.kind = Parameter::Kind::choice;
    for (const std::string& value : entry.values) p.choices.push_back({value, {}});
    if (p.choices.empty()) fail("study: the choice '{}' ({}) is between nothing", name, where);
  } else if (attribute == "step") {
    p.step = number_in(one(), name, where);
    if (!(p.step > 0))
      fail("study: the step of '{}' ({}) is {}; it takes more than 0", name, where, p.step);
  } else if (attribute == "points") {
    const double points = number_in(one(), name, where);
    p.points = static_cast<int64_t>(std::clamp(points, 0.0, 1e6));
    if (static_cast<double>(p.points) != points || p.points < 1)
      fail("study: 'points' of '{}' ({}) takes an integer from 1", name, where);
  } else if (attribute == "unit") {
    p.unit = one();
  } else if (attribute == "key") {
    p.key = one();
  } else if (attribute == "when") {
    set_condition(p, one(), where);
  } else {
    set_range(p, entry, attribute, where);
  }
}

void check_space(const Space& space, const std::vector<Parameter>& outer, const std::string& file) {
  for (size_t i = 0; i < space.size(); ++i) {
    const Parameter& p = space[i];
    if (!p.is_choice() && p.low == p.high)
      fail("study: '{}' of {} has no range: give it float, log, integer, log_integer or choice",
           p.name, file);
    if (p.log && p.low <= 0)
      fail("study: the logarithmic range of '{}' in {} begins at {}; it takes more than 0", p.name,
           file, p.low);
    if (p.log && p.kind == Parameter::Kind::real && p.step > 0)
      fail("study: '{}' of {} has a step in a logarithmic range; it takes 'points', or float",
           p.name, file);
    if (p.log && p.kind == Parameter::Kind::integer && p.step != 1)
      fail("study: '{}' of {} has a step; a logarithmic range of integers has steps of 1", p.name,
           file);
    if (p.step > p.high - p.low)
      fail("study: the step of '{}' in {} is {}, more than its range", p.name, file, p.step);
    if (p.kind == Parameter::Kind::integer &&
        (p.low != std::floor(p.low) || p.high != std::floor(p.high) ||
         p.step != std::floor(p.step)))
      fail("study: '{}' of {} is of integers; its range and step take whole numbers", p.name, file);
    for (size_t a = 0; a < p.choices.size(); ++a)
      for (size_t b = 0; b < a; ++b)
        if (p.choices[a].label == p.choices[b].label)
          fail("study: the choice '{}' of {} has '{}' twice", p.name, file, p.choices[a].label);
    if (p.when.empty()) continue;
    std::vector<Parameter> before(space.begin(), space.begin() + static_cast<long>(i));
    before.insert(before.end(), outer.begin(), outer.end());
    const auto on = std::find_if(before.begin(), before.end(),
                                 [&](const Parameter& other) { return other.name == p.when; });
    if (on == before.end() || !on->is_choice())
      fail("study: '{}' of {} depends on '{}', which is no choice or factor before it", p.name,
           file, p.when);
    for (const std::string& label : p.when_labels)
      if (std::none_of(on->choices.begin(), on->choices.end(),
                       [&](const Choice& choice) { return choice.label == label; }))
        fail("study: '{}' of {} depends on {} = {}, which is not one of its choices", p.name, file,
             p.when, label);
  }
}

}  // namespace strobe
