#include "strobe/study/trial_runner.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "strobe/config/load.h"
#include "strobe/core/clock.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/files.h"
#include "strobe/report/outcomes.h"
#include "strobe/study/child.h"
#include "strobe/study/pruner.h"
#include "strobe/study/study_folder.h"
#include "strobe/study/trials.h"
#include "strobe/study/words.h"

namespace strobe {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

// How long a run of a study that was killed may take to save.
constexpr double kPatienceSeconds = 60;
// Events of a run that may be stopped on its way are looked at so often.
constexpr double kLookSeconds = 0.2;
// An evaluation counts for a rung if it is at most so much before it, in percent of the run.
constexpr double kNear = 0.75;

// A study that was killed asked its run to stop: that may still be saving.
void wait_for_earlier_process(const std::string& run, const std::function<bool()>& stop) {
  if (!fs::exists(run + "/lock")) return;
  const double begin = steady_seconds();
  for (;;) {
    try {
      const FileLock free(run + "/lock", run);
      return;
    } catch (const Error&) {
      if ((stop && stop()) || steady_seconds() - begin > kPatienceSeconds) throw;
      ::poll(nullptr, 0, /*milliseconds=*/100);
    }
  }
}

void record_failure(const std::string& run, const std::string& recipe, const Words& overrides,
                    int status) {
  std::error_code error;
  fs::create_directories(run, error);
  if (!fs::exists(run + "/config.toml"))
    write_file("study", run + "/config.toml", to_toml(load_config(recipe, overrides).config));
  write_file("study", run + "/result.json",
             Json{{"state", "failed"}, {"exit_status", status}}.dump(2) + "\n");
}

// Of what a run said when it failed.
bool is_full_disk(const std::string& said) {
  return said.find("the disk has ") != std::string::npos ||
         said.find(std::strerror(ENOSPC)) != std::string::npos ||
         said.find(std::strerror(EDQUOT)) != std::string::npos;
}

double at_least_zero(double value) { return std::isfinite(value) ? value : 0; }

}  // namespace

std::string train_run(const std::string& program, const std::string& recipe, const std::string& run,
                      const Words& overrides, const std::function<bool()>& stop) {
  wait_for_earlier_process(run, stop);
  Words command;
  if (fs::exists(run + "/checkpoints") && !fs::is_empty(run + "/checkpoints")) {
    command = {program, "resume", run, "--no-notices"};
  } else {
    fs::remove_all(run);  // ended before its first checkpoint
    fs::create_directories(fs::path(run).parent_path());
    command = {program, "train", recipe, "--run", run, "--no-notices"};
    command.insert(command.end(), overrides.begin(), overrides.end());
  }
  const ChildResult result = run_child(command, /*capture=*/false, stop);
  const std::string state = run_state(run);
  if ((stop && stop()) || state == "finished") return "";
  if (state != "diverged" && is_full_disk(result.reason())) return result.reason();
  if (state != "diverged" && !(state == "stopped" && result.status == kInterrupted))
    record_failure(run, recipe, overrides, result.status);
  fmt::print("{}: {} (exit status {}); the study goes on\n", run, run_state(run), result.status);
  std::fflush(stdout);
  return result.reason();
}

std::vector<Progressed> evaluations_of(const std::string& run, const std::string& outcome) {
  std::vector<Progressed> out;
  std::ifstream events(run + "/events.jsonl");
  for (std::string line; std::getline(events, line) && !events.eof();) {
    const Json event = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!event.is_object() || !event.contains("done") || !event["done"].is_number()) continue;
    for (const std::string& name : keys_of_outcome(outcome))
      if (event.contains(name) && event[name].is_number()) {
        out.push_back({100 * event["done"].get<double>(), event[name].get<double>()});
        break;
      }
  }
  return out;
}

// One child process of a trial.
struct TrialRunner::Attempt {
  explicit Attempt(int64_t trial) : number(trial) {}
  int64_t number;                 // of the trial
  int64_t percent = 100;          // of the budget
  std::string run, length, said;  // said: when it failed
  Words overrides;
  bool pruned = false;  // on its way
  double value = NAN, began = 0, share = 1;
};

const Trial& TrialRunner::trial(int64_t number) const {
  return store.journal().trials()[static_cast<size_t>(number)];
}

void TrialRunner::fail_trial(int64_t number, const std::string& reason,
                             const Attempt& attempt) const {
  store.update([&](const Journal& journal, JournalLines& lines) {
    const Trial& t = journal.trials()[static_cast<size_t>(number)];
    if (t.ended()) return;
    const RunFigures figures = run_figures(attempt.run, study.outcome);
    lines.set_attr(t, "reason", reason);
    lines.set_attr(t, "wall",
                   at_least_zero(t.number_attr("wall")) + steady_seconds() - attempt.began);
    lines.set_attr(t, "tokens",
                   at_least_zero(t.number_attr("tokens")) + at_least_zero(figures.tokens));
    lines.end(t, TrialState::failed, NAN);
  });
}

