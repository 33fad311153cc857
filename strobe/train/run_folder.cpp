#include "strobe/train/run_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/json_text.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

// The number after "key": in a line this program wrote; nothing if the key is absent.
std::optional<double> number_in(std::string_view line, std::string_view key) {
  const size_t at = line.find(fmt::format("\"{}\": ", key));
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = line.substr(at + key.size() + 4);
  double value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

// Calls `visit` with each whole line and the offset behind it.
void for_each_line(const std::string& file,
                   const std::function<bool(std::string_view, int64_t)>& visit) {
  std::ifstream stream(file, std::ios::binary);
  std::string line;
  int64_t offset = 0;
  while (std::getline(stream, line) && !stream.eof()) {
    offset += static_cast<int64_t>(line.size()) + 1;
    if (!visit(line, offset)) return;
  }
}

}  // namespace

RunFolder::RunFolder(std::string path) : path_(std::move(path)) {
  lock_ = std::make_shared<FileLock>(file("lock"), "run " + path_);
}

RunFolder RunFolder::create(const std::string& path, const Config& config) {
  if (fs::exists(path))
    fail("train: the run folder {} exists; 'strobe resume {}' continues it, --run names another",
         path, path);
  std::error_code error;
  fs::create_directories(path + "/checkpoints", error);
  if (error) fail("train: cannot make the run folder {}: {}", path, error.message());
  RunFolder run(path);
  run.write_config(config);
  return run;
}

RunFolder RunFolder::open(const std::string& path) {
  if (!fs::is_directory(path)) fail("resume: no run folder {}", path);
  if (!fs::exists(path + "/config.toml"))
    fail("resume: {} is not a run folder: it has no config.toml", path);
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

void RunFolder::write_tokenizer(const std::string& source) {
  constexpr int64_t kLargest = int64_t{1} << 30;
  write_file("train", file("tokenizer.json"), read_file("train", source, kLargest));
}

void RunFolder::truncate_events(int64_t step) {
  if (!fs::exists(file("events.jsonl"))) return;
  int64_t keep = 0;
  for_each_line(file("events.jsonl"), [&](std::string_view line, int64_t end) {
    const auto at = number_in(line, "step");
    if (!at || *at > static_cast<double>(step)) return false;
    keep = end;
    return true;
  });
  fs::resize_file(file("events.jsonl"), static_cast<uintmax_t>(keep));
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
  append_line(fmt::format(
      R"({{"step": {}, "tokens": {}, "seconds": {:.3f}, "val/loss": {}, "val/token_perplexity": {}, "val/word_perplexity": {}, "val/bits_per_byte": {}}})"
      "\n",
      at.step, json_number(at.tokens), at.seconds, json_number(e.loss),
      json_number(e.token_perplexity), json_number(e.word_perplexity),
      json_number(e.bits_per_byte)));
}

void RunFolder::sync_events() {
  const int fd = ::open(file("events.jsonl").c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;  // nothing was logged yet
  ::fsync(fd);
  ::close(fd);
}

void RunFolder::write_result(const std::string& state, const StepEvent& last,
                             const Evaluation& evaluation, const EnginePlan& plan,
                             int64_t peak_bytes) {
  const bool evaluated = evaluation.tokens > 0;
  const auto metric = [&](double value) { return evaluated ? json_number(value) : "null"; };
  write_file(
      "train", file("result.json"),
      fmt::format(
          "{{\n  \"state\": \"{}\",\n  \"steps\": {},\n  \"tokens\": {},\n  \"seconds\": {:.3f},\n"
          "  \"train/loss\": {},\n  \"val/loss\": {},\n  \"val/token_perplexity\": {},\n"
          "  \"val/word_perplexity\": {},\n  \"val/bits_per_byte\": {},\n"
          "  \"tokens_per_second\": {:.1f},\n  \"planned_bytes\": {},\n  \"peak_bytes\": {},\n"
          "  \"parameters\": {}\n}}\n",
          state, last.step, json_number(last.tokens), last.seconds, json_number(last.loss),
          metric(evaluation.loss), metric(evaluation.token_perplexity),
          metric(evaluation.word_perplexity), metric(evaluation.bits_per_byte),
          last.seconds > 0 ? last.tokens / last.seconds : 0.0, plan.bytes, peak_bytes,
          plan.parameters));
}

void RunFolder::write_sample(const std::string& text) {
  write_file("train", file("samples.txt"), text);
}

std::vector<float> recorded_learning_rates(const std::string& run) {
  const std::string file = run + "/events.jsonl";
  if (!fs::exists(file)) fail("schedule.record: {} has no events.jsonl to repeat", run);
  std::vector<float> rates;
  for_each_line(file, [&](std::string_view line, int64_t) {
    const auto lr = number_in(line, "lr");
    if (lr) rates.push_back(static_cast<float>(*lr));
    return true;
  });
  if (rates.empty()) fail("schedule.record: {} records no training step", file);
  return rates;
}

}  // namespace strobe
