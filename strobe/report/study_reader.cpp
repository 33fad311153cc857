#include "strobe/report/study_reader.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/report/json_file.h"

namespace strobe {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

// Points of a search that nothing has confirmed yet, shown as arms.
constexpr size_t kMostUnconfirmed = 6;
constexpr size_t kLongestPoint = 60;

std::vector<std::pair<std::string, std::string>> pairs_at(const Json& object, const char* key) {
  std::vector<std::pair<std::string, std::string>> out;
  if (const auto at = object.find(key); at != object.end() && at->is_object())
    for (const auto& [name, value] : at->items()) out.emplace_back(name, scalar_text(value));
  return out;
}

const Json& list_at(const Json& study, const char* key, const std::string& file) {
  const auto at = study.find(key);
  if (at == study.end() || !at->is_array() || at->empty())
    fail("report: {} has no list of {}", file, key);
  return *at;
}

std::optional<RunRecord> run_if_there(const std::string& folder) {
  if (!fs::exists(folder + "/config.toml")) return std::nullopt;
  return read_run(folder);
}

// A path within the study, never one that leads out of it.
std::string inside(const std::string& study, const std::string& path, const std::string& file) {
  const fs::path part(path);
  bool out = part.is_absolute();
  for (const fs::path& step : part) out = out || step == "..";
  if (out) fail("report: {} names {:?}, which is not inside the study's folder", file, path);
  return study + "/" + path;
}

// What a search is over, and the trials in its journal.
SearchRecord read_search(const Json& study, const std::string& path, const std::string& name) {
  SearchRecord out;
  out.sampler = text_at(study, "sampler"), out.pruner = text_at(study, "pruner");
  if (const auto rungs = study.find("rungs"); rungs != study.end() && rungs->is_array())
    for (const Json& rung : *rungs)
      if (rung.is_number()) out.rungs.push_back(rung.get<int64_t>());
  if (const double wanted = number_at(study, "trials"); wanted > 0)
    out.wanted = static_cast<int64_t>(wanted);
  out.complete_rungs = study.value("rungs_complete", true);
  for (const Json& entry : study.at("space")) {
    if (!entry.is_object()) continue;
    ImportanceInput p;
    p.name = text_at(entry, "name");
    p.log = entry.value("log", false), p.integer = entry.value("integer", false);
    p.low = number_at(entry, "low"), p.high = number_at(entry, "high");
    if (const double step = number_at(entry, "step"); step > 0) p.step = step;
    std::vector<std::string> labels;
    if (const auto choices = entry.find("choices"); choices != entry.end())
      for (const Json& label : *choices) labels.push_back(scalar_text(label));
    p.choices = labels.size();
    out.parameters.push_back(std::move(p)), out.labels.push_back(std::move(labels));
  }
  Journal journal(path + "/journal.log", name);
  journal.refresh();
  out.trials = journal.trials(), out.torn = journal.torn();
  if (const auto seeds = study.find("seeds"); seeds != study.end() && seeds->is_array())
    out.seeds = static_cast<int64_t>(seeds->size());
  for (const Trial& trial : out.trials)  // others may be in the journal, of Optuna's
    if (!trial.attr("phase").empty() &&
        std::find(out.groups.begin(), out.groups.end(), trial.attr("arm")) == out.groups.end())
      out.groups.push_back(trial.attr("arm"));
  if (out.groups.empty()) out.groups.push_back("");
  return out;
}

// The confirmed points, the base recipe first; or the best points so far.
void take_arms_of_search(StudyRecord& study, const std::vector<int64_t>& confirm_seeds) {
  SearchRecord& search = *study.search;
  std::vector<const Trial*> points;
  const auto add = [&](const Trial& trial, bool first) {
    for (const Trial* point : points)
      if (point->attr("name") == trial.attr("name")) return;
    points.insert(first ? points.begin() : points.end(), &trial);
  };
  for (const Trial& trial : search.trials)
    if (trial.attr("phase") == "confirm") add(trial, trial.attr("point").empty());
  search.confirmed = !points.empty();
  if (search.confirmed) {
    study.seeds = confirm_seeds;
  } else {
    const std::vector<PointRecord> order = ranked_points(search);
    if (search.groups.size() == 1)
      for (const PointRecord& point : order)
        if (points.size() < kMostUnconfirmed) points.push_back(point.trial);
    if (search.groups.size() > 1)
      for (const std::string& group : search.groups)
        if (const auto best = std::ranges::find_if(
                order, [&](const PointRecord& p) { return p.trial->attr("arm") == group; });
            best != order.end())
          points.push_back(best->trial);
  }
  for (const Trial* point : points)
    study.arms.push_back({point_text(search, *point),
                          point->attr("name"),
                          point->attr("arm"),
                          {},
                          {point->texts.begin(), point->texts.end()},
                          {}});
}

}  // namespace

