#include "strobe/study/study.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/files.h"
#include "strobe/data/dataset.h"
#include "strobe/data/entropy.h"
#include "strobe/study/child.h"
#include "strobe/study/plan.h"
#include "strobe/train/progress_line.h"

namespace strobe {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

constexpr int64_t kLargestFile = 1 << 26;
constexpr const char* kTimedSteps = "4";
// Time of a run over that of its training, until one has been seen: start, evaluation, saving.
constexpr double kUsualOverhead = 1.15;
// How long a run of a study that was killed may take to save.
constexpr double kPatienceSeconds = 60;

using Words = std::vector<std::string>;

Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  fmt::print(format, std::forward<Args>(args)...);
  std::fflush(stdout);
}

class Runner {
 public:
  Runner(const StudyFile& study, std::string folder, const StudyOptions& options)
      : study_(study), folder_(std::move(folder)), options_(options) {}

  StudyOutcome run();

 private:
  void claim_folder();
  void keep_copy(const std::string& file, const std::string& text, const std::string& what) const;
  void check_arms();
  ArmPlan time_arm(const StudyArm& arm, const std::string& vocab) const;
  void plan();
  void run_arm(const StudyArm& arm, int64_t seed);
  void train(const std::string& run, const Words& overrides);
  void record_failure(const std::string& run, const Words& overrides, int status) const;
  void wait_for_earlier_process(const std::string& run) const;
  std::vector<const StudyArm*> arms_at_equal_tokens(size_t factor) const;
  void compare_at_equal_tokens();
  void describe() const;

  std::string recipe() const { return folder_ + "/base.toml"; }
  std::string run_folder(const StudyArm& arm, int64_t seed) const {
    return fmt::format("{}/runs/{}-s{}", folder_, arm.name, seed);
  }
  bool stopped() const { return options_.stop && options_.stop(); }
  double seconds_left() const;

  const StudyFile& study_;
  std::string folder_;
  const StudyOptions& options_;
  std::optional<FileLock> lock_;
  StudyPlan plan_;
  Json equal_tokens_;
  size_t started_ = 0;                             // runs, also those that were already there
  double wall_seconds_ = 0, planned_seconds_ = 0;  // of the runs of this process
};

// Keeps a text in the folder, or checks that it is the one kept there.
void Runner::keep_copy(const std::string& file, const std::string& text,
                       const std::string& what) const {
  if (!fs::exists(file)) return write_file("study", file, text);
  if (read_file("study", file, kLargestFile) != text)
    fail("study: {} holds another study: its {} differs from {}; --out names another folder",
         folder_, fs::path(file).filename().string(), what);
}

void Runner::claim_folder() {
  if (fs::exists(folder_) && !fs::exists(folder_ + "/study.toml") &&
      !(fs::is_directory(folder_) &&
        std::all_of(fs::directory_iterator(folder_), fs::directory_iterator(),
                    [](const auto& entry) { return entry.path().filename() == "lock"; })))
    fail("study: {} is there and is no study; --out names another folder", folder_);
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail("study: cannot make {}: {}", folder_, error.message());
  lock_.emplace(folder_ + "/lock", "the study in " + folder_);
  keep_copy(folder_ + "/study.toml", study_.text, "the file given");
  keep_copy(recipe(), read_file("study", study_.base, kLargestFile), study_.base);
}

// What a configuration cannot know: whether the data is there, whether sizes fit.
void Runner::check_arms() {
  for (const StudyArm& arm : study_.arms) {
    const ChildResult checked =
        run_child(Words{options_.program, "train", recipe()} + arm.overrides + Words{"--dry-run"},
                  /*capture=*/true, options_.stop);
    if (stopped()) return;
    if (checked.status != 0)
      fail("study: the arm '{}' cannot run (the message above says why); nothing was started",
           arm.name);
  }
}

ArmPlan Runner::time_arm(const StudyArm& arm, const std::string& vocab) const {
  const ChildResult timed =
      run_child(Words{options_.program, "bench", "step", recipe()} + arm.overrides +
                    Words{"--steps", kTimedSteps, "--vocab", vocab, "--json"},
                /*capture=*/true, options_.stop);
  if (stopped()) fail("study: stopped while timing; nothing was started");
  const Json json = Json::parse(timed.output, nullptr, false);
  const auto positive = [&](const char* key) {
    const double value = json.is_object() && json.contains(key) && json[key].is_number()
                             ? json[key].get<double>()
                             : 0;
    if (timed.status != 0 || !(value > 0))
      fail("study: timing the arm '{}' failed (exit status {}, no {})", arm.name, timed.status,
           key);
    return value;
  };
  const double rate = positive("tokens_per_second");
  return {0, rate, rate * positive("step_ms") / 1e3};
}

