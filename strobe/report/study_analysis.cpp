#include "strobe/report/study_analysis.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/error.h"
#include "strobe/report/conclusions.h"
#include "strobe/report/outcomes.h"
#include "strobe/report/search_analysis.h"

namespace strobe {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// A folder that names none we know is of a later version: its validation loss is shown.
const OutcomeKind& outcome_of(const StudyRecord& study) {
  const OutcomeKind* kind = find_outcome(study.outcome);
  return kind ? *kind : outcome_kinds()[0];
}

// Factors that vary; one of a single level is only a name.
std::vector<FactorRecord> varying(const StudyRecord& study) {
  std::vector<FactorRecord> out;
  for (const FactorRecord& factor : study.factors)
    if (factor.levels.size() > 1) out.push_back(factor);
  return out;
}

SeedResult seed_result(const ArmRecord& arm, const StudyRecord& study, size_t i) {
  SeedResult out;
  out.seed = study.seeds[i];
  out.folder = fmt::format("runs/{}-s{}", arm.folder, out.seed);
  out.state = arm.runs[i] ? arm.runs[i]->result.state : "missing";
  const RunResult result = out.finished() ? arm.runs[i]->result : RunResult{};
  const auto figure = [&](double value) { return out.finished() ? value : kNan; };
  out.loss = figure(result.*outcome_of(study).of_run);
  out.bits_per_byte = figure(result.bits_per_byte);
  out.word_perplexity = figure(result.word_perplexity);
  out.tokens = figure(result.tokens);
  out.seconds = figure(result.seconds);
  out.tokens_per_second = figure(result.tokens_per_second);
  out.peak_bytes = figure(result.peak_bytes > 0 ? result.peak_bytes : result.planned_bytes);
  return out;
}

// The figures of an arm's finished runs.
std::vector<double> figures(const ArmResult& arm, double SeedResult::*figure) {
  std::vector<double> out;
  for (const SeedResult& run : arm.runs)
    if (run.finished() && std::isfinite(run.*figure)) out.push_back(run.*figure);
  return out;
}

void add_stability(const ArmRecord& arm, ArmResult& out) {
  out.deviation = deviation_interval(figures(out, &SeedResult::loss));
  std::vector<double> clipped, losses, norms, steps;
  for (const auto& run : arm.runs) {
    if (!run) continue;
    out.diverged += run->result.state == "diverged";
    out.failed += run->result.state == "failed";
    const RunStability found = run_stability(*run);
    if (found.steps == 0) continue;
    if (std::isfinite(found.clipped)) clipped.push_back(found.clipped);
    losses.push_back(found.loss_spikes), norms.push_back(found.norm_spikes);
    steps.push_back(static_cast<double>(found.steps));
  }
  out.clipped = mean(clipped), out.loss_spikes = mean(losses), out.norm_spikes = mean(norms);
  out.logged_steps = mean(steps);
}

AverageResult average_result(const ArmRecord& arm, double RunResult::*averaged) {
  std::vector<double> losses, differences;
  for (const auto& run : arm.runs)
    if (run && run->result.state == "finished" && std::isfinite(run->result.*averaged)) {
      losses.push_back(run->result.*averaged);
      differences.push_back(run->result.*averaged - run->result.loss);
    }
  return {mean_interval(losses), mean_interval(differences)};
}

ArmResult arm_result(const ArmRecord& arm, const StudyRecord& study) {
  ArmResult out{};
  out.name = arm.name, out.point = arm.folder, out.arm = arm.arm;
  out.levels = arm.levels, out.overrides = arm.overrides;
  for (size_t i = 0; i < study.seeds.size(); ++i) out.runs.push_back(seed_result(arm, study, i));
  out.loss = mean_interval(figures(out, &SeedResult::loss));
  out.bits_per_byte = mean_interval(figures(out, &SeedResult::bits_per_byte));
  out.word_perplexity = mean_interval(figures(out, &SeedResult::word_perplexity));
  out.ema = average_result(arm, &RunResult::loss_ema);
  out.lawa = average_result(arm, &RunResult::loss_lawa);
  out.tokens = mean(figures(out, &SeedResult::tokens));
  out.seconds = mean(figures(out, &SeedResult::seconds));
  out.tokens_per_second = mean(figures(out, &SeedResult::tokens_per_second));
  out.peak_bytes = mean(figures(out, &SeedResult::peak_bytes));
  add_stability(arm, out);
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

ComparisonResult compare(const ArmResult& arm, const ArmResult& reference) {
  std::vector<double> a, b;
  for (size_t s = 0; s < arm.runs.size(); ++s)
    if (std::isfinite(arm.runs[s].loss) && std::isfinite(reference.runs[s].loss))
      a.push_back(reference.runs[s].loss), b.push_back(arm.runs[s].loss);
  const std::vector<double> differences = paired_differences(a, b);
  const auto [difference, p] = infer_mean(differences);
  return {arm.name, reference.name, difference, probability_of_superiority(b, a), p, p};
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

std::optional<TimeSplit> time_split(const StudyRecord& study, double target) {
  const std::optional<Factorial> cells = factorial_of(study);
  if (!cells) return std::nullopt;
  const auto logs = [&](auto part) {
    return whole_seeds(*cells, study.seeds.size(), [&](size_t arm, size_t s) {
      const auto& run = study.arms[arm].runs[s];
      return run ? std::log(part(reach(*run, study.outcome, target))) : kNan;
    });
  };
  const FactorialData seconds = logs([](const Reached& r) { return r.seconds; });
  if (seconds.values.empty()) return std::nullopt;
  return TimeSplit{factorial_contrasts(seconds),
                   factorial_contrasts(logs([](const Reached& r) { return r.steps; })),
                   factorial_contrasts(logs([](const Reached& r) { return r.seconds / r.steps; })),
                   seconds.values.size()};
}

TargetResult target_result(const StudyRecord& study, double target, bool stated) {
  TargetResult out{target, stated, {}, time_split(study, target)};
  for (const ArmRecord& arm : study.arms) {
    std::vector<double> seconds, tokens, steps, flops;
    ArmTarget at{.arm = arm.name,
                 .reached = 0,
                 .runs = 0,
                 .seconds = kNan,
                 .tokens = kNan,
                 .steps = kNan,
                 .flops = kNan};
    for (const auto& run : arm.runs) {
      if (!run) continue;
      const Reached found = reach(*run, study.outcome, target);
      ++at.runs, at.reached += found.reached();
      seconds.push_back(found.seconds), tokens.push_back(found.tokens);
      steps.push_back(found.steps), flops.push_back(found.flops);
    }
    at.seconds = quantile(seconds, 0.5), at.tokens = quantile(tokens, 0.5);
    at.steps = quantile(steps, 0.5), at.flops = quantile(flops, 0.5);
    out.arms.push_back(at);
  }
  return out;
}

void add_targets(const StudyRecord& study, StudyResult& out) {
  if (out.arms.empty()) return;
  std::vector<double> targets = study.targets;
  const bool stated = !targets.empty();
  if (!stated && std::isfinite(out.arms[0].loss.estimate))
    targets.push_back(out.arms[0].loss.estimate);
  std::vector<std::vector<double>> times(study.arms.size());
  for (const double target : targets) {
    out.targets.push_back(target_result(study, target, stated));
    for (size_t a = 0; a < study.arms.size(); ++a)
      for (const auto& run : study.arms[a].runs)
        times[a].push_back(run ? reach(*run, study.outcome, target).seconds
                               : std::numeric_limits<double>::infinity());
  }
  if (!targets.empty() && study.arms.size() > 1) out.profile = performance_profile(times);
  if (out.profile && out.profile->instances == 0) out.profile.reset();
}

std::optional<EqualTokensResult> equal_tokens_result(const StudyRecord& study) {
  if (study.equal_tokens.size() != 2) return std::nullopt;
  EqualTokensResult out;
  out.factor = study.equal_tokens_factor;
  out.largest_training_difference = kNan;
  for (size_t i = 0; i < 2; ++i) {
    const auto& [level, run] = study.equal_tokens[i];
    if (run.result.state != "finished") return std::nullopt;
    out.levels[i] = level;
    out.loss[i] = run.result.loss;
    out.tokens_per_second[i] = run.result.tokens_per_second;
    out.peak_bytes[i] =
        run.result.peak_bytes > 0 ? run.result.peak_bytes : run.result.planned_bytes;
  }
  const RunRecord &a = study.equal_tokens[0].second, &b = study.equal_tokens[1].second;
  if (a.result.tokens != b.result.tokens || a.training.size() != b.training.size())
    return std::nullopt;
  out.tokens = a.result.tokens, out.steps = a.result.steps;
  for (size_t i = 0; i < a.training.size(); ++i)
    out.largest_training_difference = std::fmax(out.largest_training_difference,
                                                std::abs(a.training[i].loss - b.training[i].loss));
  return out;
}

void add_notes(const StudyRecord& study, StudyResult& out) {
  for (size_t a = 0; a < study.arms.size(); ++a)
    for (size_t s = 0; s < study.seeds.size(); ++s) {
      const SeedResult& run = out.arms[a].runs[s];
      if (!run.finished())
        out.notes.push_back(
            fmt::format("{} is {}; it is left out of every figure.", run.folder, run.state));
      else if (!std::isfinite(run.loss))
        out.notes.push_back(fmt::format("{} finished without a {}; it is left out of those.",
                                        run.folder, out.noun));
      if (study.arms[a].runs[s])
        for (const std::string& note : study.arms[a].runs[s]->notes) out.notes.push_back(note);
    }
  if (out.factorial && out.factorial->seeds.size() < study.seeds.size())
    out.notes.push_back(
        fmt::format("Effects are over {} of {} seeds: those whose four runs finished.",
                    out.factorial->seeds.size(), study.seeds.size()));
}

}  // namespace

const RunRecord* first_run(const ArmRecord& arm) {
  for (const auto& run : arm.runs)
    if (run) return &*run;
  return nullptr;
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

std::vector<std::string> settings_that_differ(const RunRecord& a, const RunRecord& b) {
  static const std::string_view kNotSettings[] = {"name",          "seed",           "threads",
                                                  "train.steps",   "train.tokens",   "train.epochs",
                                                  "train.seconds", "schedule.record"};
  std::vector<std::string> out;
  for (const auto& [key, value] : a.config)
    if (std::find(std::begin(kNotSettings), std::end(kNotSettings), key) ==
            std::end(kNotSettings) &&
        value != value_of(b.config, key))
      out.push_back(key);
  return out;
}

StudyResult analyse(const StudyRecord& study) {
  StudyResult out;
  out.folder = study.path, out.name = study.name, out.question = study.question;
  out.seeds = study.seeds, out.seconds = study.seconds, out.text = study.text;
  out.outcome = study.outcome, out.stopping_rule = study.stopping_rule;
  out.noun = outcome_of(study).noun, out.unit = outcome_of(study).unit;
  for (const ArmRecord& arm : study.arms) out.arms.push_back(arm_result(arm, study));
  out.factorial = factorial_result(study, out.arms);
  out.compare_stated = !study.compare.empty();
  if (!out.compare_stated)
    for (size_t a = 1; a < out.arms.size(); ++a)
      out.comparisons.push_back(compare(out.arms[a], out.arms[0]));
  for (const auto& [arm, reference] : study.compare) {
    const auto at = [&](const std::string& name) {
      return std::find_if(out.arms.begin(), out.arms.end(),
                          [&](const ArmResult& a) { return a.name == name; });
    };
    if (at(arm) != out.arms.end() && at(reference) != out.arms.end())
      out.comparisons.push_back(compare(*at(arm), *at(reference)));
  }
  std::vector<double> p, losses, seconds, bytes;
  for (const ComparisonResult& c : out.comparisons) p.push_back(c.p);
  const std::vector<double> corrected = holm(p);
  for (size_t c = 0; c < corrected.size(); ++c) out.comparisons[c].corrected = corrected[c];
  out.effects = effects_result(study, out.arms);
  if (out.factorial && out.effects) correct(*out.effects, *out.factorial);
  for (const ArmResult& arm : out.arms) {
    losses.push_back(arm.loss.estimate), seconds.push_back(arm.seconds);
    bytes.push_back(arm.peak_bytes);
  }
  out.front_of_seconds = pareto_front(seconds, losses);
  out.front_of_memory = pareto_front(bytes, losses);
  add_targets(study, out);
  if (study.search) out.search = search_result(study);
  out.equal_tokens = equal_tokens_result(study);
  add_notes(study, out);
  conclude(study, out);
  return out;
}

const ArmResult* best_arm(const StudyResult& result, const std::string& wanted) {
  const auto named = [&](const ArmResult& arm) {
    return arm.name == wanted || arm.point == wanted;
  };
  const bool any = std::ranges::any_of(result.arms, named);
  const ArmResult* best = nullptr;
  for (const ArmResult& arm : result.arms) {
    if (!wanted.empty() && !(any ? named(arm) : arm.arm == wanted)) continue;
    if (std::isfinite(arm.loss.estimate) && (!best || arm.loss.estimate < best->loss.estimate))
      best = &arm;
  }
  return best;
}

StudyResult analyse_study(const std::string& folder) { return analyse(read_study_record(folder)); }

}  // namespace strobe
