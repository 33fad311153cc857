#include "strobe/report/study_analysis.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/error.h"
#include "strobe/report/conclusions.h"
#include "strobe/report/outcomes.h"
#include "strobe/report/search_analysis.h"
#include "strobe/report/study_factors.h"

namespace strobe {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// A folder that names none we know is of a later version: its validation loss is shown.
const OutcomeKind& outcome_of(const StudyRecord& study) {
  const OutcomeKind* kind = find_outcome(study.outcome);
  return kind ? *kind : outcome_kinds()[0];
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

ComparisonResult compare(const ArmResult& arm, const ArmResult& reference) {
  std::vector<double> a, b;
  for (size_t s = 0; s < arm.runs.size(); ++s)
    if (std::isfinite(arm.runs[s].loss) && std::isfinite(reference.runs[s].loss))
      a.push_back(reference.runs[s].loss), b.push_back(arm.runs[s].loss);
  const std::vector<double> differences = paired_differences(a, b);
  auto [difference, p] = infer_mean(differences);
  if (arm.lost() + reference.lost() > 0) p = kNan;  // nothing is claimed of survivors
  return {arm.name, reference.name, difference, probability_of_superiority(b, a), p, p};
}

// A run that is still to come, or to go on, has not missed a target.
bool has_ended(const std::optional<RunRecord>& run) {
  if (!run) return false;
  const std::string& state = run->result.state;
  return state == "finished" || state == "diverged" || state == "failed";
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
      if (!has_ended(run)) continue;
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
    for (size_t s = 0; s < study.seeds.size(); ++s) {
      if (!std::ranges::all_of(study.arms,
                               [&](const ArmRecord& arm) { return has_ended(arm.runs[s]); }))
        continue;
      for (size_t a = 0; a < study.arms.size(); ++a)
        times[a].push_back(reach(*study.arms[a].runs[s], study.outcome, target).seconds);
    }
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
  if (study.search && study.search->torn > 0)
    out.notes.push_back(fmt::format(
        "journal.log ends in {} bytes that are no whole line: they are being written, or their "
        "writer was killed. They are left out.",
        study.search->torn));
  for (size_t a = 0; a < study.arms.size(); ++a)
    for (size_t s = 0; s < study.seeds.size(); ++s) {
      const SeedResult& run = out.arms[a].runs[s];
      if (!run.finished())
        out.notes.push_back(fmt::format(
            "{} is {}; it is left out of every figure{}.", run.folder, run.state,
            has_ended(study.arms[a].runs[s]) ? " but the targets, which it missed" : ""));
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
  add_effects(study, out);
  for (const ArmResult& arm : out.arms) {
    losses.push_back(arm.lost() ? kNan : arm.loss.estimate), seconds.push_back(arm.seconds);
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
    if (std::isfinite(arm.loss.estimate) && (!best || arm.ranks_before(*best))) best = &arm;
  }
  return best;
}

StudyResult analyse_study(const std::string& folder) { return analyse(read_study_record(folder)); }

}  // namespace strobe