// Seconds become steps once, so that the study can be repeated bit for bit.
void Runner::plan() {
  const size_t total = study_.arms.size() * study_.seeds.size();
  if (study_.tokens > 0) return say("{} runs of {:.0f} tokens\n", total, study_.tokens);
  if (study_.seconds == 0) return say("{} runs of the recipe's own length\n", total);
  const std::string file = folder_ + "/plan.json";
  if (fs::exists(file)) {
    plan_ = read_plan(study_, file);
  } else {
    say("timing {} arms, alternately ...\n", study_.arms.size());
    const Config config = load_config(recipe(), study_.arms[0].overrides).config;
    const std::string vocab = fmt::format("{}", Dataset::open(config.data.path).vocab());
    plan_ = make_plan(study_, [&](const StudyArm& arm) { return time_arm(arm, vocab); });
    write_plan(plan_, file);
  }
  fmt::print("{}", to_string(plan_, study_));
  if (plan_.seconds > study_.seconds)
    fmt::print("runs are lengthened from {:.0f} s: {} tokens need it on this machine\n",
               study_.seconds, static_cast<int64_t>(study_.min_tokens));
  say("{} runs of {:.0f} s of training each: about {} in all\n", total, plan_.seconds,
      format_seconds(static_cast<double>(total) * plan_.seconds * kUsualOverhead));
}

double Runner::seconds_left() const {
  const double runs = static_cast<double>(study_.arms.size() * study_.seeds.size() - started_ + 1);
  const double overhead = planned_seconds_ > 0 ? wall_seconds_ / planned_seconds_ : kUsualOverhead;
  return runs * plan_.seconds * overhead;
}

// A study that was killed asked its run to stop: that may still be saving.
void Runner::wait_for_earlier_process(const std::string& run) const {
  if (!fs::exists(run + "/lock")) return;
  const double begin = now();
  for (;;) {
    try {
      const FileLock free(run + "/lock", run);
      return;
    } catch (const Error&) {
      if (stopped() || now() - begin > kPatienceSeconds) throw;
      ::poll(nullptr, 0, /*milliseconds=*/100);
    }
  }
}

void Runner::record_failure(const std::string& run, const Words& overrides, int status) const {
  std::error_code error;
  fs::create_directories(run, error);
  if (!fs::exists(run + "/config.toml"))
    write_file("study", run + "/config.toml", to_toml(load_config(recipe(), overrides).config));
  write_file("study", run + "/result.json",
             Json{{"state", "failed"}, {"exit_status", status}}.dump(2) + "\n");
}

// Trains or continues one run.
void Runner::train(const std::string& run, const Words& overrides) {
  wait_for_earlier_process(run);
  Words command;
  if (fs::exists(run + "/checkpoints") && !fs::is_empty(run + "/checkpoints")) {
    command = {options_.program, "resume", run};
  } else {
    fs::remove_all(run);  // ended before its first checkpoint
    fs::create_directories(fs::path(run).parent_path());
    command = Words{options_.program, "train", recipe(), "--run", run} + overrides;
  }
  const ChildResult result = run_child(command, /*capture=*/false, options_.stop);
  const std::string state = run_state(run);
  if (stopped() || state == "finished") return;
  if (state != "diverged" && !(state == "stopped" && result.status == kInterrupted))
    record_failure(run, overrides, result.status);
  say("{}: {} (exit status {}); the study goes on\n", run, run_state(run), result.status);
}

void Runner::run_arm(const StudyArm& arm, int64_t seed) {
  ++started_;
  const std::string run = run_folder(arm, seed);
  const std::string state = run_state(run);
  if (state == "finished" || state == "diverged") return;
  Words overrides = arm.overrides +
                    Words{fmt::format("seed={}", seed), fmt::format("name={}-s{}", arm.name, seed)};
  const bool timed = study_.seconds > 0;
  if (timed) overrides.push_back(fmt::format("train.steps={}", plan_.arms.at(arm.name).steps));
  if (study_.tokens > 0) overrides.push_back(fmt::format("train.tokens={:.0f}", study_.tokens));
  say("run {} of {}: {}, seed {}{}\n", started_, study_.arms.size() * study_.seeds.size(), arm.name,
      seed, timed ? fmt::format("; about {} to go", format_seconds(seconds_left())) : "");
  const double begin = now();
  train(run, overrides);
  if (run_state(run) == "finished" && state.empty())
    wall_seconds_ += now() - begin, planned_seconds_ += plan_.seconds;
}

