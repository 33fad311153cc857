#include "strobe/report/run_reader.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/report/json_file.h"

namespace strobe {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

constexpr int64_t kLargestSamples = 16 << 20;
constexpr double kMostSlowShare = 0.2;  // of the time in slow steps, before a run says so
constexpr size_t kFewestSteps = 20;     // where a few are logged, a slow first one is such a share

// Of either kind of figures.
template <class Figures>
void set_averaged(Figures& f) {
  f.loss_averaged = std::isfinite(f.loss_ema)    ? f.loss_ema
                    : std::isfinite(f.loss_lawa) ? f.loss_lawa
                                                 : f.loss;
}

void read_events(const std::string& file, RunRecord& run) {
  const bool torn = read_json_lines(file, [&](const Json& line) {
    const auto number = [&](const char* key) { return number_at(line, key); };
    const double step = number("step"), tokens = number("tokens"), seconds = number("seconds");
    if (line.contains("val/loss")) {
      run.evaluations.push_back({step, tokens, seconds, number("flops"), number("val/loss"),
                                 number("val/token_perplexity"), number("val/word_perplexity"),
                                 number("val/bits_per_byte"), number("val/error"),
                                 number("val/loss_ema"), number("val/loss_lawa")});
      set_averaged(run.evaluations.back());
    } else if (line.contains("train/loss"))
      run.training.push_back({step, tokens, seconds, number("train/loss"), number("lr"),
                              number("train/grad_norm"), number("tokens_per_second"),
                              number("mfu")});
  });
  if (torn)
    run.notes.push_back(
        fmt::format("{}: the last line of events.jsonl is torn and was left out.", run.name));
}

void read_memory(const std::string& file, RunRecord& run) {
  const Json parts = read_json_file(file);
  for (const Json& part : parts) {
    const double bytes = part.is_object() ? number_at(part, "bytes") : NAN;
    if (!std::isfinite(bytes) || bytes < 0)
      fail("report: {} is not a list of {{\"part\", \"bytes\"}}", file);
    run.memory.push_back({text_at(part, "part", "?"), bytes});
  }
}

RunResult read_result(const std::string& file) {
  const Json value = fs::exists(file) ? read_json_file(file) : Json::object();
  if (!value.is_object()) fail("report: {} is not a JSON object", file);
  const auto number = [&](const char* key) { return number_at(value, key); };
  RunResult out{.state = text_at(value, "state", "unfinished"),
                .steps = number("steps"),
                .tokens = number("tokens"),
                .seconds = number("seconds"),
                .loss = number("val/loss"),
                .bits_per_byte = number("val/bits_per_byte"),
                .word_perplexity = number("val/word_perplexity"),
                .token_perplexity = number("val/token_perplexity"),
                .error = number("val/error"),
                .tokens_per_second = number("tokens_per_second"),
                .parameters = number("parameters"),
                .peak_bytes = number("peak_bytes"),
                .planned_bytes = number("planned_bytes"),
                .loss_ema = number("val/loss_ema"),
                .loss_lawa = number("val/loss_lawa"),
                .train_loss = number("train/loss")};
  set_averaged(out);
  return out;
}

void read_environment(const std::string& file, RunRecord& run) {
  const Json value = read_json_file(file);
  if (!value.is_object()) fail("report: {} is not a JSON object", file);
  for (const auto& [key, entry] : value.items())
    run.environment.emplace_back(key, scalar_text(entry));
}

}  // namespace

RunRecord read_run(const std::string& path) {
  if (!fs::is_directory(path)) fail("report: no run folder {}", path);
  const std::string prefix = path + "/";
  if (!fs::exists(prefix + "config.toml"))
    fail("report: {} is neither a run folder (no config.toml) nor a study folder (no study.json)",
         path);
  RunRecord run;
  run.path = path;
  const fs::path whole = fs::weakly_canonical(path);
  run.name = (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  run.config = flatten(load_config(prefix + "config.toml", {}).config);
  run.result = read_result(prefix + "result.json");

  const auto optional_file = [&](const char* name, auto read) {
    if (fs::exists(prefix + name))
      read(prefix + name, run);
    else
      run.notes.push_back(fmt::format("{}: there is no {}.", run.name, name));
  };
  optional_file("events.jsonl", read_events);
  optional_file("memory.json", read_memory);
  optional_file("environment.json", read_environment);
  if (const double share = slow_share(run);
      share > kMostSlowShare && run.training.size() >= kFewestSteps)
    run.notes.push_back(fmt::format(
        "{}: {:.0f} % of its time went into steps at less than half of its usual speed. Something "
        "else was using the machine; its seconds and tokens a second are not its own.",
        run.name, 100 * share));
  if (fs::exists(prefix + "samples.txt"))
    run.samples = read_file("report", prefix + "samples.txt", kLargestSamples);
  return run;
}

double slow_share(const RunRecord& run) {
  std::vector<double> speeds;
  for (const TrainPoint& point : run.training)
    if (point.tokens_per_second > 0) speeds.push_back(point.tokens_per_second);
  if (speeds.empty()) return 0;
  const auto middle = speeds.begin() + static_cast<std::ptrdiff_t>(speeds.size() / 2);
  std::nth_element(speeds.begin(), middle, speeds.end());
  double slow = 0, all = 0, before = 0;
  for (const TrainPoint& point : run.training) {
    const double speed = point.tokens_per_second;
    const double seconds = speed > 0 ? (point.tokens - before) / speed : 0;
    before = point.tokens;
    all += seconds;
    if (speed < *middle / 2) slow += seconds;
  }
  return all > 0 ? slow / all : 0;
}

bool is_study_folder(const std::string& path) {
  return fs::exists(path + "/study.json") && !fs::exists(path + "/config.toml");
}

std::string value_of(const std::vector<std::pair<std::string, std::string>>& entries,
                     const std::string& key) {
  for (const auto& [name, value] : entries)
    if (name == key) return value;
  return "";
}

}  // namespace strobe
