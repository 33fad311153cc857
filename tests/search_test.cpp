// What to try next: spaces, samplers, and the order of a search's jobs.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "strobe/core/error.h"
#include "strobe/study/next_job.h"
#include "strobe/study/pruner.h"
#include "strobe/study/sampler.h"
#include "strobe/study/sobol.h"
#include "strobe/study/trials.h"

namespace strobe {
namespace {

Parameter number(const std::string& name, double low, double high, bool log = false,
                 double step = 0) {
  Parameter p;
  p.name = p.key = name, p.low = low, p.high = high, p.log = log, p.step = step;
  return p;
}

Parameter choice(const std::string& name, const std::vector<std::string>& labels) {
  Parameter p;
  p.name = p.key = name, p.kind = Parameter::Kind::choice;
  for (const std::string& label : labels) p.choices.push_back({label, {name + "=" + label}});
  return p;
}

Parameter when(Parameter p, const std::string& on, const std::string& label) {
  p.when = on, p.when_labels = {label};
  return p;
}

TEST(Space, UnitScaleReachesEveryValueAndNoOther) {
  const Parameter real = number("lr", 1e-4, 1e-1, true), even = number("x", 0, 1, false, 0.25);
  EXPECT_EQ(from_unit(real, 0), 1e-4);
  EXPECT_EQ(from_unit(real, 1), 1e-1);
  EXPECT_NEAR(from_unit(real, 0.5), std::sqrt(1e-5), 1e-8);
  std::map<double, int> seen;
  for (int i = 0; i < 1000; ++i) ++seen[from_unit(even, (i + 0.5) / 1000)];
  EXPECT_EQ(seen.size(), 5u);
  for (const auto& [value, times] : seen) EXPECT_EQ(times, 200) << value;
  for (const double value : {0.0, 0.25, 1.0})
    EXPECT_EQ(from_unit(even, to_unit(even, value)), value);
  Parameter layers = number("layers", 1, 64, true, 1);
  layers.kind = Parameter::Kind::integer;
  std::set<double> whole;
  for (int i = 0; i < 5000; ++i) whole.insert(from_unit(layers, (i + 0.5) / 5000));
  EXPECT_EQ(whole.size(), 64u);
  EXPECT_EQ(value_text(layers, 7), "7");
  EXPECT_EQ(value_text(real, 0.00123456789), "0.00123457");
}

TEST(Space, ConditionsDecideWhatAPointHas) {
  const Space space = {choice("name", {"cosine", "wsd"}),
                       when(number("cooldown", 0, 1), "name", "wsd"), number("lr", 1, 2)};
  const Point cosine = point_at(space, std::vector<double>{0.1, 0.5, 0.5});
  EXPECT_FALSE(present(cosine[1]));
  EXPECT_EQ(overrides_of(space, cosine), (std::vector<std::string>{"name=cosine", "lr=1.5"}));
  const Point wsd = point_at(space, std::vector<double>{0.9, 0.5, 0.5});
  EXPECT_EQ(to_string(space, wsd), "name=wsd cooldown=0.5 lr=1.5");
  Space gridded = space;
  gridded[1].points = 3, gridded[2].points = 2;
  EXPECT_EQ(grid(gridded).size(), (1u + 3u) * 2u) << "what is not part of a point is not varied";
  EXPECT_THROW(grid(space), Error);
}

TEST(Samplers, SobolIsScipys) {
  std::ifstream file(STROBE_SOURCE_DIR "/tests/data/statistics.txt");
  int cases = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name, equals;
    double index = 0, expected = 0;
    if (!(words >> name) || name != "sobol") continue;
    words >> index >> equals;
    for (size_t d = 0; words >> expected; ++d)
      EXPECT_EQ(sobol(static_cast<uint64_t>(index), d) * 0x1p-32, expected)
          << line.substr(0, 9) << d;
    ++cases;
  }
  EXPECT_EQ(cases, 4);
  EXPECT_THROW(sobol(1, sobol_dimensions()), Error);
}

TEST(Samplers, ScramblingKeepsSobolEvenlySpread) {
  for (const uint64_t seed : {0u, 7u})
    for (size_t d = 0; d < 8; ++d) {
      std::set<int> cells;
      for (uint64_t i = 0; i < 64; ++i) {
        std::vector<double> unit(8);
        sobol_point(i, seed, unit);
        cells.insert(static_cast<int>(unit[d] * 64));
      }
      EXPECT_EQ(cells.size(), 64u) << "one point in each interval";
    }
  EXPECT_NE(owen_scramble(0, 1, 0), owen_scramble(0, 2, 0));
  EXPECT_EQ(owen_scramble(5, 1, 3), owen_scramble(5, 1, 3));
}

// The best of a search of `space` for the least `value`.
template <class Value>
double best_of(const Space& space, const SamplerSpec& sampler, int trials, Value value) {
  std::vector<Observation> history;
  double best = INFINITY;
  for (int i = 0; i < trials; ++i) {
    const Point point = *propose(space, sampler, static_cast<uint64_t>(i), history);
    history.push_back({point, false, 0, value(point)});
    best = std::min(best, history.back().value);
  }
  return best;
}

TEST(Samplers, TpeFindsWhatIsGoodInEveryBranch) {
  const Space space = {choice("kind", {"a", "b", "c"}), when(number("x", -5, 5), "kind", "b"),
                       when(number("y", 1e-4, 1, true), "kind", "c"), number("z", 0, 8, false, 1)};
  const auto value = [](const Point& p) {
    const double rest = std::abs(p[3] - 6) * 0.2;
    if (p[0] == 0) return 2.0 + rest;
    return (p[0] == 1 ? std::abs(p[1] - 2) : 0.5 + std::abs(std::log10(p[2]) + 2)) + rest;
  };
  double tpe = 0, random = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    tpe += best_of(space, {.name = "tpe", .seed = seed}, 60, value);
    random += best_of(space, {.name = "random", .seed = seed}, 60, value);
  }
  EXPECT_LT(tpe / 20, 0.3);
  EXPECT_LT(tpe, 0.7 * random);
}

