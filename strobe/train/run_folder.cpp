#include "strobe/train/run_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/json_file.h"
#include "strobe/core/json_text.h"
#include "strobe/data/scores.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kLargestText = 1 << 20;  // bytes of a small JSON file

// The number after "key": in a line this program wrote, NaN for null; nothing if the key is absent.
std::optional<double> number_in(std::string_view line, std::string_view key) {
  const size_t at = line.find(fmt::format("\"{}\": ", key));
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = line.substr(at + key.size() + 4);
  if (rest.starts_with("null")) return NAN;
  double value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

// Calls `visit` with each whole line.
void for_each_line(const std::string& file, const std::function<void(std::string_view)>& visit) {
  std::ifstream stream(file, std::ios::binary);
  for (std::string line; std::getline(stream, line) && !stream.eof();) visit(line);
}

StepEvent step_event_in(std::string_view line) {
  const auto number = [&](const char* key) { return number_in(line, key).value_or(NAN); };
  StepEvent out;
  out.step = static_cast<int64_t>(number("step"));
  out.tokens = number("tokens"), out.seconds = number("seconds");
  out.loss = number("train/loss");
  out.lr = static_cast<float>(number("lr"));
  out.grad_norm = static_cast<float>(number("train/grad_norm"));
  out.tokens_per_second = number("tokens_per_second");
  out.mfu = number_in(line, "mfu").value_or(0);
  return out;
}

Evaluation evaluation_in(std::string_view line) {
  const auto number = [&](const char* key) { return number_in(line, key).value_or(NAN); };
  Evaluation out;
  out.split = "valid";
  out.loss = number("val/loss"), out.token_perplexity = number("val/token_perplexity");
  out.word_perplexity = number("val/word_perplexity");
  out.bits_per_byte = number("val/bits_per_byte");
  for (const Metric& metric : kMetrics)
    if (const auto score = number_in(line, fmt::format("val/{}", metric.name)))
      out.scores.emplace_back(metric.name, *score);
  for (const char* name : {"ema", "lawa"})
    if (const auto loss = number_in(line, fmt::format("val/loss_{}", name)))
      out.averages.emplace_back(name, *loss);
  return out;
}

// The runs of a study, for people; "" if `path` is none.
std::string runs_of_study(const std::string& path) {
  if (!fs::exists(path + "/study.toml") && !fs::exists(path + "/study.json")) return "";
  std::vector<std::string> runs;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(path + "/runs", error))
    if (fs::exists(entry.path() / "config.toml")) runs.push_back(entry.path());
  std::sort(runs.begin(), runs.end());
  return fmt::format("{}", fmt::join(runs, ", "));
}

}  // namespace

void check_is_run(std::string_view verb, const std::string& path) {
  if (!fs::is_directory(path)) fail("{}: no run folder {}", verb, path);
  if (fs::exists(path + "/config.toml")) return;
  if (const std::string runs = runs_of_study(path); !runs.empty())
    fail("{}: {} is a study; its runs are {}", verb, path, runs);
  fail("{}: {} is not a run folder: it has no config.toml", verb, path);
}

void check_is_free(const std::string& path) {
  if (!fs::exists(path)) return;
  if (!fs::exists(path + "/config.toml"))
    fail("train: {} is there and is no run; --run names another folder", path);
  fail("train: the run folder {} exists; 'strobe resume {}' continues it, --run names another",
       path, path);
}

RunFolder::RunFolder(std::string path) : path_(std::move(path)) {
  lock_ = std::make_shared<FileLock>(file("lock"), "run " + path_);
}

RunFolder RunFolder::create(const std::string& path, const Config& config) {
  check_is_free(path);
  std::error_code error;
  fs::create_directories(path + "/checkpoints", error);
  if (error) fail("train: cannot make the run folder {}: {}", path, error.message());
  RunFolder run(path);
  run.write_config(config);
  return run;
}

RunFolder RunFolder::open(const std::string& path) {
  check_is_run("resume", path);
  return RunFolder(path);
}

void RunFolder::write_config(const Config& config) {
  write_file("train", file("config.toml"), to_toml(config));
}

void RunFolder::write_environment(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string text = "{";
  for (const auto& [key, value] : entries)
    text +=
        fmt::format("{}\n  {}: {}", text.size() > 1 ? "," : "", json_quote(key), json_quote(value));
  write_file("train", file("environment.json"), text + "\n}\n");
}

void RunFolder::write_memory(const EnginePlan& plan) {
  std::string text = "[";
  for (const EnginePlan::Part& part : plan.parts)
    text += fmt::format("{}\n  {{\"part\": {}, \"bytes\": {}}}", text.size() > 1 ? "," : "",
                        json_quote(part.name), part.bytes);
  write_file("train", file("memory.json"), text + "\n]\n");
}

std::string RunFolder::environment(const std::string& key) const {
  const auto json = read_json_or_null("resume", file("environment.json"), kLargestText);
  const bool known = json.is_object() && json.contains(key) && json[key].is_string();
  return known ? json[key].get<std::string>() : "";
}

LastEvents RunFolder::truncate_events(int64_t step,
                                      const std::function<void(const std::string&)>& note) {
  const std::string log = file("events.jsonl");
  LastEvents last;
  std::string kept;
  int64_t foreign = 0, steps = 0;
  for_each_line(log, [&](std::string_view line) {
    const auto at = number_in(line, "step");
    const bool event = at && nlohmann::json::accept(line);
    if (!event) ++foreign;
    if (!event || *at > static_cast<double>(step)) return;
    kept.append(line) += '\n';
    if (line.find("\"val/loss\"") != std::string_view::npos) {
      last.evaluation = evaluation_in(line);
      last.evaluated_step = static_cast<int64_t>(*at);
    } else {
      last.step = step_event_in(line), ++steps;
    }
  });
  if (foreign > 0)
    note(fmt::format("warning: {} lines of {} are no events and were left out", foreign, log));
  if (steps < step)
    note(fmt::format("warning: {} records {} of the {} steps so far", log, steps, step));
  if (fs::exists(log) && fs::file_size(log) != kept.size()) write_file("resume", log, kept);
  return last;
}