std::vector<PointRecord> ranked_points(const SearchRecord& search) {
  std::vector<PointRecord> out;
  std::map<std::string, size_t> at;
  for (const Trial& trial : search.trials) {
    if (trial.attr("phase") != "search") continue;  // of the confirmation, or Optuna's
    const auto [found, fresh] = at.emplace(trial.attr("name"), out.size());
    if (fresh) out.push_back({});
    PointRecord& point = out[found->second];
    point.failed += trial.state == TrialState::failed;
    if (trial.state != TrialState::complete) continue;
    if (!point.trial) point.trial = &trial;
    point.value += trial.value, ++point.complete;
  }
  std::erase_if(out, [](const PointRecord& point) { return point.complete == 0; });
  for (PointRecord& point : out) point.value /= point.complete;
  std::stable_sort(out.begin(), out.end(), [](const PointRecord& a, const PointRecord& b) {
    if (a.failed != b.failed) return a.failed < b.failed;
    return a.complete != b.complete ? a.complete > b.complete : a.value < b.value;
  });
  return out;
}

std::string point_text(const SearchRecord& search, const Trial& trial) {
  // With whole keys if that is short enough, then with their last words.
  const auto written = [&](bool whole) {
    std::string out;
    for (const ImportanceInput& p : search.parameters)
      if (const auto at = trial.texts.find(p.name); at != trial.texts.end())
        out += fmt::format("{}{}={}", out.empty() ? "" : ", ",
                           whole ? p.name : p.name.substr(p.name.rfind('.') + 1), at->second);
    return out;
  };
  const std::string& name = trial.attr("name");
  for (const bool whole : {true, false})
    if (const std::string text = written(whole); text.empty() || text.size() <= kLongestPoint)
      return text.empty() ? name : fmt::format("{} ({})", name, text);
  return name;
}

StudyRecord read_study_record(const std::string& path) {
  const std::string file = path + "/study.json";
  if (!fs::exists(file)) fail("report: {} is not a study folder: it has no study.json", path);
  const Json study = read_json_file(file);
  if (!study.is_object()) fail("report: {} is not a JSON object", file);

  StudyRecord out;
  out.path = path;
  out.name = text_at(study, "name", "study");
  out.question = text_at(study, "question");
  if (const double seconds = number_at(study, "seconds"); seconds > 0) out.seconds = seconds;
  if (const auto factors = study.find("factors"); factors != study.end() && factors->is_object())
    for (const auto& [name, levels] : factors->items()) {
      out.factors.push_back({name, {}});
      for (const Json& level : levels) out.factors.back().levels.push_back(scalar_text(level));
    }
  for (const Json& seed : list_at(study, "seeds", file)) {
    if (!seed.is_number_integer())
      fail("report: {}: a seed is {}, not an integer", file, seed.dump());
    out.seeds.push_back(seed.get<int64_t>());
  }
  out.outcome = text_at(study, "outcome", "val/loss");
  out.stopping_rule = text_at(study, "stopping_rule");
  if (const auto targets = study.find("targets"); targets != study.end() && targets->is_array())
    for (const Json& target : *targets)
      if (target.is_number()) out.targets.push_back(target.get<double>());
  if (const auto space = study.find("space"); space != study.end() && space->is_array()) {
    out.search = read_search(study, path, out.name);
    std::vector<int64_t> fresh;
    if (const auto seeds = study.find("confirm_seeds"); seeds != study.end() && seeds->is_array())
      for (const Json& seed : *seeds)
        if (seed.is_number_integer()) fresh.push_back(seed.get<int64_t>());
    take_arms_of_search(out, fresh);
    for (const Trial& trial : out.search->trials)
      if (trial.state == TrialState::complete && trial.attr("phase") == "search")
        if (auto run = run_if_there(inside(
                path, fmt::format("runs/{}-s{}", trial.attr("name"), trial.attr("seed")), file)))
          out.search->runs.emplace(trial.number, std::move(*run));
  } else {
    for (const Json& arm : list_at(study, "arms", file)) {
      const std::string name = arm.is_object() ? text_at(arm, "name") : "";
      if (name.empty()) fail("report: {}: an arm has no name", file);
      out.arms.push_back(
          {name, name, name, pairs_at(arm, "levels"), pairs_at(arm, "overrides"), {}});
    }
  }
  for (ArmRecord& arm : out.arms)
    for (const int64_t seed : out.seeds)
      arm.runs.push_back(
          run_if_there(inside(path, fmt::format("runs/{}-s{}", arm.folder, seed), file)));
  if (const auto compare = study.find("compare"); compare != study.end() && compare->is_array())
    for (const Json& pair : *compare)
      if (pair.is_object())
        out.compare.emplace_back(text_at(pair, "arm"), text_at(pair, "reference"));
  if (const auto text = study.find("text"); text != study.end() && text->is_object())
    out.text = {number_at(*text, "unigram_bits_per_byte"), number_at(*text, "bigram_bits_per_byte"),
                number_at(*text, "unigram_nats"), number_at(*text, "bigram_nats")};
  if (const auto equal = study.find("equal_tokens"); equal != study.end() && equal->is_object()) {
    out.equal_tokens_factor = text_at(*equal, "factor");
    for (const auto& [level, folder] : pairs_at(*equal, "runs"))
      if (auto run = run_if_there(inside(path, folder, file)))
        out.equal_tokens.emplace_back(level, std::move(*run));
  }
  return out;
}

}  // namespace strobe