TEST(Samplers, AreFunctionsOfWhatIsKnown) {
  const Space space = {number("x", 0, 1), number("y", 0, 1)};
  std::vector<Observation> history;
  for (int i = 0; i < 12; ++i) history.push_back({{0.05 * i, 0.5}, false, 0, 1.0 * i});
  for (const std::string name : {"random", "sobol", "tpe"}) {
    const SamplerSpec sampler{.name = name, .seed = 3};
    EXPECT_EQ(propose(space, sampler, 12, history), propose(space, sampler, 12, history));
    EXPECT_NE(propose(space, sampler, 12, history), propose(space, sampler, 13, history));
  }
}

TEST(Samplers, WorkersSideBySideDoNotTryTheSame) {
  const Space space = {number("x", 0, 1)};
  std::vector<Observation> history;
  for (int i = 0; i < 20; ++i) history.push_back({{i / 20.0}, false, 0, std::abs(i / 20.0 - 0.3)});
  const auto spread = [&](bool known) {
    std::vector<Observation> all = history;
    double least = 1, greatest = 0;
    for (uint64_t i = 20; i < 32; ++i) {
      const Point point = *propose(space, {.name = "tpe"}, i, all);
      if (known) all.push_back({point, true, 0, 0});
      least = std::min(least, point[0]), greatest = std::max(greatest, point[0]);
    }
    return greatest - least;
  };
  EXPECT_GT(spread(true), spread(false)) << "what runs counts as bad until it is known";
}

