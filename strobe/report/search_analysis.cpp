#include "strobe/report/search_analysis.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "strobe/core/error.h"
#include "strobe/report/outcomes.h"
#include "strobe/report/stability.h"
#include "strobe/report/targets.h"

namespace strobe {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
// Fewer trials say little about what matters.
constexpr size_t kFewestForImportance = 20;
// Outcomes as good as the best, for most purposes.
constexpr double kNatsTolerance = 0.05, kRelativeTolerance = 0.01;
// The best is at the edge of a range if it is nearer to it than this share of it.
constexpr double kEdge = 0.05;

double at_least_zero(double value) { return std::isfinite(value) ? value : 0; }

double tolerance_of(const StudyRecord& study, double best) {
  const OutcomeKind* kind = find_outcome(study.outcome);
  const bool nats = kind && std::string(kind->unit) == "nats a token";
  return nats ? kNatsTolerance : kRelativeTolerance * std::abs(best);
}

TrialResult trial_result(const SearchRecord& search, const Trial& trial) {
  TrialResult out{};
  out.number = trial.number,
  out.seed = static_cast<int64_t>(at_least_zero(trial.number_attr("seed")));
  out.name = trial.attr("name"), out.arm = trial.attr("arm"), out.phase = trial.attr("phase");
  out.state = name_of(trial.state), out.reason = trial.attr("reason");
  out.text = point_text(search, trial);
  for (const ImportanceInput& p : search.parameters) {
    const auto at = trial.params.find(p.name);
    out.parameters.push_back(at == trial.params.end() ? kNan : at->second);
  }
  out.rungs = trial.rungs;
  out.value = trial.state == TrialState::complete ? trial.value : kNan;
  out.best = kNan;
  out.wall = trial.number_attr("wall"), out.seconds = trial.number_attr("seconds");
  out.tokens = trial.number_attr("tokens"), out.flops = trial.number_attr("flops");
  return out;
}

// The whole run's outcome when it had come to `percent` of its tokens.
double on_its_way(const RunRecord& run, const std::string& outcome, int64_t percent) {
  const double whole = run.result.tokens;
  for (const EvalPoint& point : run.evaluations)
    if (point.tokens >= whole * (static_cast<double>(percent) - 0.75) / 100)
      return outcome_at(point, outcome);
  return kNan;
}

RungResult rung_result(const StudyRecord& study, int64_t percent) {
  const SearchRecord& search = *study.search;
  struct Pairs {
    std::vector<double> rung, whole;
    void add(double value, double final) { rung.push_back(value), whole.push_back(final); }
    Interval correlation() const { return rank_correlation_interval(rung, whole); }
  } complete, way;
  std::vector<double> both_complete, both_way, both_whole;
  for (const Trial& trial : search.trials) {
    if (trial.state != TrialState::complete || trial.attr("phase") != "search") continue;
    double short_run = kNan, whole_run = kNan;
    if (const auto at = trial.rungs.find(percent); at != trial.rungs.end()) short_run = at->second;
    if (const auto run = search.runs.find(trial.number); run != search.runs.end())
      whole_run = on_its_way(run->second, study.outcome, percent);
    if (std::isfinite(short_run)) complete.add(short_run, trial.value);
    if (std::isfinite(whole_run)) way.add(whole_run, trial.value);
    if (!std::isfinite(short_run) || !std::isfinite(whole_run)) continue;
    both_complete.push_back(short_run), both_way.push_back(whole_run);
    both_whole.push_back(trial.value);
  }
  RungResult out{
      percent, std::max(complete.rung.size(), way.rung.size()), {}, way.correlation(), {}};
  if (!search.complete_rungs) return out;
  out.complete = complete.correlation();
  out.difference = rank_correlation_difference(both_complete, both_way, both_whole);
  return out;
}

// Of each arm that varies one number alone: the mean of its outcomes over seeds.
void add_bands(const StudyRecord& study, SearchResult& out) {
  const SearchRecord& search = *study.search;
  for (const std::string& arm : search.groups) {
    std::map<std::string, std::vector<const TrialResult*>> points;
    std::set<size_t> varied;
    for (const TrialResult& t : out.trials)
      if (t.phase == "search" && t.arm == arm) {
        points[t.name].push_back(&t);
        for (size_t p = 0; p < t.parameters.size(); ++p)
          if (!std::isnan(t.parameters[p])) varied.insert(p);
      }
    if (varied.size() != 1) continue;
    const size_t p = *varied.begin();
    const std::vector<std::string>& labels = search.labels[p];
    const auto at = [&](double value) {
      return labels.empty() ? value : number_of_label(labels[static_cast<size_t>(value)]);
    };
    BandResult band{arm, search.parameters[p].name, {}, 0, 0, 0};
    std::vector<std::pair<double, double>> values;
    bool whole = true;
    for (const auto& [name, trials] : points) {
      std::vector<double> outcomes;
      bool failed = false, diverged = false;
      for (const TrialResult* t : trials) {
        failed = failed || t->state == "failed", diverged = diverged || t->reason == "diverged";
        if (std::isfinite(t->value)) outcomes.push_back(t->value);
      }
      band.failed += failed;
      if (outcomes.empty() && failed && !diverged) continue;  // it says nothing of the outcome
      if (outcomes.empty() && !failed) whole = false;  // stopped early: it may be in the band
      values.emplace_back(at(trials[0]->parameters[p]), diverged ? INFINITY : mean(outcomes));
    }
    if (std::any_of(values.begin(), values.end(), [](auto& v) { return std::isnan(v.first); }))
      continue;  // names, not numbers
    const auto best = std::min_element(values.begin(), values.end(),
                                       [](auto& a, auto& b) { return a.second < b.second; });
    if (!whole || values.empty() || !std::isfinite(best->second)) continue;
    band.points = values.size(), band.tolerance = tolerance_of(study, best->second);
    band.band = band_of(values, band.tolerance, search.parameters[p].log || !labels.empty());
    if (std::isfinite(band.band.best)) out.bands.push_back(std::move(band));
  }
}

// Of the trials that are complete.
void add_importance(const SearchRecord& search, SearchResult& out) {
  std::vector<ImportanceInput> inputs = search.parameters;
  std::vector<double> outcomes;
  for (const TrialResult& trial : out.trials) {
    if (trial.phase != "search" || !std::isfinite(trial.value)) continue;
    outcomes.push_back(trial.value);
    for (size_t p = 0; p < inputs.size(); ++p) inputs[p].values.push_back(trial.parameters[p]);
  }
  if (outcomes.size() >= kFewestForImportance && inputs.size() > 1)
    out.importance = importance(inputs, outcomes);
}

void look_at_best(const SearchRecord& search, SearchResult& out) {
  const TrialResult& best = out.trials[static_cast<size_t>(out.best)];
  for (size_t p = 0; p < search.parameters.size(); ++p) {
    const ImportanceInput& range = search.parameters[p];
    const double value = best.parameters[p];
    if (range.choices > 0 || std::isnan(value)) continue;
    const auto scale = [&](double v) { return range.log ? std::log(v) : v; };
    const double unit = (scale(value) - scale(range.low)) / (scale(range.high) - scale(range.low));
    if (unit < kEdge || unit > 1 - kEdge) out.edges.push_back(range.name);
  }
}

}  // namespace

