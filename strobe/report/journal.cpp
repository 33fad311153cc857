#include "strobe/report/journal.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "strobe/core/error.h"
#include "strobe/report/json_file.h"

namespace strobe {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShown = 60;  // characters of a line that cannot be read

// Optuna's operations.
enum Operation {
  create_study,
  delete_study,
  set_study_user_attr,
  set_study_system_attr,
  create_trial,
  set_trial_param,
  set_trial_state_values,
  set_trial_intermediate_value,
  set_trial_user_attr,
  set_trial_system_attr,
  discard_trials
};

// "2026-11-26T16:31:11.328948+00:00"; what has no offset is taken for UTC.
double seconds_since_1970(const Json& log, const char* key) {
  const std::string text = text_at(log, key);
  std::tm time{};
  double second = 0;
  if (std::sscanf(text.c_str(), "%d-%d-%dT%d:%d:%lf", &time.tm_year, &time.tm_mon, &time.tm_mday,
                  &time.tm_hour, &time.tm_min, &second) != 6)
    return std::numeric_limits<double>::quiet_NaN();
  time.tm_year -= 1900, time.tm_mon -= 1;
  double offset = 0;
  if (const size_t sign = text.find_first_of("+-", 19); sign != std::string::npos) {
    int hours = 0, minutes = 0;
    std::sscanf(text.c_str() + sign + 1, "%d:%d", &hours, &minutes);
    offset = (text[sign] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
  }
  return static_cast<double>(::timegm(&time)) + second - offset;
}

// The label of a choice, or the number as it is.
std::string text_of(double value, const std::string& distribution) {
  const Json json = Json::parse(distribution, nullptr, false);
  if (json.is_object() && json.value("name", "") == "CategoricalDistribution") {
    const Json& choices = json["attributes"]["choices"];
    const auto index = static_cast<size_t>(value);
    return index < choices.size() ? scalar_text(choices[index]) : "?";
  }
  return fmt::format("{:.6g}", value);
}

void set_param(Trial& trial, const std::string& name, const Json& value,
               const std::string& distribution) {
  trial.params[name] = value.get<double>();
  trial.texts[name] = text_of(value.get<double>(), distribution);
}

void merge_attrs(std::map<std::string, std::string>& attrs, const Json& log, const char* key) {
  if (const auto at = log.find(key); at != log.end() && at->is_object())
    for (const auto& [name, value] : at->items()) attrs[name] = scalar_text(value);
}

double first_value(const Json& log) {
  if (const auto values = log.find("values");
      values != log.end() && values->is_array() && !values->empty() && (*values)[0].is_number())
    return (*values)[0].get<double>();
  return number_at(log, "value");
}

}  // namespace

const char* name_of(TrialState state) {
  static const char* names[] = {"running", "complete", "pruned", "failed", "waiting"};
  return names[static_cast<int>(state)];
}

const std::string& Trial::attr(const std::string& key) const {
  static const std::string nothing;
  const auto at = attrs.find(key);
  return at == attrs.end() ? nothing : at->second;
}

double Trial::number_attr(const std::string& key) const {
  const std::string& text = attr(key);
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == 0 ? value : std::numeric_limits<double>::quiet_NaN();
}

Journal::Journal(std::string file, std::string study)
    : file_(std::move(file)), name_(std::move(study)) {}

Trial* Journal::of_id(int64_t id) {
  if (id < 0 || id >= static_cast<int64_t>(number_of_id_.size())) return nullptr;
  const int64_t number = number_of_id_[static_cast<size_t>(id)];
  return number < 0 ? nullptr : &trials_[static_cast<size_t>(number)];
}

void Journal::apply(const std::string& line) {
  const Json log = Json::parse(line);
  const int op = log.at("op_code").get<int>();
  if (op == create_study) {
    const auto name = log.at("study_name").get<std::string>();
    // Of two with one name the second never was, as Optuna reads it.
    if (std::find(study_names_.begin(), study_names_.end(), name) != study_names_.end()) return;
    study_names_.push_back(name);
    if (name == name_) study_ = studies_;
    ++studies_;
    return;
  }
  if (op == create_trial) {
    const bool ours = study_ >= 0 && log.at("study_id").get<int64_t>() == study_;
    const auto number = static_cast<int64_t>(trials_.size());
    number_of_id_.push_back(ours ? number : -1);
    if (!ours) return;
    Trial trial;
    trial.id = static_cast<int64_t>(number_of_id_.size()) - 1, trial.number = number;
    trial.state = static_cast<TrialState>(log.value("state", 0));
    trial.value = first_value(log);
    trial.start = seconds_since_1970(log, "datetime_start");
    trial.end = seconds_since_1970(log, "datetime_complete");
    if (const auto params = log.find("params"); params != log.end() && params->is_object())
      for (const auto& [name, value] : params->items())
        set_param(trial, name, value, log.at("distributions").at(name).get<std::string>());
    if (const auto rungs = log.find("intermediate_values");
        rungs != log.end() && rungs->is_object())
      for (const auto& [step, value] : rungs->items())
        trial.rungs[std::stoll(step)] = value.get<double>();
    merge_attrs(trial.attrs, log, "user_attrs"),
        merge_attrs(trial.system_attrs, log, "system_attrs");
    trials_.push_back(std::move(trial));
    return;
  }
  if (op < set_trial_param || op > set_trial_system_attr) return;
  Trial* trial = of_id(log.at("trial_id").get<int64_t>());
  if (!trial || trial->ended()) return;
  switch (op) {
    case set_trial_param:
      set_param(*trial, log.at("param_name").get<std::string>(), log.at("param_value_internal"),
                log.at("distribution").get<std::string>());
      break;
    case set_trial_state_values:
      trial->state = static_cast<TrialState>(log.at("state").get<int>());
      if (const double value = first_value(log); !std::isnan(value)) trial->value = value;
      if (trial->state == TrialState::running)
        trial->start = seconds_since_1970(log, "datetime_start");
      if (trial->ended()) trial->end = seconds_since_1970(log, "datetime_complete");
      break;
    case set_trial_intermediate_value:
      trial->rungs[log.at("step").get<int64_t>()] = log.at("intermediate_value").get<double>();
      break;
    case set_trial_user_attr: merge_attrs(trial->attrs, log, "user_attr"); break;
    default: merge_attrs(trial->system_attrs, log, "system_attr");
  }
}

void Journal::refresh() {
  std::ifstream in(file_, std::ios::binary);
  if (!in) {
    if (std::filesystem::exists(file_)) fail("study: cannot read {}", file_);
    return;
  }
  in.seekg(offset_);
  torn_ = 0;
  for (std::string line; std::getline(in, line);) {
    if (in.eof()) {  // no newline yet
      torn_ = static_cast<int64_t>(line.size());
      break;
    }
    try {
      apply(line);
    } catch (const std::exception&) {
      fail("study: {}:{} is no line of a journal: {:?}; without that line the rest can be read",
           file_, line_ + 1, line.substr(0, kShown));
    }
    offset_ += static_cast<int64_t>(line.size()) + 1;
    ++line_;
  }
}

}  // namespace strobe