TEST(Samplers, TpeTriesNoPointTwiceWhereOthersAreLeft) {
  const Space space = {choice("length", {"1", "2", "3", "4"}),
                       choice("batch", {"1", "2", "3", "4"})};
  std::vector<Observation> history;
  std::set<Point> seen;
  for (uint64_t i = 0; i < 12; ++i) {
    const Point point = *propose(space, {.name = "tpe", .startup = 4}, i, history);
    seen.insert(point);
    history.push_back({point, false, 0, std::abs(point[0] - 1) + std::abs(point[1] - 2)});
  }
  EXPECT_EQ(seen.size(), 12u);
}

TEST(Samplers, AGridEnds) {
  const Space space = {choice("a", {"x", "y"}), choice("b", {"1", "2"})};
  const SamplerSpec sampler{.name = "grid"};
  std::set<Point> points;
  for (uint64_t i = 0; i < 4; ++i) points.insert(*propose(space, sampler, i, {}));
  EXPECT_EQ(points.size(), 4u);
  EXPECT_FALSE(propose(space, sampler, 4, {}));
}

// A study of one number, played through: what `value` says is what a run would give.
class Search : public testing::Test {
 protected:
  Search() {
    study_.space = {number("lr", 0, 1)};
    study_.arms = {StudyArm{}};
    study_.seeds = {1};
    study_.trials = 9;
    study_.sampler.name = "random";
    study_.pruner.eta = 3;
  }
  // Runs jobs with `workers` processes, each a rung or a whole run at a time; returns the trials.
  std::vector<Trial> play(size_t workers = 1) {
    std::vector<Trial> trials;
    std::vector<int64_t> busy(workers, -1);
    for (int guard = 0; guard < 10000; ++guard) {
      bool done = true;
      for (size_t w = 0; w < workers; ++w) {
        if (busy[w] >= 0) {
          finish(trials, busy[w], w);
          if (owner(trials, busy[w]) != fmt::format("{}", w)) busy[w] = -1;
          done = false;
          continue;
        }
        const Job job = next_job(study_, trials, 0, [](const std::string&) { return true; });
        for (const int64_t number : job.close) {
          trials[static_cast<size_t>(number)].state = TrialState::pruned;
          done = false;
        }
        if (job.kind != Job::Kind::run) {
          done = done && job.kind == Job::Kind::done;
          continue;
        }
        done = false;
        busy[w] = job.trial;
        if (job.fresh) {
          busy[w] = static_cast<int64_t>(trials.size());
          Trial trial;
          trial.id = trial.number = busy[w];
          for (size_t i = 0; i < job.fresh->space.size(); ++i)
            if (present(job.fresh->point[i]))
              trial.params[job.fresh->space[i].name] = job.fresh->point[i];
          for (const auto& [key, value] : job.fresh->attrs) trial.attrs[key] = value;
          trials.push_back(trial);
        }
        trials[static_cast<size_t>(busy[w])].system_attrs[kWorkerAttr] = fmt::format("{}", w);
      }
      if (done) return trials;
    }
    ADD_FAILURE() << "never done";
    return trials;
  }
  static std::string owner(const std::vector<Trial>& trials, int64_t number) {
    const Trial& trial = trials[static_cast<size_t>(number)];
    return trial.ended() ? "" : trial.system_attrs.at(kWorkerAttr);
  }
  void finish(std::vector<Trial>& trials, int64_t number, size_t) {
    Trial& trial = trials[static_cast<size_t>(number)];
    double value = trial.params.count("lr") ? trial.params["lr"] : 0.9;
    if (seeds_disagree_ && trial.attr("seed") == "2") value = 1 - value;
    if (failing_.count(number) && (crash_at_once_ || study_.pruner.rungs.empty())) {
      trial.state = TrialState::failed;
      return;
    }
    trial.attrs["share"] = "1";
    trial.attrs["tokens"] = "100";
    if (trial.attr("phase") == "search")
      for (const int64_t percent : rung_percents(study_))
        if (!trial.rungs.count(percent)) {
          trial.rungs[percent] = value;
          const Verdict verdict = after_rung(study_, trials, trial, percent, value);
          if (verdict == Verdict::wait) trial.system_attrs[kWorkerAttr] = "";
          if (verdict == Verdict::prune) trial.state = TrialState::pruned;
          return;
        }
    trial.state = failing_.count(number) ? TrialState::failed : TrialState::complete;
    trial.value = value;
  }
  static int count(const std::vector<Trial>& trials, TrialState state,
                   const std::string& phase = "search") {
    int out = 0;
    for (const Trial& trial : trials) out += trial.state == state && trial.attr("phase") == phase;
    return out;
  }

