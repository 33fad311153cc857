#include "strobe/study/next_job.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "strobe/core/error.h"

namespace strobe {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// The median is of at least so many others.
constexpr size_t kFewestPeers = 4;

std::string prefixed(const StudyArm& arm, const std::string& name) {
  return arm.name.empty() ? name : arm.name + "-" + name;
}

bool ours(const Trial& trial, const std::string& phase, const StudyArm& arm) {
  return trial.attr("phase") == phase && trial.attr("arm") == arm.name;
}

const std::string& worker_of(const Trial& trial) {
  static const std::string nobody;
  const auto at = trial.system_attrs.find(kWorkerAttr);
  return at == trial.system_attrs.end() ? nobody : at->second;
}

bool runs(const Trial& trial) { return !trial.ended() && !worker_of(trial).empty(); }
bool waits(const Trial& trial) { return !trial.ended() && worker_of(trial).empty(); }

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
  double under_way = 0;
  for (const Trial& trial : trials) {
    const Spent one = spent_on(trial);
    if (runs(trial)) under_way += 1;
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
    return used + (share + under_way + confirming) * one <= limit * (1 + 1e-9);
  };
  return fits(study.total_seconds, &Spent::wall, study.seconds) &&
         fits(study.total_tokens, &Spent::tokens, study.tokens) &&
         fits(study.total_flops, &Spent::flops, study.flops);
}

// ---- rungs

using Peers = std::vector<const Trial*>;

void sort_at(int64_t percent, Peers& peers) {
  std::sort(peers.begin(), peers.end(), [&](const Trial* a, const Trial* b) {
    const double x = a->rungs.at(percent), y = b->rungs.at(percent);
    return x != y ? x < y : a->number < b->number;
  });
}

size_t share_of(const StudyFile& study, size_t trials, bool one_at_least) {
  const auto most = static_cast<size_t>(static_cast<double>(trials) / study.pruner.eta);
  return one_at_least ? std::max<size_t>(most, 1) : most;
}

// Successive halving (K. Jamieson and A. Talwalkar, AISTATS 2016): once all have reached a rung,
// the best 1 / eta go on to the next.
const Trial* promoted_by_halving(const StudyFile& study, Peers cohort) {
  const std::vector<int64_t> percents = rung_percents(study);
  for (size_t r = 0; r < percents.size(); ++r) {
    std::erase_if(cohort,
                  [&](const Trial* t) { return t->ended() && !t->rungs.count(percents[r]); });
    for (const Trial* trial : cohort)
      if (!trial->rungs.count(percents[r])) return nullptr;  // still on its way
    sort_at(percents[r], cohort);
    cohort.resize(std::min(cohort.size(), share_of(study, cohort.size(), true)));
    for (const Trial* trial : cohort)
      if (waits(*trial) && trial->rungs.size() == r + 1) return trial;
  }
  return nullptr;
}

// Asynchronous successive halving (L. Li et al., MLSys 2020, algorithm 2): from the highest rung
// down, one that waits among the best 1 / eta of those that have been there. At the end of the
// search the best of a rung goes on even if that is less than one.
const Trial* promoted_by_asha(const StudyFile& study, const Peers& peers, bool last) {
  const std::vector<int64_t> percents = rung_percents(study);
  for (size_t r = percents.size(); r-- > 0;) {
    Peers here;
    for (const Trial* trial : peers)
      if (trial->rungs.count(percents[r])) here.push_back(trial);
    sort_at(percents[r], here);
    here.resize(std::min(here.size(), share_of(study, here.size(), last)));
    for (const Trial* trial : here)
      if (waits(*trial) && trial->rungs.size() == r + 1) return trial;
  }
  return nullptr;
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
  ArmSearch out{&arm, study.space_of(arm), {}, false};
  for (const Trial& trial : trials)
    if (ours(trial, "search", arm))
      out.points[static_cast<int64_t>(trial.number_attr("point"))].push_back(&trial);
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

// The trials of an arm that are compared at rungs: those of one seed.
Peers peers_of(const StudyArm& arm, int64_t seed, const std::vector<Trial>& trials) {
  Peers out;
  for (const Trial& trial : trials)
    if (ours(trial, "search", arm) && trial.attr("seed") == fmt::format("{}", seed))
      out.push_back(&trial);
  return out;
}

std::optional<Job> search_job(const StudyFile& study, const std::vector<Trial>& trials) {
  std::vector<ArmSearch> searches;
  for (const StudyArm& arm : study.arms) searches.push_back(search_of(study, arm, trials));
  // `last`: no point will be added to the arm.
  const auto promote = [&](const ArmSearch& search, bool last) -> const Trial* {
    for (const int64_t seed : study.seeds) {
      const Peers peers = peers_of(*search.arm, seed, trials);
      const Trial* trial = nullptr;
      if (study.pruner.name == "asha") trial = promoted_by_asha(study, peers, last);
      if (study.pruner.name == "halving" && last) trial = promoted_by_halving(study, peers);
      if (trial) return trial;
    }
    return nullptr;
  };
  const bool more = affordable(study, trials, study.first_share());
  for (const ArmSearch& search : searches)
    if (const Trial* trial = more ? promote(search, false) : nullptr) return run_trial(*trial);
  // Arms take turns, so that all have had as many trials whenever the budget ends.
  std::stable_sort(searches.begin(), searches.end(), [](const ArmSearch& a, const ArmSearch& b) {
    return a.points.size() < b.points.size();
  });
  for (ArmSearch& search : searches)
    if (more)
      if (std::optional<NewTrial> trial = next_point(study, search))
        return begin(std::move(*trial));
  for (const ArmSearch& search : searches) {
    const bool busy = std::any_of(trials.begin(), trials.end(), [&](const Trial& trial) {
      return ours(trial, "search", *search.arm) && runs(trial);
    });
    if ((!busy || study.pruner.name == "halving") && affordable(study, trials, 1))
      if (const Trial* trial = promote(search, true)) return run_trial(*trial);
  }
  Job end{Job::Kind::wait, -1, {}, {}};
  bool busy = false;
  for (const Trial& trial : trials)
    if (trial.attr("phase") == "search") busy = busy || runs(trial);
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
      if (trial && runs(*trial)) busy = true;
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
    const std::vector<Candidate> best = candidates(study, arm, trials);
    for (size_t i = 0; i < best.size() && static_cast<int64_t>(i) < study.confirm.top; ++i)
      out.push_back({&arm, best[i].name, best[i].trial});
    if (study.confirm.base && !best.empty()) out.push_back({&arm, prefixed(arm, "base"), -1});
  }
  return out;
}

}  // namespace

