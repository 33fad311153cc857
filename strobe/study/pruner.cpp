#include "strobe/study/pruner.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/error.h"
#include "strobe/study/trials.h"

namespace strobe {

namespace {

// The median is of at least so many others.
constexpr size_t kFewestPeers = 4;

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

}  // namespace

const Trial* promoted(const StudyFile& study, const std::vector<Trial>& trials, const StudyArm& arm,
                      bool last) {
  for (const int64_t seed : study.seeds) {
    // Those of one seed are compared.
    Peers peers = searched(trials, arm);
    std::erase_if(peers,
                  [&](const Trial* t) { return t->attr("seed") != fmt::format("{}", seed); });
    const Trial* trial = nullptr;
    if (study.pruner.name == "asha") trial = promoted_by_asha(study, peers, last);
    if (study.pruner.name == "halving" && last) trial = promoted_by_halving(study, peers);
    if (trial) return trial;
  }
  return nullptr;
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

}  // namespace strobe