  StudyFile study_;
  std::set<int64_t> failing_;
  bool seeds_disagree_ = false, crash_at_once_ = false;
};

TEST_F(Search, EndsAfterItsTrials) {
  for (const size_t workers : {1u, 4u}) {
    const std::vector<Trial> trials = play(workers);
    EXPECT_EQ(count(trials, TrialState::complete), 9);
    EXPECT_EQ(trials.size(), 9u);
  }
}

TEST_F(Search, ConfirmsTheBestAndTheBaseOnFreshSeeds) {
  study_.confirm.seeds = {101, 102};
  study_.confirm.base = true;
  for (const size_t workers : {1u, 3u}) {
    const std::vector<Trial> trials = play(workers);
    EXPECT_EQ(count(trials, TrialState::complete, "confirm"), 4);
    const std::string best = candidates(trials, study_.arms[0])[0].name;
    EXPECT_TRUE(trial_of(trials, "confirm", best, 101));
    EXPECT_TRUE(trial_of(trials, "confirm", "base", 102));
    EXPECT_EQ(trial_of(trials, "confirm", best, 101)->params,
              trial_of(trials, "search", best, 1)->params);
  }
}

TEST_F(Search, EveryArmHasAsManyTrials) {
  study_.arms = {{"a", {}, {}}, {"b", {}, {}}, {"c", {}, {}}};
  study_.total_tokens = 2050, study_.tokens = 100, study_.trials = 0;
  const std::vector<Trial> trials = play(2);
  std::map<std::string, int> arms;
  for (const Trial& trial : trials) ++arms[trial.attr("arm")];
  EXPECT_LE(trials.size(), 20u) << "the budget holds";
  EXPECT_GE(trials.size(), 19u);
  EXPECT_LE(std::abs(arms["a"] - arms["c"]), 1);
}

TEST_F(Search, TheBudgetKeepsWhatConfirmingCosts) {
  study_.trials = 0, study_.tokens = 100, study_.total_tokens = 1000;
  study_.confirm.seeds = {101, 102, 103};
  const std::vector<Trial> trials = play();
  EXPECT_EQ(count(trials, TrialState::complete), 7);
  EXPECT_EQ(count(trials, TrialState::complete, "confirm"), 3);
}

TEST_F(Search, ABudgetEndsThoughTrialsCrash) {
  study_.trials = 0, study_.tokens = 100, study_.total_tokens = 1000;
  study_.confirm.seeds = {101, 102, 103};
  for (int64_t i = 1; i < 1000; ++i) failing_.insert(i);
  std::vector<Trial> trials = play();
  EXPECT_EQ(trials.size(), 7u + 3u) << "a crash counts as the run it was to be";
  study_.pruner.name = "asha", study_.pruner.rungs = {0.25}, crash_at_once_ = true;
  trials = play();
  EXPECT_EQ(count(trials, TrialState::failed), 24) << "or as its first rung";
}

TEST_F(Search, HalvingKeepsTheBestThirdOfEachRung) {
  study_.pruner.name = "halving", study_.pruner.rungs = {0.1, 0.3};
  for (const size_t workers : {1u, 4u}) {
    const std::vector<Trial> trials = play(workers);
    std::map<size_t, int> by_rungs;
    std::vector<double> values;
    for (const Trial& trial : trials) {
      ++by_rungs[trial.rungs.size() + (trial.state == TrialState::complete)];
      values.push_back(trial.params.at("lr"));
    }
    EXPECT_EQ(by_rungs[1], 6) << workers;
    EXPECT_EQ(by_rungs[2], 2) << workers;
    EXPECT_EQ(by_rungs[3], 1) << workers;
    EXPECT_EQ(candidates(trials, study_.arms[0])[0].value,
              *std::min_element(values.begin(), values.end()));
  }
}