const StudyArm& arm_of(const StudyFile& study, const Trial& trial) {
  for (const StudyArm& arm : study.arms)
    if (arm.name == trial.attr("arm")) return arm;
  fail("study: trial {} of the journal is of the arm '{}', which this study does not have",
       trial.number, trial.attr("arm"));
}

Point point_of(const Space& space, const Trial& trial) {
  Point out;
  for (const Parameter& p : space) {
    const auto at = trial.params.find(p.name);
    out.push_back(at == trial.params.end() ? std::numeric_limits<double>::quiet_NaN() : at->second);
  }
  return out;
}

std::vector<std::string> overrides_of(const StudyFile& study, const Trial& trial) {
  const StudyArm& arm = arm_of(study, trial);
  std::vector<std::string> out = arm.overrides;
  const Space space = study.space_of(arm);
  for (std::string& override : overrides_of(space, point_of(space, trial)))
    out.push_back(std::move(override));
  return out;
}

const Trial* trial_of(const std::vector<Trial>& trials, const std::string& phase,
                      const std::string& name, int64_t seed) {
  const std::string text = fmt::format("{}", seed);
  for (auto trial = trials.rbegin(); trial != trials.rend(); ++trial)
    if (trial->attr("phase") == phase && trial->attr("name") == name && trial->attr("seed") == text)
      return &*trial;
  return nullptr;
}

std::vector<Candidate> candidates(const StudyFile& study, const StudyArm& arm,
                                  const std::vector<Trial>& trials) {
  std::vector<Candidate> out;
  for (const auto& [index, of_point] : search_of(study, arm, trials).points) {
    Candidate one{of_point[0]->attr("name"), of_point[0]->number, 0, 0, 0};
    for (const Trial* trial : of_point) {
      if (trial->state == TrialState::complete) one.value += trial->value, ++one.complete;
      one.failed += trial->state == TrialState::failed;
    }
    if (one.complete == 0) continue;
    one.value /= static_cast<double>(one.complete);
    out.push_back(std::move(one));
  }
  std::stable_sort(out.begin(), out.end(), [&](const Candidate& a, const Candidate& b) {
    if (a.failed != b.failed) return a.failed < b.failed;
    return a.complete != b.complete ? a.complete > b.complete : a.value < b.value;
  });
  return out;
}

Verdict after_rung(const StudyFile& study, const std::vector<Trial>& trials, const Trial& trial,
                   int64_t percent, double value) {
  const PrunerSpec& pruner = study.pruner;
  if (pruner.name == "none") return Verdict::go_on;
  if (pruner.name != "median" && pruner.complete) return Verdict::wait;
  std::vector<double> others;
  for (const Trial& other : trials)
    if (other.number != trial.number && other.attr("phase") == "search" &&
        other.attr("arm") == trial.attr("arm") && other.attr("seed") == trial.attr("seed") &&
        other.rungs.count(percent))
      others.push_back(other.rungs.at(percent));
  std::sort(others.begin(), others.end());
  const double own = value;
  if (pruner.name == "median") {
    if (others.size() < kFewestPeers) return Verdict::go_on;
    const double median = (others[others.size() / 2] + others[(others.size() - 1) / 2]) / 2;
    return own > median ? Verdict::prune : Verdict::go_on;
  }
  // ASHA as it stops runs: on among the best 1 / eta of those that were here, or as the best.
  const auto before =
      static_cast<double>(std::lower_bound(others.begin(), others.end(), own) - others.begin());
  const double most =
      std::max(1.0, std::floor(static_cast<double>(others.size() + 1) / pruner.eta));
  return before < most ? Verdict::go_on : Verdict::prune;
}

Job next_job(const StudyFile& study, const std::vector<Trial>& trials, int64_t retry_below,
             const std::function<bool(const std::string& worker)>& alive) {
  for (const Trial& trial : trials)
    if (runs(trial) && !trial.attr("phase").empty() && !alive(worker_of(trial)))
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
