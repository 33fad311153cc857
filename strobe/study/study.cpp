#include "strobe/study/study.h"

#include <poll.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "strobe/config/load.h"
#include "strobe/core/clock.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/files.h"
#include "strobe/data/dataset.h"
#include "strobe/data/entropy.h"
#include "strobe/study/child.h"
#include "strobe/study/next_job.h"
#include "strobe/study/plan.h"
#include "strobe/study/set_up.h"
#include "strobe/study/study_folder.h"
#include "strobe/study/trial_runner.h"
#include "strobe/study/trials.h"
#include "strobe/study/words.h"
#include "strobe/study/worker.h"
#include "strobe/train/progress_line.h"

namespace strobe {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

// How long another process may take to set the study up.
constexpr double kSetUpSeconds = 600;
constexpr int kWaitMilliseconds = 300;
constexpr int64_t kLargestDescription = 1 << 26;
// A search whose first trials all fail has something wrong with it.
constexpr size_t kFailuresToStop = 5;

class Runner {
 public:
  Runner(const StudyFile& study, std::string folder, const StudyOptions& options)
      : study_(study),
        folder_(std::move(folder)),
        options_(options),
        set_up_(study, folder_, options),
        store_(folder_ + "/journal.log", study.name, "") {}

  StudyOutcome run();

 private:
  std::unique_ptr<FileLock> set_up_lock() const;
  void create_study();
  std::string length_of(const Trial& trial, double share);
  bool work_on(const Worker& worker);
  void announce(const Trial& trial, const std::vector<Trial>& trials);
  std::vector<const StudyArm*> arms_at_equal_tokens(size_t factor) const;
  Json compare_at_equal_tokens() const;
  Json description() const;
  Json text_entropy() const;
  void write_description(const Json& description) const;
  StudyOutcome count() const;

  std::string recipe() const { return folder_ + "/base.toml"; }
  bool stopped() const { return options_.stop && options_.stop(); }