TEST_F(Search, SomePointIsConfirmedThoughEverySeedPromotesOthers) {
  study_.seeds = {1, 2}, study_.confirm.seeds = {101}, seeds_disagree_ = true;
  for (const char* pruner : {"halving", "asha"}) {
    study_.pruner.name = pruner, study_.pruner.rungs = {0.3};
    const std::vector<Trial> trials = play();
    EXPECT_EQ(count(trials, TrialState::complete, "confirm"), 1) << pruner;
  }
}

TEST_F(Search, AshaPromotesWithoutWaiting) {
  study_.pruner.name = "asha", study_.pruner.rungs = {0.1, 0.3}, study_.trials = 27;
  for (const size_t workers : {1u, 4u}) {
    const std::vector<Trial> trials = play(workers);
    EXPECT_EQ(trials.size(), 27u);
    const int complete = count(trials, TrialState::complete);
    EXPECT_GE(complete, 3);
    EXPECT_LE(complete, 8);
    EXPECT_EQ(count(trials, TrialState::pruned), 27 - complete);
  }
}

TEST_F(Search, TheMedianStopsWhatIsWorse) {
  study_.pruner.name = "median", study_.pruner.rungs = {0.5}, study_.trials = 20;
  const std::vector<Trial> trials = play();
  const int pruned = count(trials, TrialState::pruned);
  EXPECT_GT(pruned, 4);
  EXPECT_LT(pruned, 16);
  for (size_t i = 0; i < 4; ++i)
    EXPECT_EQ(trials[i].state, TrialState::complete) << "the first have no median";
}

TEST_F(Search, RungsOnTheWayAreJudgedAtOnce) {
  study_.pruner.name = "asha", study_.pruner.complete = false, study_.pruner.rungs = {0.3};
  std::vector<Trial> trials(9);
  for (size_t i = 0; i < trials.size(); ++i) {
    trials[i].number = static_cast<int64_t>(i);
    trials[i].attrs = {{"phase", "search"}, {"arm", ""}, {"seed", "1"}};
    if (i) trials[i].rungs[30] = static_cast<double>(i);
  }
  EXPECT_EQ(after_rung(study_, trials, trials[0], 30, 2.5), Verdict::go_on);
  EXPECT_EQ(after_rung(study_, trials, trials[0], 30, 4.5), Verdict::prune);
}

TEST_F(Search, WhatADeadProcessLeftIsTakenOver) {
  std::vector<Trial> trials;
  const Job first = next_job(study_, trials, 0, [](const std::string&) { return true; });
  Trial trial;
  for (const auto& [key, value] : first.fresh->attrs) trial.attrs[key] = value;
  trial.params["lr"] = first.fresh->point[0];
  trial.system_attrs[kWorkerAttr] = "dead";
  trials.push_back(trial);
  const Job job = next_job(study_, trials, 0, [](const std::string& id) { return id != "dead"; });
  EXPECT_EQ(job.kind, Job::Kind::run);
  EXPECT_EQ(job.trial, 0);
  EXPECT_TRUE(next_job(study_, trials, 0, [](const std::string&) { return true; }).fresh);
}

TEST_F(Search, AFailedPointCountsAsTheWorst) {
  failing_ = {0, 1, 2};
  study_.confirm.seeds = {101};
  const std::vector<Trial> trials = play();
  EXPECT_EQ(count(trials, TrialState::failed), 3);
  EXPECT_EQ(candidates(trials, study_.arms[0]).size(), 6u);
}

}  // namespace
}  // namespace strobe
