#include "strobe/report/study_factors.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace strobe {

namespace {

// Factors that vary; one of a single level is only a name.
std::vector<FactorRecord> varying(const StudyRecord& study) {
  std::vector<FactorRecord> out;
  for (const FactorRecord& factor : study.factors)
    if (factor.levels.size() > 1) out.push_back(factor);
  return out;
}

using Cells = std::array<std::array<const ArmResult*, 2>, 2>;

// The ratio of a figure between the two levels of a factor, a geometric mean over the other one.
Interval level_ratio(const Cells& cells, const std::vector<size_t>& seeds, bool second,
                     double SeedResult::*figure) {
  std::array<std::vector<double>, 2> sides;
  for (const size_t s : seeds)
    for (size_t level = 0; level < 2; ++level) {
      const ArmResult& a = *(second ? cells[0][level] : cells[level][0]);
      const ArmResult& b = *(second ? cells[1][level] : cells[level][1]);
      sides[level].push_back(std::sqrt(a.runs[s].*figure * (b.runs[s].*figure)));
    }
  return ratio_interval(sides[0], sides[1]);
}

std::optional<FactorialResult> factorial_result(const StudyRecord& study,
                                                const std::vector<ArmResult>& arms) {
  const std::vector<FactorRecord> factors = varying(study);
  if (factors.size() != 2 || factors[0].levels.size() != 2 || factors[1].levels.size() != 2)
    return std::nullopt;
  Cells cells;
  for (size_t i = 0; i < 2; ++i)
    for (size_t j = 0; j < 2; ++j) {
      const ArmRecord* arm = arm_at(study, i, j);
      if (!arm) return std::nullopt;
      cells[i][j] = &arms[static_cast<size_t>(arm - study.arms.data())];
    }

  FactorialResult out;
  std::vector<size_t> seeds;
  std::vector<FactorialSeed> losses;
  for (size_t s = 0; s < study.seeds.size(); ++s) {
    FactorialSeed y;
    bool whole = true;
    for (size_t i = 0; i < 2; ++i)
      for (size_t j = 0; j < 2; ++j) {
        y[i][j] = cells[i][j]->runs[s].loss;
        whole = whole && std::isfinite(y[i][j]);
      }
    if (!whole) continue;
    seeds.push_back(s), losses.push_back(y), out.seeds.push_back(study.seeds[s]);
  }
  const FactorialEffects effects = factorial_effects(losses);
  out.interaction = effects.interaction;
  out.both = effects.both.interval, out.both_corrected = effects.both.p;
  for (size_t f = 0; f < 2; ++f) {
    FactorResult& factor = out.factors[f];
    factor.name = factors[f].name;
    factor.from = factors[f].levels[0], factor.to = factors[f].levels[1];
    factor.loss = f == 0 ? effects.first : effects.second;
    factor.loss_at = f == 0 ? effects.first_at : effects.second_at;
    factor.tokens_per_second = level_ratio(cells, seeds, f == 1, &SeedResult::tokens_per_second);
    factor.peak_bytes = level_ratio(cells, seeds, f == 1, &SeedResult::peak_bytes);
    factor.tokens = level_ratio(cells, seeds, f == 1, &SeedResult::tokens);
  }
  return out;
}

// The factorial that the factors make, still without values, and the arm of each of its cells.
struct Factorial {
  FactorialData data;
  std::vector<size_t> arms;
};
std::optional<Factorial> factorial_of(const StudyRecord& study) {
  Factorial out;
  FactorialData& data = out.data;
  for (const FactorRecord& factor : varying(study))
    data.factors.push_back(factor.name), data.levels.push_back(factor.levels);
  if (data.factors.empty() || data.factors.size() > 6 || study.search) return std::nullopt;
  for (size_t cell = 0; cell < data.cells(); ++cell) {
    std::vector<std::pair<std::string, std::string>> levels;
    for (size_t f = data.factors.size(), rest = cell; f-- > 0;) {
      levels.emplace_back(data.factors[f], data.levels[f][rest % data.levels[f].size()]);
      rest /= data.levels[f].size();
    }
    const auto arm = std::find_if(study.arms.begin(), study.arms.end(), [&](const ArmRecord& a) {
      return std::all_of(levels.begin(), levels.end(),
                         [&](const auto& l) { return value_of(a.levels, l.first) == l.second; });
    });
    if (arm == study.arms.end()) return std::nullopt;
    out.arms.push_back(static_cast<size_t>(arm - study.arms.begin()));
  }
  return out;
}

// value(arm, seed) of the seeds for which every cell has a finite one.
template <class Value>
FactorialData whole_seeds(const Factorial& cells, size_t seeds, Value value) {
  FactorialData out = cells.data;
  for (size_t s = 0; s < seeds; ++s) {
    std::vector<double> values;
    for (const size_t arm : cells.arms) values.push_back(value(arm, s));
    if (std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); }))
      out.values.push_back(std::move(values));
  }
  return out;
}

std::optional<EffectsResult> effects_result(const StudyRecord& study,
                                            const std::vector<ArmResult>& arms) {
  const std::optional<Factorial> cells = factorial_of(study);
  if (!cells) return std::nullopt;
  const FactorialData data = whole_seeds(
      *cells, study.seeds.size(), [&](size_t arm, size_t s) { return arms[arm].runs[s].loss; });
  return EffectsResult{factorial_contrasts(data), analysis_of_variance(data), data.values.size()};
}

// Of two factors of two levels the contrasts are the two main effects and the interaction.
void correct(const EffectsResult& effects, FactorialResult& out) {
  if (effects.contrasts.size() != 3) return;  // of no seed
  std::vector<double> p;
  for (size_t i = 0; i < 2; ++i) out.factors[i].corrected = effects.contrasts[i].corrected;
  out.interaction_corrected = effects.contrasts[2].corrected;
  for (const FactorialContrast& c : effects.contrasts) p.push_back(c.p);
  p.push_back(out.both_corrected);
  out.both_corrected = holm(p).back();
}

}  // namespace

void add_effects(const StudyRecord& study, StudyResult& out) {
  out.factorial = factorial_result(study, out.arms);
  out.effects = effects_result(study, out.arms);
  if (out.factorial && out.effects) correct(*out.effects, *out.factorial);
}

std::optional<TimeSplit> time_split(const StudyRecord& study, double target) {
  const std::optional<Factorial> cells = factorial_of(study);
  if (!cells) return std::nullopt;
  const auto logs = [&](auto part) {
    return whole_seeds(*cells, study.seeds.size(), [&](size_t arm, size_t s) {
      const auto& run = study.arms[arm].runs[s];
      return run ? std::log(part(reach(*run, study.outcome, target))) : NAN;
    });
  };
  const FactorialData seconds = logs([](const Reached& r) { return r.seconds; });
  if (seconds.values.empty()) return std::nullopt;
  return TimeSplit{factorial_contrasts(seconds),
                   factorial_contrasts(logs([](const Reached& r) { return r.steps; })),
                   factorial_contrasts(logs([](const Reached& r) { return r.seconds / r.steps; })),
                   seconds.values.size()};
}

const ArmRecord* arm_at(const StudyRecord& study, size_t first, size_t second) {
  const std::vector<FactorRecord> factors = varying(study);
  if (factors.size() != 2) return nullptr;
  for (const ArmRecord& arm : study.arms)
    if (value_of(arm.levels, factors[0].name) == factors[0].levels[first] &&
        value_of(arm.levels, factors[1].name) == factors[1].levels[second])
      return &arm;
  return nullptr;
}

}  // namespace strobe