// Trains; false if the trial ended by that.
bool TrialRunner::train(Attempt& attempt) const {
  const bool rung_run = attempt.percent < 100;
  const bool mid_run = !rung_run && !study.pruner.complete && !study.pruner.rungs.empty() &&
                       trial(attempt.number).attr("phase") == "search";
  double looked = steady_seconds();
  // Reports rungs as they are reached.
  const auto look = [&] {
    for (const Progressed& p : evaluations_of(attempt.run, study.outcome))
      for (const int64_t percent : rung_percents(study)) {
        const double at = static_cast<double>(percent);
        if (attempt.pruned || p.percent < at - kNear || trial(attempt.number).rungs.count(percent))
          continue;
        store.update([&](const Journal& journal, JournalLines& lines) {
          const Trial& t = journal.trials()[static_cast<size_t>(attempt.number)];
          lines.set_rung(t, percent, p.value);
          attempt.pruned =
              after_rung(study, journal.trials(), t, percent, p.value) == Verdict::prune;
        });
        if (attempt.pruned) attempt.value = p.value, attempt.share = p.percent / 100;
      }
  };
  const auto stop_or_pruned = [&] {
    if (stop && stop()) return true;
    if (mid_run && !attempt.pruned && steady_seconds() - looked > kLookSeconds)
      look(), looked = steady_seconds();
    return attempt.pruned;
  };
  std::string state = run_state(attempt.run);
  if (state != "finished" && state != "diverged")
    attempt.said =
        train_run(program, folder + "/base.toml", attempt.run, attempt.overrides, stop_or_pruned);
  state = run_state(attempt.run);
  if (mid_run && state == "finished" && !attempt.pruned) look();
  if (attempt.pruned) {
    say("{}: pruned at {:.0f} %: {:.4f}\n", attempt.run, 100 * attempt.share, attempt.value);
    return true;
  }
  if (stop && stop() && state != "finished") return false;
  if (state == "diverged") return fail_trial(attempt.number, "diverged", attempt), false;
  // Every trial after it would fail as well: this one is taken up again once there is room.
  if (state != "finished" && is_full_disk(attempt.said))
    fail("study: {}; 'strobe study run' goes on with {} once there is room", attempt.said,
         attempt.run);
  if (state != "finished") return fail_trial(attempt.number, attempt.said, attempt), false;
  attempt.value = run_figures(attempt.run, study.outcome).outcome;
  if (std::isfinite(attempt.value)) return true;
  fail_trial(attempt.number, fmt::format("no {}", study.outcome), attempt);
  const std::vector<Trial>& trials = store.journal().trials();
  if (study.searches() && std::none_of(trials.begin(), trials.end(), [](const Trial& t) {
        return t.state == TrialState::complete;
      }))
    fail("study: {} finished without '{}', the outcome of this study, and no run has given it yet",
         attempt.run, study.outcome);
  return false;
}

// Writes what a run came to, and whether its trial goes on.
void TrialRunner::finish_rung(const Attempt& attempt) const {
  const RunFigures figures = run_figures(attempt.run, study.outcome);
  store.update([&](const Journal& journal, JournalLines& lines) {
    const Trial& t = journal.trials()[static_cast<size_t>(attempt.number)];
    if (t.ended()) return;
    const auto add = [&](const char* key, double more) {
      if (std::isfinite(more)) lines.set_attr(t, key, at_least_zero(t.number_attr(key)) + more);
    };
    const double share =
        attempt.pruned ? attempt.share : static_cast<double>(attempt.percent) / 100;
    add("wall", steady_seconds() - attempt.began);
    add("share", share), add("seconds", figures.seconds);
    add("tokens", figures.tokens), add("flops", figures.flops);
    if (attempt.pruned) return lines.end(t, TrialState::pruned, attempt.value);
    if (attempt.percent == 100) {
      if (std::isfinite(figures.peak_bytes)) lines.set_attr(t, "peak_bytes", figures.peak_bytes);
      return lines.end(t, TrialState::complete, attempt.value);
    }
    lines.set_rung(t, attempt.percent, attempt.value);
    switch (after_rung(study, journal.trials(), t, attempt.percent, attempt.value)) {
      case Verdict::go_on: break;
      case Verdict::wait: lines.set_system_attr(t, kWorkerAttr, ""); break;
      case Verdict::prune: lines.end(t, TrialState::pruned, attempt.value);
    }
  });
  // The points of a search can be had again from their overrides; their weights would fill disks.
  if (trial(attempt.number).attr("phase") == "search" &&
      (attempt.percent < 100 || attempt.pruned || !study.confirm.seeds.empty())) {
    std::error_code error;
    fs::remove_all(attempt.run + "/checkpoints", error);
  }
}

void TrialRunner::run(int64_t number) const {
  const auto on = [&] {
    const Trial& t = trial(number);
    return !t.ended() && worker_of(t) == worker;
  };
  while (on() && !(stop && stop())) {
    const Trial& t = trial(number);
    const bool search = t.attr("phase") == "search";
    Attempt attempt(number);
    if (search && study.pruner.complete)
      for (const int64_t percent : rung_percents(study))
        if (!t.rungs.count(percent)) {
          attempt.percent = percent;
          break;
        }
    const std::string name = fmt::format("{}-s{}", t.attr("name"), t.attr("seed"));
    attempt.run = folder + "/runs/" + name;
    if (attempt.percent < 100) attempt.run += fmt::format("-r{}", attempt.percent);
    attempt.length = length(t, static_cast<double>(attempt.percent) / 100);
    attempt.overrides = overrides_of(study, t);
    attempt.overrides.push_back("seed=" + t.attr("seed"));
    attempt.overrides.push_back("name=" + name);
    if (!attempt.length.empty()) attempt.overrides.push_back(attempt.length);
    attempt.overrides.insert(attempt.overrides.end(), extra.begin(), extra.end());
    if (attempt.percent < 100)
      for (const char* off : {"eval.every=0", "checkpoint.every=0", "sample.tokens=0"})
        attempt.overrides.push_back(off);
    else if (search && !study.pruner.complete && !study.pruner.rungs.empty())
      attempt.overrides.push_back(fmt::format("eval.every={} %", evaluated_percent(study)));
    attempt.began = steady_seconds();
    if (train(attempt)) finish_rung(attempt);
  }
}

}  // namespace strobe
