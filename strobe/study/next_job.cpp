#include "strobe/study/next_job.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "strobe/core/error.h"
#include "strobe/study/pruner.h"
#include "strobe/study/trials.h"

namespace strobe {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string prefixed(const StudyArm& arm, const std::string& name) {
  return arm.name.empty() ? name : arm.name + "-" + name;
}

// The arm as choices for the journal: its factors, or its name.
void add_arm(const StudyFile& study, const StudyArm& arm, NewTrial& trial) {
  const auto add = [&](const std::string& name, const std::vector<std::string>& labels,
                       const std::string& label) {
    Parameter p;
    p.name = name, p.kind = Parameter::Kind::choice;
    for (const std::string& one : labels) p.choices.push_back({one, {}});
    const auto at = std::find(labels.begin(), labels.end(), label);
    trial.space.push_back(std::move(p));
    trial.point.push_back(static_cast<double>(at - labels.begin()));
  };
  if (arm.levels.empty() && !arm.name.empty()) {
    std::vector<std::string> names;
    for (const StudyArm& one : study.arms)
      if (one.levels.empty()) names.push_back(one.name);
    add("arm", names, arm.name);
  }
  for (size_t f = 0; f < arm.levels.size(); ++f) {
    std::vector<std::string> labels;
    for (const StudyLevel& level : study.factors[f].levels) labels.push_back(level.name);
    add(study.factors[f].name, labels, arm.levels[f]);
  }
}

NewTrial new_trial(const StudyFile& study, const StudyArm& arm, const std::string& phase,
                   const std::string& name, int64_t seed) {
  NewTrial out;
  add_arm(study, arm, out);
  out.attrs = {
      {"phase", phase}, {"arm", arm.name}, {"name", name}, {"seed", fmt::format("{}", seed)}};
  return out;
}

void add_point(const Space& space, const Point& point, int64_t index, NewTrial& trial) {
  trial.space.insert(trial.space.end(), space.begin(), space.end());
  trial.point.insert(trial.point.end(), point.begin(), point.end());
  if (index >= 0) trial.attrs.emplace_back("point", fmt::format("{}", index));
}

Job run_trial(const Trial& trial) { return {Job::Kind::run, trial.number, {}, {}}; }
Job begin(NewTrial trial) { return {Job::Kind::run, -1, std::move(trial), {}}; }

// ---- what has been spent

struct Spent {
  double wall = 0, tokens = 0, flops = 0, share = 0;  // share: of whole runs
};

Spent spent_on(const Trial& trial) {
  const auto at = [&](const char* key) {
    const double value = trial.number_attr(key);
    return std::isfinite(value) ? value : 0;
  };
  return {at("wall"), at("tokens"), at("flops"), at("share")};
}

// True if `share` of a run more, what is under way, and the runs that confirm still fit. A trial
// that crashed counts as its first rung at least, or a search whose trials all do would not end.
bool affordable(const StudyFile& study, const std::vector<Trial>& trials, double share) {
  Spent all;
  std::vector<Spent> crashed;
  double running = 0;
  for (const Trial& trial : trials) {
    const Spent one = spent_on(trial);
    if (under_way(trial)) running += 1;
    if (trial.state == TrialState::failed && one.share == 0) {
      crashed.push_back(one);
      continue;
    }
    all.wall += one.wall, all.tokens += one.tokens, all.flops += one.flops, all.share += one.share;
  }
  const double confirming = study.confirming_runs();
  const auto fits = [&](double limit, double Spent::*part, double of_a_run) {
    if (limit == 0) return true;
    const double one = all.share > 0 ? all.*part / all.share : of_a_run;
    double used = all.*part;
    for (const Spent& trial : crashed) used += std::max(trial.*part, study.first_share() * one);
    return used + (share + running + confirming) * one <= limit * (1 + 1e-9);
  };
  return fits(study.total_seconds, &Spent::wall, study.seconds) &&
         fits(study.total_tokens, &Spent::tokens, study.tokens) &&
         fits(study.total_flops, &Spent::flops, study.flops);
}

// ---- search

struct ArmSearch {
  const StudyArm* arm;
  Space space;
  std::map<int64_t, std::vector<const Trial*>> points;  // by index
  bool exhausted = false;                               // of a grid, or by budget.trials
};

std::vector<Observation> history_of(const ArmSearch& search) {
  std::vector<Observation> out;
  for (const auto& [index, trials] : search.points) {
    Observation o{point_of(search.space, *trials[0]), false, 0, 0};
    double sum = 0, count = 0;
    int level = 1000;
    for (const Trial* trial : trials) {
      if (!trial->ended() && trial->rungs.empty()) o.running = true;
      const bool complete = trial->state == TrialState::complete;
      if (!complete) level = std::min(level, static_cast<int>(trial->rungs.size()));
      double value = kInfinity;
      if (complete)
        value = trial->value;
      else if (!trial->rungs.empty() && trial->state != TrialState::failed)
        value = trial->rungs.rbegin()->second;
      sum += value, count += 1;
    }
    o.level = level, o.value = sum / count;
    out.push_back(std::move(o));
  }
  return out;
}

ArmSearch search_of(const StudyFile& study, const StudyArm& arm, const std::vector<Trial>& trials) {
  ArmSearch out{&arm, study.space_of(arm), points_of(trials, arm), false};
  out.exhausted = study.trials > 0 && static_cast<int64_t>(out.points.size()) >= study.trials;
  return out;
}

// A point that lacks a seed, or a new point.
std::optional<NewTrial> next_point(const StudyFile& study, ArmSearch& search) {
  const auto named = [&](int64_t index, int64_t seed) {
    return new_trial(study, *search.arm, "search", prefixed(*search.arm, fmt::format("p{}", index)),
                     seed);
  };
  for (const auto& [index, trials] : search.points)
    for (const int64_t seed : study.seeds) {
      const std::string text = fmt::format("{}", seed);
      if (std::any_of(trials.begin(), trials.end(),
                      [&](const Trial* trial) { return trial->attr("seed") == text; }))
        continue;
      NewTrial out = named(index, seed);
      add_point(search.space, point_of(search.space, *trials[0]), index, out);
      return out;
    }
  if (search.exhausted) return std::nullopt;
  const auto index = static_cast<int64_t>(search.points.size());
  const std::optional<Point> point =
      propose(search.space, study.sampler, static_cast<uint64_t>(index), history_of(search));
  search.exhausted = !point;
  if (!point) return std::nullopt;
  NewTrial out = named(index, study.seeds[0]);
  add_point(search.space, *point, index, out);
  return out;
}

std::optional<Job> search_job(const StudyFile& study, const std::vector<Trial>& trials) {
  std::vector<ArmSearch> searches;
  for (const StudyArm& arm : study.arms) searches.push_back(search_of(study, arm, trials));
  const bool more = affordable(study, trials, study.first_share());
  for (const ArmSearch& search : searches)
    if (const Trial* trial = more ? promoted(study, trials, *search.arm, false) : nullptr)
      return run_trial(*trial);
  // Arms take turns, so that all have had as many trials whenever the budget ends.
  std::stable_sort(searches.begin(), searches.end(), [](const ArmSearch& a, const ArmSearch& b) {
    return a.points.size() < b.points.size();
  });
  for (ArmSearch& search : searches)
    if (more)
      if (std::optional<NewTrial> trial = next_point(study, search))
        return begin(std::move(*trial));
  for (const ArmSearch& search : searches) {
    const bool busy = std::ranges::any_of(searched(trials, *search.arm),
                                          [](const Trial* trial) { return under_way(*trial); });
    if ((!busy || study.pruner.name == "halving") && affordable(study, trials, 1))
      if (const Trial* trial = promoted(study, trials, *search.arm, true)) return run_trial(*trial);
  }
  Job end{Job::Kind::wait, -1, {}, {}};
  bool busy = false;
  for (const Trial& trial : trials)
    if (trial.attr("phase") == "search") busy = busy || under_way(trial);
  if (busy) return end;
  for (const Trial& trial : trials)
    if (trial.attr("phase") == "search" && waits(trial)) end.close.push_back(trial.number);
  if (!end.close.empty()) return end;
  return std::nullopt;
}

// ---- arms and confirmation: every point with every seed

struct Measured {
  const StudyArm* arm;
  std::string name;
  int64_t trial;  // whose point it is; -1: none
};

std::optional<Job> measure(const StudyFile& study, const std::vector<Trial>& trials,
                           const std::string& phase, const std::vector<Measured>& points,
                           const std::vector<int64_t>& seeds, int64_t retry_below) {
  bool busy = false;
  for (const int64_t seed : seeds)
    for (const Measured& point : points) {
      const Trial* trial = trial_of(trials, phase, point.name, seed);
      if (trial && under_way(*trial)) busy = true;
      const bool again = trial && trial->state == TrialState::failed &&
                         trial->number < retry_below && trial->attr("reason") != "diverged" &&
                         !trial->attr("reason").starts_with("no ");
      if (trial && !again) continue;
      NewTrial fresh = new_trial(study, *point.arm, phase, point.name, seed);
      if (point.trial >= 0) {
        const Trial& of = trials[static_cast<size_t>(point.trial)];
        const Space space = study.space_of(*point.arm);
        add_point(space, point_of(space, of), static_cast<int64_t>(of.number_attr("point")), fresh);
      }
      return begin(std::move(fresh));
    }
  if (busy) return Job{Job::Kind::wait, -1, {}, {}};
  return std::nullopt;
}

std::vector<Measured> to_confirm(const StudyFile& study, const std::vector<Trial>& trials) {
  std::vector<Measured> out;
  for (const StudyArm& arm : study.arms) {
    const std::vector<Candidate> best = candidates(trials, arm);
    for (size_t i = 0; i < best.size() && static_cast<int64_t>(i) < study.confirm.top; ++i)
      out.push_back({&arm, best[i].name, best[i].trial});
    if (study.confirm.base && !best.empty()) out.push_back({&arm, prefixed(arm, "base"), -1});
  }
  return out;
}

}  // namespace

Job next_job(const StudyFile& study, const std::vector<Trial>& trials, int64_t retry_below,
             const std::function<bool(const std::string& worker)>& alive) {
  for (const Trial& trial : trials)
    if (under_way(trial) && !trial.attr("phase").empty() && !alive(worker_of(trial)))
      return run_trial(trial);
  std::optional<Job> job;
  if (!study.searches()) {
    std::vector<Measured> points;
    for (const StudyArm& arm : study.arms) points.push_back({&arm, arm.name, -1});
    job = measure(study, trials, "arms", points, study.seeds, retry_below);
  } else {
    job = search_job(study, trials);
    if (!job)
      job = measure(study, trials, "confirm", to_confirm(study, trials), study.confirm.seeds,
                    retry_below);
  }
  return job ? *std::move(job) : Job{};
}

}  // namespace strobe