  const StudyFile& study_;
  std::string folder_;
  const StudyOptions& options_;
  SetUp set_up_;
  TrialStore store_;
  StudyPlan plan_;
  std::map<std::string, double> flops_per_token_;  // by name of a point
  double wall_seconds_ = 0, planned_seconds_ = 0;  // of the runs of this process
};

// Held by one process at a time, while it sets the study up.
std::unique_ptr<FileLock> Runner::set_up_lock() const {
  const double begin = steady_seconds();
  for (bool said = false;;) {
    try {
      return std::make_unique<FileLock>(folder_ + "/lock", "the study in " + folder_);
    } catch (const Error&) {
      if (stopped() || steady_seconds() - begin > kSetUpSeconds || !fs::exists(folder_ + "/lock"))
        throw;
      if (!said && steady_seconds() - begin > 2)
        say("another process sets the study up; waiting for it\n"), said = true;
      ::poll(nullptr, 0, kWaitMilliseconds);
    }
  }
}

void Runner::create_study() {
  store_.update([&](const Journal& journal, JournalLines& lines) {
    if (!journal.has_study()) lines.create_study(study_.name, study_.outcome);
  });
  if (!store_.journal().has_study())
    fail("study: {} is the journal of another study", store_.journal().file());
}

// The override that makes a run of `share` of the budget.
std::string Runner::length_of(const Trial& trial, double share) {
  if (!study_.searches() && study_.seconds > 0) return plan_.arms.at(trial.attr("name")).length();
  if (study_.tokens > 0) return fmt::format("train.tokens={:.0f}", study_.tokens * share);
  if (study_.seconds > 0) return fmt::format("train.seconds={:g}", study_.seconds * share);
  const Words overrides = overrides_of(study_, trial);
  if (study_.flops > 0) {
    double& each = flops_per_token_[trial.attr("name")];
    if (each == 0) each = set_up_.flops_per_token(overrides, trial.attr("name"));
    return fmt::format("train.tokens={:.0f}", study_.flops * share / each);
  }
  if (share == 1 && study_.pruner.rungs.empty()) return "";
  const auto [key, value] = own_length(load_config(recipe(), overrides).config);
  return fmt::format(
      "{}={:.8g}", key,
      key == "train.steps" ? std::max(1.0, std::round(value * share)) : value * share);
}

void Runner::announce(const Trial& trial, const std::vector<Trial>& trials) {
  std::string what = fmt::format("{}, seed {}", trial.attr("name"), trial.attr("seed"));
  const Space space = study_.searches() ? study_.space_of(arm_of(study_, trial)) : Space();
  const Point point = point_of(space, trial);
  if (const std::string at = to_string(space, point); !at.empty()) what += ": " + at;
  if (!study_.searches()) {
    const size_t total = study_.arms.size() * study_.seeds.size();
    std::map<std::pair<std::string, std::string>, bool> begun;
    for (const Trial& t : trials) begun[{t.attr("name"), t.attr("seed")}] = true;
    std::string left;
    if (study_.seconds > 0) {
      const double overhead =
          planned_seconds_ > 0 ? wall_seconds_ / planned_seconds_ : kUsualOverhead;
      const double runs = static_cast<double>(total - begun.size() + 1);
      left = fmt::format("; about {} to go", format_seconds(runs * plan_.seconds * overhead));
    }
    return say("run {} of {}: {}{}\n", begun.size(), total, what, left);
  }
  say("{} {}: {}\n", trial.attr("phase"), trial.number, what);
}

// One job after another; true when nothing is left to do.
bool Runner::work_on(const Worker& worker) {
  TrialStore named(folder_ + "/journal.log", study_.name, worker.id());
  const TrialRunner runner{
      study_,
      folder_,
      options_.program,
      worker.id(),
      options_.overrides,
      [this](const Trial& trial, double share) { return length_of(trial, share); },
      options_.stop,
      named};
  const auto retry_below = static_cast<int64_t>(named.refresh().trials().size());
  while (!stopped()) {
    Job job;
    named.update([&](const Journal& journal, JournalLines& lines) {
      const std::vector<Trial>& trials = journal.trials();
      job = next_job(study_, trials, retry_below,
                     [&](const std::string& id) { return worker.alive(id); });
      for (const int64_t number : job.close) {
        const Trial& trial = trials[static_cast<size_t>(number)];
        lines.end(trial, TrialState::pruned,
                  trial.rungs.empty() ? NAN : trial.rungs.rbegin()->second);
      }
      if (job.fresh) {
        job.fresh->system_attrs.emplace_back(kWorkerAttr, worker.id());
        lines.create_trial(*job.fresh);
        job.trial = static_cast<int64_t>(trials.size());
      } else if (job.kind == Job::Kind::run) {
        lines.set_system_attr(trials[static_cast<size_t>(job.trial)], kWorkerAttr, worker.id());
      }
    });
    if (job.kind == Job::Kind::done) return true;
    if (job.kind == Job::Kind::wait) {
      if (job.close.empty()) ::poll(nullptr, 0, kWaitMilliseconds);
      continue;
    }
    const std::vector<Trial>& trials = named.journal().trials();
    announce(trials[static_cast<size_t>(job.trial)], trials);
    const double begin = steady_seconds();
    runner.run(job.trial);
    const Trial& trial = trials[static_cast<size_t>(job.trial)];
    if (trial.state == TrialState::complete)
      wall_seconds_ += steady_seconds() - begin, planned_seconds_ += plan_.seconds;
    size_t failed = 0, diverged = 0;
    for (const Trial& t : trials) failed += t.state == TrialState::failed;
    for (const Trial& t : trials) diverged += t.attr("reason") == "diverged";
    const bool nothing = study_.searches() && failed >= kFailuresToStop && failed == trials.size();
    if (nothing && diverged == failed)
      fail(
          "study: the first {} trials of the search all diverged: narrow the space, and give that "
          "study another --out",
          failed);
    if (nothing)
      fail(
          "study: the first {} trials of the search all failed, the last one with '{}'; 'strobe "
          "study run' goes on once that is mended",
          failed, trial.attr("reason"));
  }
  return false;
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

// At equal steps, levels that only change how a result is computed must reach the same loss. What
// study.json says of them; null if stopped.
Json Runner::compare_at_equal_tokens() const {
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
  const auto length = [&](const StudyArm& arm) {
    ArmPlan plan = plan_.arms.at(arm.name);
    plan.steps = whole;
    return plan.length();
  };
  Json runs = Json::object();
  for (const StudyArm* arm : arms) {
    if (stopped()) return nullptr;
    const std::string& level = arm->levels[factor];
    const std::string run = folder_ + "/equal-tokens/" + level;
    if (run_state(run) != "finished") {
      say("at equal tokens: {}, {} steps\n", level, whole);
      train_run(options_.program, recipe(), run,
                arm->overrides + Words{length(*arm), fmt::format("seed={}", study_.seeds[0]),
                                       "name=equal-tokens-" + level, "eval.every=0",
                                       "checkpoint.every=0", "sample.tokens=0"},
                options_.stop);
    }
    runs[level] = "equal-tokens/" + level;
  }
  return {{"factor", study_.equal_tokens_factor}, {"steps", whole}, {"runs", runs}};
}

// Of study.json: what the report needs beside the runs, known before them.
Json Runner::description() const {
  Json json = {{"name", study_.name},      {"question", study_.question}, {"seeds", study_.seeds},
               {"seconds", plan_.seconds}, {"factors", Json::object()},   {"arms", Json::array()}};
  json["outcome"] = study_.outcome;
  json["targets"] = study_.targets, json["stopping_rule"] = study_.stopping_rule();
  if (study_.searches()) {
    int64_t most = 0;  // of an arm: a small space has fewer
    for (const StudyArm& arm : study_.arms) {
      const auto size = static_cast<int64_t>(all_points(study_.space_of(arm)).size());
      most = std::max(most, size > 0 ? std::min(size, study_.trials) : study_.trials);
    }
    json["trials"] = most;
    json["confirm_seeds"] = study_.confirm.seeds;
    json["sampler"] = study_.sampler.name, json["pruner"] = study_.pruner.name;
    json["rungs"] = rung_percents(study_), json["rungs_complete"] = study_.pruner.complete;
    json["space"] = Json::array();
    for (const Parameter& p : study_.space) {
      Json entry = {{"name", p.name}, {"log", p.log}, {"unit", p.unit}, {"step", p.step}};
      if (p.is_choice())
        for (const Choice& choice : p.choices) entry["choices"].push_back(choice.label);
      else
        entry["low"] = p.low, entry["high"] = p.high,
        entry["integer"] = p.kind == Parameter::Kind::integer;
      json["space"].push_back(entry);
    }
  }
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
  for (const auto& [arm, reference] : study_.compare)
    json["compare"].push_back({{"arm", arm}, {"reference", reference}});
  if (const Json text = text_entropy(); text.is_object()) json["text"] = text;
  return json;
}

// Of the validation text. To count a large one takes a while, so what another process, or this
// study at another time, found is taken from study.json.
Json Runner::text_entropy() const {
  const Config first = load_config(recipe(), study_.arms[0].overrides).config;
  // What n-grams make of a text says something of models that continue it.
  if (first.data.path.empty() || first.model.kind != "gpt2") return nullptr;
  const std::string& path = first.data.path;
  const Dataset dataset = Dataset::open(path);
  if (!dataset.has_split("valid")) return nullptr;
  const std::string hash = fmt::format("{:016x}", dataset.hash());
  if (const std::string file = folder_ + "/study.json"; fs::exists(file)) {
    const Json before = Json::parse(read_file("study", file, kLargestDescription), nullptr, false);
    if (before.is_object() && before.contains("text") && before["text"].is_object() &&
        before["text"].value("data", "") == hash)
      return before["text"];
  }
  const SplitEntropy text = split_entropy(dataset, "valid");
  return {{"data", hash},
          {"unigram_nats", text.unigram_nats},
          {"bigram_nats", text.bigram_nats},
          {"unigram_bits_per_byte", text.unigram_bits_per_byte},
          {"bigram_bits_per_byte", text.bigram_bits_per_byte}};
}

void Runner::write_description(const Json& description) const {
  write_file("study", folder_ + "/study.json", description.dump(2) + "\n");
}

StudyOutcome Runner::count() const {
  StudyOutcome out;
  std::map<std::string, bool> finished;
  for (const Trial& trial : store_.journal().trials())
    finished[trial.attr("phase") + "/" + trial.attr("name") + "/" + trial.attr("seed")] =
        trial.state == TrialState::complete || trial.state == TrialState::pruned;
  for (const auto& [key, well] : finished) ++(well ? out.finished : out.failed);
  return out;
}

StudyOutcome Runner::run() {
  Json described;
  std::error_code error;
  fs::create_directories(fs::path(folder_).parent_path(), error);
  if (!fs::exists(folder_)) fs::create_directory(folder_, error);
  {
    std::unique_ptr<FileLock> lock;
    if (fs::is_directory(folder_) && (fs::exists(folder_ + "/study.toml") ||
                                      fs::is_empty(folder_) || fs::exists(folder_ + "/lock")))
      lock = set_up_lock();
    claim_study_folder(study_, folder_);
    set_up_.check();
    if (stopped()) return {.stopped = true};
    plan_ = set_up_.plan();
    described = description();
    write_description(described);
    if (options_.plan_only) return {};
    create_study();
  }
  if (options_.ready) options_.ready();
  {
    const Worker worker(folder_ + "/workers");
    if (!work_on(worker)) return {.stopped = true};
  }
  if (!study_.equal_tokens_factor.empty()) {
    const std::unique_ptr<FileLock> lock = set_up_lock();
    described["equal_tokens"] = compare_at_equal_tokens();
    if (stopped()) return {.stopped = true};
    write_description(described);
  }
  store_.refresh();
  return count();
}

}  // namespace

StudyOutcome run_study(const StudyFile& study, const std::string& folder,
                       const StudyOptions& options) {
  return Runner(study, folder, options).run();
}

}  // namespace strobe
