#include "strobe/study/study.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/files.h"
#include "strobe/data/dataset.h"
#include "strobe/data/entropy.h"
#include "strobe/study/child.h"
#include "strobe/train/progress_line.h"

namespace strobe {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

constexpr int64_t kLargestJson = 1 << 26;

std::optional<Json> read_json(const std::string& file) {
  if (!fs::exists(file)) return std::nullopt;
  Json json = Json::parse(read_file("study", file, kLargestJson), nullptr, false);
  return json.is_discarded() ? std::nullopt : std::optional(std::move(json));
}

void write_json(const std::string& file, const Json& json) {
  write_file("study", file, json.dump(2) + "\n");
}

std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class Runner {
 public:
  Runner(const StudyFile& study, std::string folder, const StudyOptions& options)
      : study_(study), folder_(std::move(folder)), options_(options) {}

  bool run();

 private:
  struct Rate {
    double tokens_per_second = 0, tokens_per_step = 0;
  };

  void claim_folder();
  void make_plan();
  Rate time_arm(const StudyArm& arm, const std::string& vocab);
  bool train(const std::string& run, const std::vector<std::string>& overrides);
  bool compare_at_equal_tokens();
  void describe();
  std::string run_folder(const StudyArm& arm, int64_t seed) const {
    return fmt::format("{}/runs/{}-s{}", folder_, arm.name, seed);
  }
  bool stopped() const { return options_.stop && options_.stop(); }

  const StudyFile& study_;
  std::string folder_;
  const StudyOptions& options_;
  std::optional<FileLock> lock_;
  StudyPlan plan_;
  std::map<std::string, Rate> rates_;
  double seconds_ = 0;  // of training, for one run
  Json equal_tokens_;
};

void Runner::claim_folder() {
  std::error_code error;
  fs::create_directories(folder_ + "/runs", error);
  if (error) fail("study: cannot make {}: {}", folder_, error.message());
  lock_.emplace(folder_ + "/lock", "study " + folder_);
  const std::string copy = folder_ + "/study.toml";
  if (!fs::exists(copy))
    write_file("study", copy, study_.text);
  else if (read_file("study", copy, kLargestJson) != study_.text)
    fail("study: {} holds another study (its study.toml differs); --out names another folder",
         folder_);
}

Runner::Rate Runner::time_arm(const StudyArm& arm, const std::string& vocab) {
  const ChildResult timed = run_child(
      std::vector<std::string>{options_.program, "bench", "step", study_.base} + arm.overrides +
          std::vector<std::string>{"--steps", "3", "--vocab", vocab, "--json"},
      /*capture=*/true, options_.stop);
  const Json json = Json::parse(timed.output, nullptr, false);
  if (timed.status != 0 || !json.is_object() || !json.contains("tokens_per_second") ||
      !json.contains("step_ms"))
    fail("study: timing the arm '{}' failed (exit status {})", arm.name, timed.status);
  const double rate = json["tokens_per_second"].get<double>();
  return {rate, rate * json["step_ms"].get<double>() / 1e3};
}

// Seconds become steps once, so that the study can be repeated bit for bit.
void Runner::make_plan() {
  if (const auto frozen = read_json(folder_ + "/plan.json")) {
    for (const auto& [arm, plan] : (*frozen)["arms"].items()) {
      plan_[arm] = plan["steps"].get<int64_t>();
      rates_[arm] = {plan["tokens_per_second"].get<double>(),
                     plan["tokens_per_step"].get<double>()};
    }
    seconds_ = (*frozen)["seconds"].get<double>();
    return;
  }
  const Config config = load_config(study_.base, study_.arms[0].overrides).config;
  const std::string vocab = fmt::format("{}", Dataset::open(config.data.path).vocab());
  fmt::print("timing {} arms, alternately ...\n", study_.arms.size());
  std::fflush(stdout);
  constexpr int kRounds = 2;
  for (int round = 0; round < kRounds; ++round)
    for (const StudyArm& arm : study_.arms) {
      if (stopped()) fail("study: stopped while timing");
      const Rate rate = time_arm(arm, vocab);
      if (rate.tokens_per_second > rates_[arm.name].tokens_per_second) rates_[arm.name] = rate;
    }
  seconds_ = study_.seconds;
  for (const StudyArm& arm : study_.arms)
    if (arm.name.find(study_.min_tokens_arms) != std::string::npos)
      seconds_ = std::max(seconds_, study_.min_tokens / rates_[arm.name].tokens_per_second);
  Json frozen = {{"seconds", seconds_}, {"arms", Json::object()}};
  for (const StudyArm& arm : study_.arms) {
    const Rate& rate = rates_[arm.name];
    const auto steps = static_cast<int64_t>(
        std::llround(seconds_ * rate.tokens_per_second / rate.tokens_per_step));
    if (steps < 1)
      fail("study: the budget of {} s is less than one step of the arm '{}'", seconds_, arm.name);
    plan_[arm.name] = steps;
    frozen["arms"][arm.name] = {{"steps", steps},
                                {"tokens_per_second", rate.tokens_per_second},
                                {"tokens_per_step", rate.tokens_per_step}};
  }
  write_json(folder_ + "/plan.json", frozen);
}

// Trains or continues one run; false if the study is to stop.
bool Runner::train(const std::string& run, const std::vector<std::string>& overrides) {
  std::vector<std::string> command;
  if (fs::exists(run + "/checkpoints") && !fs::is_empty(run + "/checkpoints")) {
    command = {options_.program, "resume", run};
  } else {
    fs::remove_all(run);  // killed before its first checkpoint
    command =
        std::vector<std::string>{options_.program, "train", study_.base, "--run", run} + overrides;
  }
  const ChildResult result = run_child(command, /*capture=*/false, options_.stop);
  if (stopped()) return false;
  if (result.status != 0)
    fmt::print("study: {} failed (exit status {}); the study goes on\n", run, result.status);
  return true;
}

// At equal steps, levels that only change how a result is computed must reach the same loss.
bool Runner::compare_at_equal_tokens() {
  if (study_.equal_tokens_factor.empty()) return true;
  const auto factor =
      std::find_if(study_.factors.begin(), study_.factors.end(),
                   [&](const auto& f) { return f.name == study_.equal_tokens_factor; });
  const auto index = static_cast<size_t>(factor - study_.factors.begin());
  // The first level of every other factor, and the steps of the slowest arm.
  double rate = std::numeric_limits<double>::infinity(), tokens_per_step = 0;
  std::vector<const StudyArm*> arms;
  for (const StudyLevel& level : factor->levels)
    for (const StudyArm& arm : study_.arms) {
      bool chosen = arm.levels.size() == study_.factors.size() && arm.levels[index] == level.name;
      for (size_t i = 0; chosen && i < arm.levels.size(); ++i)
        chosen = i == index || arm.levels[i] == study_.factors[i].levels[0].name;
      if (!chosen) continue;
      arms.push_back(&arm);
      rate = std::min(rate, rates_[arm.name].tokens_per_second);
      tokens_per_step = rates_[arm.name].tokens_per_step;
      break;
    }
  const auto steps =
      std::max<int64_t>(2, std::llround(study_.equal_tokens_seconds * rate / tokens_per_step));
  Json runs = Json::object();
  for (const StudyArm* arm : arms) {
    const std::string run = folder_ + "/equal-tokens/" + arm->levels[index];
    if (run_state(run) != "finished") {
      fmt::print("at equal tokens: {}, {} steps\n", arm->levels[index], steps);
      std::fflush(stdout);
      if (!train(run,
                 arm->overrides + std::vector<std::string>{fmt::format("train.steps={}", steps),
                                                           fmt::format("seed={}", study_.seeds[0]),
                                                           "eval.every=0", "checkpoint.every=0"}))
        return false;
    }
    runs[arm->levels[index]] = "equal-tokens/" + arm->levels[index];
  }
  equal_tokens_ = {{"factor", study_.equal_tokens_factor}, {"steps", steps}, {"runs", runs}};
  return true;
}

// study.json: what the report needs beside the runs.
void Runner::describe() {
  Json json = {{"name", study_.name}, {"question", study_.question}, {"seeds", study_.seeds},
               {"seconds", seconds_}, {"factors", Json::object()},   {"arms", Json::array()}};
  for (const StudyFactor& factor : study_.factors)
    for (const StudyLevel& level : factor.levels)
      json["factors"][factor.name].push_back(level.name);
  for (const StudyArm& arm : study_.arms) {
    Json levels = Json::object(), overrides = Json::object();
    for (size_t i = 0; i < arm.levels.size(); ++i) levels[study_.factors[i].name] = arm.levels[i];
    for (const std::string& override : arm.overrides)
      overrides[override.substr(0, override.find('='))] = override.substr(override.find('=') + 1);
    json["arms"].push_back({{"name", arm.name}, {"levels", levels}, {"overrides", overrides}});
  }
  const Dataset dataset =
      Dataset::open(load_config(study_.base, study_.arms[0].overrides).config.data.path);
  if (dataset.has_split("valid")) {
    const SplitEntropy text = split_entropy(dataset, "valid");
    json["text"] = {{"unigram_nats", text.unigram_nats},
                    {"bigram_nats", text.bigram_nats},
                    {"unigram_bits_per_byte", text.unigram_bits_per_byte},
                    {"bigram_bits_per_byte", text.bigram_bits_per_byte}};
  }
  if (!equal_tokens_.is_null()) json["equal_tokens"] = equal_tokens_;
  write_json(folder_ + "/study.json", json);
}

bool Runner::run() {
  claim_folder();
  if (study_.seconds > 0) make_plan();
  const size_t total = study_.arms.size() * study_.seeds.size();
  if (study_.seconds > 0) {
    for (const StudyArm& arm : study_.arms)
      fmt::print("  {:<24} {:>6} steps, {:>9.0f} tokens at {:.0f} tokens/s\n", arm.name,
                 plan_[arm.name],
                 static_cast<double>(plan_[arm.name]) * rates_[arm.name].tokens_per_step,
                 rates_[arm.name].tokens_per_second);
    fmt::print("{} runs of {:.0f} s of training each: about {} in all\n", total, seconds_,
               format_seconds(static_cast<double>(total) * seconds_ * 1.15));
  } else {
    fmt::print("{} runs of the recipe's own length\n", total);
  }
  std::fflush(stdout);
  if (options_.plan_only) return true;

  size_t number = 0;
  for (const int64_t seed : study_.seeds)
    for (const StudyArm& arm : study_.arms) {
      ++number;
      const std::string run = run_folder(arm, seed);
      const std::string state = run_state(run);
      if (state == "finished" || state == "diverged") continue;
      if (stopped()) return false;
      const double left = static_cast<double>(total - number + 1) * seconds_ * 1.15;
      fmt::print("run {} of {}: {}, seed {}{}\n", number, total, arm.name, seed,
                 seconds_ > 0 ? fmt::format("; about {} to go", format_seconds(left)) : "");
      std::fflush(stdout);
      std::vector<std::string> overrides = arm.overrides;
      overrides.push_back(fmt::format("seed={}", seed));
      overrides.push_back(fmt::format("name={}-s{}", arm.name, seed));
      if (study_.seconds > 0) overrides.push_back(fmt::format("train.steps={}", plan_[arm.name]));
      if (!train(run, overrides)) return false;
    }
  if (!compare_at_equal_tokens()) return false;
  describe();
  return true;
}

}  // namespace

std::string run_state(const std::string& run) {
  const auto json = read_json(run + "/result.json");
  const bool known =
      json && json->is_object() && json->contains("state") && (*json)["state"].is_string();
  return known ? (*json)["state"].get<std::string>() : "";
}

bool run_study(const StudyFile& study, const std::string& folder, const StudyOptions& options) {
  return Runner(study, folder, options).run();
}

}  // namespace strobe
