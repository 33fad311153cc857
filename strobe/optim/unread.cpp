#include "strobe/optim/unread.h"

#include <algorithm>
#include <set>

#include "strobe/config/fields.h"
#include "strobe/config/terms.h"
#include "strobe/core/error.h"
#include "strobe/optim/groups.h"
#include "strobe/optim/optimizer.h"
#include "strobe/optim/schedule.h"

namespace strobe {

namespace {

using Keys = std::vector<std::string>;

bool has(const Keys& keys, const std::string& key) {
  return std::ranges::find(keys, key) != keys.end();
}

template <class Entry>
const Entry& entry_of(std::span<const Entry> entries, const std::string& name) {
  const auto found = std::ranges::find_if(entries, [&](const auto& e) { return e.name == name; });
  check(found != entries.end(), "unread_keys: names were checked before");
  return *found;
}

Keys keys_of(const OptimizerEntry& entry) {
  Keys out;
  for (const OwnOption& option : entry.options) out.push_back(option.key);
  return out;
}

Keys keys_of(const ScheduleEntry& entry) {
  Keys out = {"warmup", "warmup_shape", "warmup_from"};
  if (entry.ends) out.insert(out.end(), {"length", "floor"});
  for (const OwnOption& option : entry.options) out.push_back(option.key);
  return out;
}

// Keys that some entry reads: other keys are no matter of the choice.
template <class Entries>
std::set<std::string> all_keys(const Entries& entries) {
  std::set<std::string> out;
  for (const auto& entry : entries)
    for (const std::string& key : keys_of(entry)) out.insert(key);
  return out;
}

// "optimizer.momentum is set, but adamw does not read it; it reads beta1, beta2, eps"
std::string sentence(const std::string& key, const std::string& origin, const std::string& name,
                     const Keys& reads) {
  const std::string where = origin == kCommandLine ? "" : fmt::format(" ({})", origin);
  return fmt::format("{} is set{}, but {} does not read it{}", key, where, name,
                     reads.empty() ? "" : fmt::format("; it reads {}", fmt::join(reads, ", ")));
}

// What a curve's own text, "linear(cycles=2)", sets in vain.
void add_unread_of_curve(std::vector<std::string>& out, const std::string& key,
                         const std::string& text, const std::string& origin) {
  CurveConfig curve = parse_curve(text, key), base;
  check_curve(curve, key);
  const ScheduleEntry& entry = entry_of(schedules(), curve.name);
  const Keys reads = keys_of(entry);
  const std::vector<Field> fields = fields_of(curve), defaults = fields_of(base);
  for (size_t i = 0; i < fields.size(); ++i)
    if (fields[i].path != "name" && !has(reads, fields[i].path) &&
        fields[i].get() != defaults[i].get())
      out.push_back(sentence(key + "'s " + fields[i].path, origin, curve.name, reads));
}

// "optimizer.beta2 is 0.95, as adamw has it; lion's default is 0.99"
void add_inherited_betas(std::vector<std::string>& out, const OptimizerConfig& config,
                         const LoadedConfig& said, const OptimizerConfig& base) {
  for (const ParamGroup& group : parse_groups(config)) {
    const bool of_base = !group.patterns.empty() && config.groups == base.groups;
    if (of_base || group.config.name == base.name) continue;
    const OptimizerEntry& entry = entry_of(optimizers(), group.config.name);
    for (const auto& [key, value] :
         {std::pair("beta1", group.config.beta1), {"beta2", group.config.beta2}}) {
      const auto option = std::ranges::find(entry.options, key, &OwnOption::key);
      const auto origin = said.origins.find(std::string("optimizer.") + key);
      const bool asked =
          has(group.said, key) || (origin != said.origins.end() && origin->second == kCommandLine);
      if (!value || asked || option == entry.options.end() ||
          option->usual == fmt::format("{}", *value))
        continue;
      std::string sentence = fmt::format("optimizer.{} is {}, as {} has it; {}'s default is {}",
                                         key, *value, base.name, entry.name, option->usual);
      if (!has(out, sentence)) out.push_back(std::move(sentence));
    }
  }
}

}  // namespace

std::vector<std::string> unread_keys(const Config& config, const LoadedConfig& said,
                                     const Config& base) {
  make_optimizer(config.optimizer), check_curve(config.schedule, "schedule");
  const auto optimizer_keys = all_keys(optimizers()), curve_keys = all_keys(schedules());
  Keys optimizer_reads, optimizer_names;
  std::vector<std::string> out;
  const auto groups_said = said.origins.find("optimizer.groups");
  for (const ParamGroup& group : parse_groups(config.optimizer)) {
    const OptimizerEntry& entry = entry_of(optimizers(), group.config.name);
    for (const std::string& key : group.said)
      if (groups_said != said.origins.end() && optimizer_keys.contains(key) &&
          !has(keys_of(entry), key))
        out.push_back(sentence(
            fmt::format("{} of optimizer.groups' '{}'", key, fmt::join(group.patterns, "|")),
            groups_said->second, entry.name, keys_of(entry)));
    if (!has(optimizer_names, entry.name)) optimizer_names.push_back(entry.name);
    for (const std::string& key : keys_of(entry))
      if (!has(optimizer_reads, key)) optimizer_reads.push_back(key);
  }
  const std::string optimizer_name = fmt::format("{}", fmt::join(optimizer_names, ", "));
  const Keys schedule_reads = keys_of(entry_of(schedules(), config.schedule.name));

  Config values = said.config, defaults;
  const std::vector<Field> fields = fields_of(values), usual = fields_of(defaults);
  for (size_t i = 0; i < fields.size(); ++i) {
    const std::string &path = fields[i].path, value = fields[i].get();
    const auto origin = said.origins.find(path);
    if (origin == said.origins.end() || value == "auto") continue;
    if (origin->second != kCommandLine && value == usual[i].get()) continue;
    const size_t dot = path.find('.');
    const std::string table = path.substr(0, dot), key = path.substr(dot + 1);
    const auto unread = [&](const std::string& name, const Keys& reads) {
      out.push_back(sentence(path, origin->second, name, reads));
    };
    if (table == "optimizer" && optimizer_keys.contains(key)) {
      if (!has(optimizer_reads, key)) unread(optimizer_name, optimizer_reads);
    } else if (table == "schedule" && curve_keys.contains(key)) {
      if (!has(schedule_reads, key)) unread(config.schedule.name, schedule_reads);
    } else if (path == "average.every" && config.average.lawa == 0) {
      unread("a run without average.lawa", {});
    } else if (path == "average.start" && config.average.lawa == 0 && config.average.ema == 0) {
      unread("a run without average.ema or average.lawa", {});
    } else if (table == "schedule" && key != "name" && key != "record") {
      const bool momentum = has(optimizer_reads, "beta1") || has(optimizer_reads, "momentum");
      if (key == "momentum" && value != "constant" && !momentum)
        unread(optimizer_name, optimizer_reads);
      add_unread_of_curve(out, path, value, origin->second);
    }
  }
  add_inherited_betas(out, config.optimizer, said, base.optimizer);
  return out;
}

}  // namespace strobe
