#include "strobe/study/set_up.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "strobe/config/load.h"
#include "strobe/core/clock.h"
#include "strobe/core/error.h"
#include "strobe/report/statistics.h"
#include "strobe/study/child.h"
#include "strobe/study/words.h"
#include "strobe/train/progress_line.h"
#include "strobe/train/run_data.h"
#include "strobe/train/run_schedules.h"

namespace strobe {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

// Steps that are timed, and so often while the machine is too busy with something else: of arms
// that are to have equal time, and where a guess is enough.
constexpr const char* kTimedSteps = "4";
constexpr int kBusyAttempts = 5;
constexpr const char* kGuessedSteps = "1";

}  // namespace

ArmPlan SetUp::time_arm(const StudyArm& arm, const std::string& vocab, bool guess) const {
  if (guess) say("timing a step ...\n");
  const double begin = steady_seconds();
  const auto late = [&] { return guess && steady_seconds() - begin > options_.guess_seconds; };
  ChildResult timed;
  Json json;
  bool busy = true;
  for (int attempt = 0; attempt < (guess ? 1 : kBusyAttempts) && busy; ++attempt) {
    timed = run_child(
        Words{options_.program, "bench", "step", runs_.recipe()} + arm.overrides +
            Words{"--steps", guess ? kGuessedSteps : kTimedSteps, "--vocab", vocab, "--json"},
        /*capture=*/true, [&] { return runs_.stopped() || late(); });
    if (runs_.stopped()) fail("study: stopped while timing; nothing was started");
    if (timed.status != 0 && late())
      fail("study: to time one step takes more than {:g} s", options_.guess_seconds);
    json = Json::parse(timed.output, nullptr, false);
    busy = json.is_object() && json.contains("busy") && json["busy"] == true;
  }
  const std::string what = arm.name.empty() ? "a step" : fmt::format("the arm '{}'", arm.name);
  const auto positive = [&](const char* key) {
    const double value = json.is_object() && json.contains(key) && json[key].is_number()
                             ? json[key].get<double>()
                             : 0;
    if (timed.status != 0 || !(value > 0))
      fail("study: timing {} failed (exit status {}, no {})", what, timed.status, key);
    return value;
  };
  const double rate = positive("tokens_per_second");
  if (busy)
    say("the machine is busy with something else: {} was timed under that load, at {:.0f} "
        "tokens/s\n",
        what, rate);
  const Config config = load_config(runs_.recipe(), arm.overrides).config;
  return {0, rate, rate * positive("step_ms") / 1e3, !RunSchedules::varies_batch(config)};
}

std::string SetUp::vocab() const {
  return fmt::format(
      "{}", data_facts(load_config(runs_.recipe(), study_.arms[0].overrides).config).vocab);
}

// What the seeds can resolve, from the spread that the study file states.
void SetUp::say_precision() const {
  const std::vector<int64_t>& seeds = study_.searches() ? study_.confirm.seeds : study_.seeds;
  const auto n = static_cast<double>(seeds.size());
  if (n < 2)
    return say("with {} there is no interval: differences cannot be resolved\n",
               n == 1 ? "one seed" : "no seeds to confirm on");
  // The first of so many comparisons must pass a level divided by their number (Holm 1979).
  const auto factor = [&](double comparisons) {
    return student_t_quantile(1 - 0.025 / comparisons, n - 1) / std::sqrt(n);
  };
  const auto most =
      static_cast<double>(study_.compare.empty() ? study_.arms.size() - 1 : study_.compare.size());
  const double unit = study_.noise > 0 ? study_.noise : 1;
  const std::string corrected =
      most > 1
          ? fmt::format(", the first of {:.0f} comparisons from {:.3g}", most, factor(most) * unit)
          : "";
  if (study_.noise > 0)
    return say(
        "with {:.0f} seeds differences of about {:.3g} and more can be resolved{} ({}; 'noise' "
        "says "
        "that they have a standard deviation of {:g} over seeds)\n",
        n, factor(1) * unit, corrected, study_.outcome, study_.noise);
  say("with {:.0f} seeds differences can be resolved from about {:.2f} times their standard "
      "deviation over seeds{}: {:.3f} where that is 0.01; 'noise = 0.01' in the study "
      "file states it once it is known\n",
      n, factor(1), corrected, 0.01 * factor(1));
}

// How many runs a search is, and how long.
void SetUp::plan_search() const {
  double points = 0;     // of an arm
  bool endless = false;  // but for a budget
  for (const StudyArm& arm : study_.arms) {
    const Space space = study_.space_of(arm);
    const bool whole = study_.sampler.name == "grid";
    const auto size = static_cast<double>(whole ? grid(space).size() : all_points(space).size());
    const auto most = static_cast<double>(study_.trials);
    if (size > 0 && (most == 0 ? !whole : size < most))
      say("{}the space has {:.0f} points, and each is tried once\n",
          arm.name.empty() ? "" : fmt::format("of the arm '{}' ", arm.name), size);
    endless = endless || (size == 0 && most == 0);
    points += size == 0 || (most > 0 && most < size) ? most : size;
  }
  points /= static_cast<double>(study_.arms.size());
  if (endless) points = 0;
  const auto arms = static_cast<double>(study_.arms.size());
  const double confirming = study_.confirming_runs();
  // In whole runs.
  double shares = 1;
  const PrunerSpec& pruner = study_.pruner;
  if (pruner.complete && !pruner.rungs.empty()) {
    double going = 1;
    shares = 0;
    for (const double rung : pruner.rungs) {
      shares += going * rung;
      if (pruner.name == "halving" || pruner.name == "asha") going /= pruner.eta;
      if (pruner.name == "median") going *= 0.5;
    }
    shares += going;
  }
  const double searching = points * arms * static_cast<double>(study_.seeds.size()) * shares;
  say("{} by {}; {}\n",
      points > 0
          ? fmt::format(
                "{:.0f} trials{}{}", points * arms * static_cast<double>(study_.seeds.size()),
                study_.seeds.size() > 1
                    ? fmt::format(" ({:.0f} points x {} seeds)", points * arms, study_.seeds.size())
                    : "",
                shares != 1
                    ? fmt::format(
                          " (as long as {:.1f} whole runs, if the pruner stops its usual share)",
                          searching)
                    : "")
          : "trials",
      study_.sampler.name, study_.stopping_rule());
  if (confirming > 0) say("{:.0f} runs to confirm\n", confirming);
  double seconds = study_.seconds;
  if (options_.plan_only || (seconds > 0 && !fs::exists(folder_ + "/journal.log")))
    seconds = usual_seconds();
  double all = (searching + confirming) * seconds;
  if (study_.total_seconds > 0) {
    const double most = study_.total_seconds / kUsualOverhead;
    all = points > 0 ? std::min(all, most) : most;
  }
  say_cost(seconds, all);
  say_precision();
}

