#include "apps/glue_record.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/files.h"
#include "strobe/core/json_file.h"
#include "strobe/data/glue.h"

namespace strobe {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kAverage = "average";

bool counts(const GlueTask& task) { return task.has_train() && task.name != "wnli"; }

bool is_true(const Json& entry, const char* key) { return entry.value(key, Json()) == true; }

}  // namespace

double median(std::vector<double> values) {
  std::erase_if(values, [](double x) { return std::isnan(x); });
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  if (n == 0) return NAN;
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

GlueRecord::GlueRecord(std::string file) : file_(std::move(file)) { read(); }

void GlueRecord::read() {
  constexpr int64_t kLargest = 16 << 20;
  entries_.clear();
  if (!std::filesystem::exists(file_)) return;
  const nlohmann::json all = read_json("glue", file_, kLargest);
  const auto is_entry = [](const nlohmann::json& entry) {
    return member(entry, "task").is_string() && member(entry, "score").is_string() &&
           member(entry, "values").is_array();
  };
  if (!all.is_array() || !std::ranges::all_of(all, is_entry))
    fail("glue: {} is no record of scores; another --out leaves it alone", file_);
  const Json ordered = Json::parse(read_file("glue", file_, kLargest));
  for (const Json& entry : ordered)
    if (entry["task"] != kAverage) entries_.push_back(entry);
}

std::vector<Json> GlueRecord::of_task(std::string_view task) const {
  std::vector<Json> out;
  for (const Json& entry : entries_)
    if (entry["task"] == task) out.push_back(entry);
  return out;
}

std::optional<double> GlueRecord::score_of(std::string_view task, size_t metrics) const {
  std::vector<double> means;
  size_t found = 0;
  for (const Json& entry : of_task(task)) {
    if (!entry["score"].get<std::string>().starts_with("dev ")) continue;
    if (is_true(entry, "trained_on_subset") || is_true(entry, "scored_on_subset")) return {};
    const Json& values = entry["values"];
    means.resize(std::max(means.size(), values.size()));
    for (size_t i = 0; i < values.size(); ++i)
      means[i] +=
          (values[i].is_number() ? values[i].get<double>() : NAN) / static_cast<double>(metrics);
    ++found;
  }
  const double out = median(means);
  return found == metrics && !std::isnan(out) ? std::optional(out) : std::nullopt;
}

std::optional<double> GlueRecord::average() const {
  double sum = 0, tasks = 0;
  for (const GlueTask& task : glue_tasks()) {
    if (!counts(task)) continue;
    const std::optional<double> score = score_of(task.name, task.metrics.size());
    if (!score) return {};
    sum += *score, ++tasks;
  }
  return sum / tasks;
}

void GlueRecord::put(std::string_view task, const std::vector<Json>& entries) {
  const FileLock lock = FileLock::wait_for(file_ + ".lock");
  read();
  std::erase_if(entries_, [&](const Json& entry) { return entry["task"] == task; });
  entries_.insert(entries_.end(), entries.begin(), entries.end());
  std::string out;
  const auto add = [&](const Json& entry) {
    out += fmt::format("{}\n  {}", out.empty() ? "" : ",", entry.dump());
  };
  for (const GlueTask& each : glue_tasks())
    for (const Json& entry : of_task(each.name)) add(entry);
  if (const std::optional<double> mean = average()) {
    Json of = Json::object();
    for (const GlueTask& each : glue_tasks())
      if (counts(each)) of[std::string(each.name)] = *score_of(each.name, each.metrics.size());
    add({{"task", kAverage},
         {"score", "dev"},
         {"values", {*mean}},
         {"of", of},
         {"protocol",
          "mean of the tasks' scores on dev, each the median over its seeds of the mean of its "
          "metrics; without WNLI, of MNLI matched; each task's own protocol is in its entry"}});
  }
  write_file("glue", file_, fmt::format("[{}\n]\n", out));
}

}  // namespace strobe