void RunFolder::append_line(const std::string& line) {
  const int fd =
      ::open(file("events.jsonl").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  // One write() a line, so that a killed run leaves at most one torn line, the last.
  const bool written =
      fd >= 0 && ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  if (fd >= 0) ::close(fd);
  if (!written) fail("train: cannot write {}: is the disk full?", file("events.jsonl"));
}

void RunFolder::append(const StepEvent& e) {
  std::string line = fmt::format(
      R"({{"step": {}, "tokens": {}, "seconds": {:.3f}, "train/loss": {}, "lr": {}, "train/grad_norm": {}, "tokens_per_second": {:.1f})",
      e.step, json_number(e.tokens), e.seconds, json_number(e.loss), json_number(e.lr),
      json_number(e.grad_norm), e.tokens_per_second);
  if (e.mfu > 0) line += fmt::format(R"(, "mfu": {:.4f})", e.mfu);
  append_line(line + "}\n");
}

void RunFolder::append(const StepEvent& at, const Evaluation& e) {
  std::string averages;
  for (const auto& [name, score] : e.scores)
    averages += fmt::format(R"(, "val/{}": {})", name, json_number(score));
  if (!e.scores.empty()) averages += fmt::format(R"(, "val/error": {})", json_number(e.error()));
  for (const auto& [name, loss] : e.averages)
    averages += fmt::format(R"(, "val/loss_{}": {})", name, json_number(loss));
  append_line(fmt::format(
      R"({{"step": {}, "tokens": {}, "seconds": {:.3f}, "flops": {}, "done": {:.5f}, "val/loss": {}, "val/token_perplexity": {}, "val/word_perplexity": {}, "val/bits_per_byte": {}{}}})"
      "\n",
      at.step, json_number(at.tokens), at.seconds, json_number(at.flops), at.done,
      json_number(e.loss), json_number(e.token_perplexity), json_number(e.word_perplexity),
      json_number(e.bits_per_byte), averages));
}

void RunFolder::sync_events() {
  const int fd = ::open(file("events.jsonl").c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;  // nothing was logged yet
  ::fsync(fd);
  ::close(fd);
}

void RunFolder::write_result(const std::string& state, const StepEvent& last,
                             const std::optional<Evaluation>& evaluation, const EnginePlan& plan,
                             int64_t peak_bytes) {
  const auto metric = [&](double Evaluation::*figure) {
    return evaluation ? json_number((*evaluation).*figure) : "null";
  };
  std::string averages;
  if (evaluation)
    for (const auto& [name, score] : evaluation->scores)
      averages += fmt::format("  \"val/{}\": {},\n", name, json_number(score));
  if (evaluation && !evaluation->scores.empty())
    averages += fmt::format("  \"val/error\": {},\n", json_number(evaluation->error()));
  if (evaluation)
    for (const auto& [name, loss] : evaluation->averages)
      averages += fmt::format("  \"val/loss_{}\": {},\n", name, json_number(loss));
  write_file(
      "train", file("result.json"),
      fmt::format(
          "{{\n  \"state\": \"{}\",\n  \"steps\": {},\n  \"tokens\": {},\n  \"seconds\": {:.3f},\n"
          "  \"flops\": {},\n  \"train/loss\": {},\n  \"val/loss\": {},\n"
          "  \"val/token_perplexity\": {},\n  \"val/word_perplexity\": {},\n"
          "  \"val/bits_per_byte\": {},\n{}"
          "  \"tokens_per_second\": {:.1f},\n  \"planned_bytes\": {},\n  \"peak_bytes\": {},\n"
          "  \"parameters\": {}\n}}\n",
          state, last.step, json_number(last.tokens), last.seconds, json_number(last.flops),
          json_number(last.loss), metric(&Evaluation::loss), metric(&Evaluation::token_perplexity),
          metric(&Evaluation::word_perplexity), metric(&Evaluation::bits_per_byte), averages,
          last.seconds > 0 ? last.tokens / last.seconds : 0.0, plan.bytes,
          peak_bytes > 0 ? fmt::format("{}", peak_bytes) : "null", plan.parameters));
}

bool RunFolder::has_result() const { return fs::exists(file("result.json")); }

bool RunFolder::is_complete(int64_t step, bool evaluated) const {
  const auto json = read_json_or_null("resume", file("result.json"), kLargestText);
  return json.is_object() && json.value("state", nlohmann::json()) == "finished" &&
         json.value("steps", nlohmann::json()) == step &&
         (!evaluated || json.value("val/loss", nlohmann::json()).is_number());
}

void RunFolder::write_sample(const std::string& text) {
  write_file("train", file("samples.txt"), text);
}

std::vector<float> recorded_learning_rates(const std::string& run) {
  const std::string file = run + "/events.jsonl";
  if (!fs::exists(file)) fail("schedule.record: {} has no events.jsonl to repeat", run);
  std::vector<float> rates;
  for_each_line(file, [&](std::string_view line) {
    const auto lr = number_in(line, "lr");
    if (lr) rates.push_back(static_cast<float>(*lr));
  });
  if (rates.empty()) fail("schedule.record: {} records no training step", file);
  return rates;
}

}  // namespace strobe