SearchResult search_result(const StudyRecord& study) {
  const SearchRecord& search = *study.search;
  SearchResult out;
  out.sampler = search.sampler, out.pruner = search.pruner, out.confirmed = search.confirmed;
  for (const ImportanceInput& p : search.parameters)
    out.parameters.push_back(p.name), out.log.push_back(p.log);
  out.labels = search.labels;
  out.seeds = search.seeds, out.arms = static_cast<int64_t>(search.groups.size());
  out.mid_run = !search.complete_rungs && !search.rungs.empty();
  double best = kNan;
  std::map<std::string, std::vector<double>> outcomes;  // of a point
  std::vector<double> values, seconds;
  for (const Trial& trial : search.trials) {
    out.trials.push_back(trial_result(search, trial));
    TrialResult& t = out.trials.back();
    const bool of_search = t.phase == "search";
    values.push_back(of_search ? t.value : kNan), seconds.push_back(t.seconds);
    if (!of_search) {
      out.confirm_wall += at_least_zero(t.wall);
      continue;
    }
    switch (trial.state) {
      case TrialState::complete: ++out.complete; break;
      case TrialState::pruned: ++out.pruned; break;
      case TrialState::failed: ++out.failed; break;
      default: ++out.running;
    }
    out.wall += at_least_zero(t.wall), out.tokens += at_least_zero(t.tokens);
    out.flops += at_least_zero(t.flops);
    if (std::vector<double>& of_point = outcomes[t.name]; std::isfinite(t.value)) {
      of_point.push_back(t.value);
      const bool whole = static_cast<int64_t>(of_point.size()) == search.seeds;
      if (whole && !(mean(of_point) >= best)) best = mean(of_point);
    }
    t.best = best;
  }
  if (const std::vector<PointRecord> points = ranked_points(search); !points.empty()) {
    out.best = points[0].trial - search.trials.data();
    out.best_value = points[0].value, out.best_seeds = points[0].complete;
  }
  std::set<std::string> points;
  for (const TrialResult& t : out.trials)
    if (t.phase == "search") points.insert(t.name);
  out.wanted = search.wanted;
  out.points = static_cast<int64_t>(points.size() / search.groups.size());
  out.front = pareto_front(seconds, values);
  for (const int64_t percent : search.rungs) out.rungs.push_back(rung_result(study, percent));
  add_importance(search, out);
  add_bands(study, out);
  if (out.best >= 0) look_at_best(search, out);
  return out;
}

}  // namespace strobe