// The first arm in the middle of its space, or where else it can run.
StudyArm SetUp::usual_arm() const {
  StudyArm arm = study_.arms[0];
  arm.overrides = runs_.one_that_runs(study_, arm, "the first arm");
  return arm;
}

// The shortest run of a search has a step at least.
void SetUp::check_seconds(const ArmPlan& timed) const {
  const double step = timed.tokens_per_step / timed.tokens_per_second;
  const double least = study_.seconds * study_.first_share();
  if (least < step)
    fail("study: the shortest run, {:.3g} s, is less than one step, which takes {:.3g} s", least,
         step);
}

double SetUp::evaluation_seconds(const RunSizes& sizes, const ArmPlan& timed) const {
  constexpr double kShare = 1.0 / 3;  // a forward pass, of a step's time
  return std::isfinite(sizes.evaluation_tokens)
             ? kShare * sizes.evaluation_tokens / timed.tokens_per_second
             : 0;
}

// Training and evaluations of a whole run like the usual arm; 0: that is not known.
double SetUp::usual_seconds() const {
  const StudyArm arm = usual_arm();
  ArmPlan timed;
  try {
    timed = time_arm(arm, vocab(), /*guess=*/true);
  } catch (const Error& error) {
    if (runs_.stopped()) throw;
    say("what it takes is not known: {}\n", error.what());
    return study_.seconds;
  }
  if (study_.seconds > 0) check_seconds(timed);
  const RunSizes sizes = runs_.sizes(arm.overrides, "the first arm");
  const double evaluations = evaluation_seconds(sizes, timed);
  if (study_.seconds > 0) return study_.seconds + evaluations;
  double tokens = study_.tokens;
  if (study_.flops > 0) {
    tokens = study_.flops * timed.tokens_per_step / sizes.flops_per_step;
  } else if (study_.tokens == 0) {
    const auto [key, value] = own_length(load_config(runs_.recipe(), arm.overrides).config);
    if (key == "train.seconds") return value + evaluations;
    tokens = key == "train.tokens"
                 ? value
                 : timed.tokens_per_step * (key == "train.steps" ? value : sizes.planned_steps);
  }
  return tokens > 0 ? tokens / timed.tokens_per_second + evaluations : 0;
}

// `seconds` of a run without its start, and of all of them; 0: not known.
void SetUp::say_cost(double seconds, double all) const {
  if (!(seconds > 0)) return;
  say("a whole run takes about {}", format_seconds(seconds * kUsualOverhead));
  if (all > 0) say(", the study about {} of one process", format_seconds(all * kUsualOverhead));
  say("\n");
}

// Seconds become steps or tokens once, so that the study can be repeated bit for bit.
StudyPlan SetUp::plan() const {
  StudyPlan plan;
  const size_t total = study_.arms.size() * study_.seeds.size();
  if (study_.searches()) return plan_search(), plan;
  if (study_.flops > 0) {
    say("{} runs of {:.3g} operations\n", total, study_.flops);
  } else if (study_.tokens > 0) {
    say("{} runs of {:.0f} tokens\n", total, study_.tokens);
  } else if (study_.seconds == 0) {
    say("{} runs of the recipe's own length\n", total);
  } else {
    const std::string file = folder_ + "/plan.json";
    if (fs::exists(file)) {
      plan = read_plan(study_, file);
    } else {
      say("timing {} arms, alternately ...\n", study_.arms.size());
      const std::string words = vocab();
      plan = make_plan(study_, [&](const StudyArm& arm) { return time_arm(arm, words); });
      write_plan(plan, file);
    }
    fmt::print("{}", to_string(plan, study_));
    if (plan.seconds > study_.seconds)
      fmt::print("runs are lengthened from {:.0f} s: {} tokens need it on this machine\n",
                 study_.seconds, static_cast<int64_t>(study_.min_tokens));
    const StudyArm& first = study_.arms[0];
    const double each =
        plan.seconds +
        evaluation_seconds(runs_.sizes(first.overrides, "the first arm"), plan.arms.at(first.name));
    say("{} runs of {:.0f} s of training each: about {} in all\n", total, plan.seconds,
        format_seconds(static_cast<double>(total) * each * kUsualOverhead));
  }
  if (options_.plan_only && study_.seconds == 0) {
    const double seconds = usual_seconds();
    say_cost(seconds, static_cast<double>(total) * seconds);
  }
  if (options_.plan_only) say_precision();
  return plan;
}

double SetUp::flops_per_token(const Words& overrides, const std::string& what) const {
  const RunSizes sizes = runs_.sizes(overrides, what);
  return sizes.flops_per_step / sizes.tokens_per_step;
}

}  // namespace strobe