// The arms with each level of one factor and the first level of every other.
std::vector<const StudyArm*> Runner::arms_at_equal_tokens(size_t factor) const {
  std::vector<const StudyArm*> arms;
  for (const StudyArm& arm : study_.arms) {
    bool chosen = arm.levels.size() == study_.factors.size();
    for (size_t i = 0; chosen && i < arm.levels.size(); ++i)
      chosen = i == factor || arm.levels[i] == study_.factors[i].levels[0].name;
    if (chosen) arms.push_back(&arm);
  }
  return arms;
}

// At equal steps, levels that only change how a result is computed must reach the same loss.
void Runner::compare_at_equal_tokens() {
  if (study_.equal_tokens_factor.empty()) return;
  const auto found = std::find_if(study_.factors.begin(), study_.factors.end(), [&](const auto& f) {
    return f.name == study_.equal_tokens_factor;
  });
  const auto factor = static_cast<size_t>(found - study_.factors.begin());
  const std::vector<const StudyArm*> arms = arms_at_equal_tokens(factor);
  // As many steps as the slowest makes in the time.
  double steps = std::numeric_limits<double>::infinity();
  for (const StudyArm* arm : arms) {
    const ArmPlan& p = plan_.arms.at(arm->name);
    steps = std::min(steps, study_.equal_tokens_seconds * p.tokens_per_second / p.tokens_per_step);
  }
  const int64_t whole = std::max<int64_t>(2, std::llround(steps));
  Json runs = Json::object();
  for (const StudyArm* arm : arms) {
    if (stopped()) return;
    const std::string& level = arm->levels[factor];
    const std::string run = folder_ + "/equal-tokens/" + level;
    if (run_state(run) != "finished") {
      say("at equal tokens: {}, {} steps\n", level, whole);
      train(run, arm->overrides + Words{fmt::format("train.steps={}", whole),
                                        fmt::format("seed={}", study_.seeds[0]),
                                        "name=equal-tokens-" + level, "eval.every=0",
                                        "checkpoint.every=0", "sample.tokens=0"});
    }
    runs[level] = "equal-tokens/" + level;
  }
  equal_tokens_ = {{"factor", study_.equal_tokens_factor}, {"steps", whole}, {"runs", runs}};
}

// study.json: what the report needs beside the runs.
void Runner::describe() const {
  Json json = {{"name", study_.name},      {"question", study_.question}, {"seeds", study_.seeds},
               {"seconds", plan_.seconds}, {"factors", Json::object()},   {"arms", Json::array()}};
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
      Dataset::open(load_config(recipe(), study_.arms[0].overrides).config.data.path);
  if (dataset.has_split("valid")) {
    const SplitEntropy text = split_entropy(dataset, "valid");
    json["text"] = {{"unigram_nats", text.unigram_nats},
                    {"bigram_nats", text.bigram_nats},
                    {"unigram_bits_per_byte", text.unigram_bits_per_byte},
                    {"bigram_bits_per_byte", text.bigram_bits_per_byte}};
  }
  if (!equal_tokens_.is_null()) json["equal_tokens"] = equal_tokens_;
  write_file("study", folder_ + "/study.json", json.dump(2) + "\n");
}

StudyOutcome Runner::run() {
  claim_folder();
  check_arms();
  if (stopped()) return {.stopped = true};
  plan();
  describe();
  if (options_.plan_only) return {};

  for (const int64_t seed : study_.seeds)
    for (const StudyArm& arm : study_.arms) {
      if (stopped()) return {.stopped = true};
      run_arm(arm, seed);
    }
  if (!stopped()) compare_at_equal_tokens();
  if (stopped()) return {.stopped = true};
  describe();
  StudyOutcome outcome;
  for (const int64_t seed : study_.seeds)
    for (const StudyArm& arm : study_.arms)
      ++(run_state(run_folder(arm, seed)) == "finished" ? outcome.finished : outcome.failed);
  return outcome;
}

}  // namespace

std::string run_state(const std::string& run) {
  const std::string file = run + "/result.json";
  if (!fs::exists(file)) return "";
  const Json json = Json::parse(read_file("study", file, kLargestFile), nullptr, false);
  const bool known = json.is_object() && json.contains("state") && json["state"].is_string();
  return known ? json["state"].get<std::string>() : "";
}

StudyOutcome run_study(const StudyFile& study, const std::string& folder,
                       const StudyOptions& options) {
  return Runner(study, folder, options).run();
}

}  // namespace strobe
