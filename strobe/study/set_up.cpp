#include "strobe/study/set_up.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <tuple>

#include "strobe/config/load.h"
#include "strobe/core/clock.h"
#include "strobe/core/error.h"
#include "strobe/optim/unread.h"
#include "strobe/report/run_reader.h"
#include "strobe/report/statistics.h"
#include "strobe/study/child.h"
#include "strobe/study/sobol.h"
#include "strobe/study/words.h"
#include "strobe/train/progress_line.h"
#include "strobe/train/run_data.h"

namespace strobe {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

// Steps that are timed, and so often while the machine is too busy with something else: of arms
// that are to have equal time, and where a guess is enough.
constexpr const char* kTimedSteps = "4";
constexpr int kBusyAttempts = 5;
constexpr const char* kGuessedSteps = "1";
constexpr double kGuessSeconds = 40;  // beyond which a guess is not worth its time
// So many points of a space, the middle first, are tried for one that can run.
constexpr uint64_t kPointsTried = 6;

ChildResult dry_run(const StudyOptions& options, const std::string& recipe,
                    const Words& overrides) {
  return run_child(Words{options.program, "train", recipe} + overrides + options.overrides +
                       Words{"--dry-run", "--json"},
                   /*capture=*/true, options.stop, /*pass_errors_on=*/false);
}

// Sizes of a run, as a dry run prints them; nothing if the program does not.
Json sizes_of(const StudyOptions& options, const std::string& recipe, const Words& overrides,
              const std::string& what) {
  const ChildResult checked = dry_run(options, recipe, overrides);
  if (checked.status != 0 && !(options.stop && options.stop()))
    fail("study: {} cannot run: {}; nothing was started", what, checked.reason());
  return Json::parse(checked.output, nullptr, /*allow_exceptions=*/false);
}

// "optimizer.name=muon", unlike "model.layers=4" or "schedule.warmup=5 %".
bool sets_a_name(const std::string& override) {
  const size_t at = override.find('=');
  return at + 1 < override.size() && std::isalpha(static_cast<unsigned char>(override[at + 1]));
}

double size_at(const Json& sizes, const char* key) {
  if (!sizes.is_object() || !sizes.contains(key)) return NAN;
  const Json& value = sizes[key];
  return value.is_string() ? std::strtod(value.get<std::string>().c_str(), nullptr) : NAN;
}

// The shortest run of the study has a step at least.
void check_length(const StudyFile& study, const Json& sizes, const std::string& what) {
  const double share = study.first_share();
  for (const auto& [budget, key, unit] : {std::tuple(study.tokens, "tokens_per_step", "tokens"),
                                          {study.flops, "flops_per_step", "operations"}})
    if (const double step = size_at(sizes, key); budget > 0 && budget * share < step)
      fail("study: {}{:.6g} {} is less than one step of {}, which takes {:.6g} {}",
           share < 1 ? fmt::format("the first rung, {:g} % of the budget of ", 100 * share)
                     : "a budget of ",
           budget, unit, what, step, unit);
}

}  // namespace

// A run's length as the recipe has it: the key, and how much.
std::pair<std::string, double> own_length(const Config& config) {
  const TrainConfig& t = config.train;
  if (t.steps) return {"train.steps", static_cast<double>(*t.steps)};
  for (const auto& [key, value] : {std::pair("train.tokens", t.tokens),
                                   {"train.epochs", t.epochs},
                                   {"train.seconds", t.seconds}})
    if (value) return {key, *value};
  fail("study: the recipe has no length; give it one, or the study a budget");
}

// Overrides for the middle of the arm's space, or if that cannot run, for another point of it: one
// that cannot is a trial that fails.
Words SetUp::one_that_runs(const StudyArm& arm, const std::string& what) const {
  const Space space = study_.space_of(arm);
  std::vector<double> unit(space.size(), 0.5);
  std::string said;
  for (uint64_t attempt = 0; attempt < kPointsTried; ++attempt) {
    if (attempt > 0) sobol_point(attempt - 1, 0, unit);
    const Point point = point_at(space, unit);
    Words overrides = arm.overrides + overrides_of(space, point);
    const ChildResult tried = dry_run(options_, recipe_, overrides);
    if (tried.status == 0 || stopped()) return overrides;
    if (space.empty()) fail("study: {} cannot run: {}; nothing was started", what, tried.reason());
    if (said.empty()) said = fmt::format("at {}: {}", to_string(space, point), tried.reason());
  }
  fail("study: {} cannot run at any of {} points of the space, first {}; nothing was started", what,
       kPointsTried, said);
}

// Names that a choice is between are known: what is said of the choice's own key is no matter of
// sizes.
void SetUp::check_labels(const StudyArm& arm, std::set<std::string>& noted) const {
  const Space space = study_.space_of(arm);
  for (size_t i = 0; i < space.size(); ++i)
    for (size_t label = 0; label < space[i].choices.size(); ++label) {
      const Words& keys = space[i].choices[label].overrides;
      if (std::none_of(keys.begin(), keys.end(), sets_a_name)) continue;
      std::vector<double> unit(space.size(), 0.5);
      const auto choose = [&](size_t parameter, size_t at) {
        unit[parameter] = (static_cast<double>(at) + 0.5) / space[parameter].size();
      };
      choose(i, label);
      // And what it depends on.
      for (size_t of = i, j = i; j-- > 0;) {
        if (space[j].name != space[of].when) continue;
        for (size_t at = 0; at < space[j].choices.size(); ++at)
          if (space[j].choices[at].label == space[of].when_labels[0]) choose(j, at);
        of = j;
      }
      const Words overrides = arm.overrides + overrides_of(space, point_at(space, unit));
      const ChildResult tried = dry_run(options_, recipe_, overrides);
      if (stopped()) return;
      if (tried.status == 0) note_unread(arm, overrides, noted);
      const std::string reason = tried.reason();
      for (const std::string& key : keys)
        if (tried.status != 0 && reason.starts_with(key.substr(0, key.find('=')) + ":"))
          fail("study: '{}' of the space's '{}' cannot run: {}; nothing was started",
               space[i].choices[label].label, space[i].name, reason);
    }
}

// What an arm or its space sets in vain, once; the base recipe is for all arms, and each reads of
// it what it needs.
void SetUp::note_unread(const StudyArm& arm, const Words& overrides,
                        std::set<std::string>& noted) const {
  const LoadedConfig loaded = load_config(recipe_, overrides);
  std::vector<std::string> sentences = unread_keys(loaded.config, load_config("", overrides));
  for (std::string& more : inherited_betas(loaded, load_config(recipe_, {}).config))
    sentences.push_back(std::move(more));
  for (const std::string& sentence : sentences)
    if (noted.insert(sentence).second)
      fmt::print(stderr, "config: {}{}\n",
                 arm.name.empty() ? "" : fmt::format("in the arm '{}', ", arm.name), sentence);
}

// Keys set for every arm that none of them keeps.
void SetUp::note_overridden() const {
  for (const std::string& override : study_.overrides) {
    const std::string key = override.substr(0, override.find('='));
    if (std::ranges::all_of(study_.arms, [&](const StudyArm& arm) {
          return std::ranges::any_of(arm.overrides, [&](const std::string& own) {
            return own.substr(0, own.find('=')) == key;
          });
        }))
      fmt::print(stderr, "config: {} has no effect: every arm sets a {} of its own\n", override,
                 key);
  }
}

// Runs that can never give the outcome are not begun.
void SetUp::check_outcome(const StudyArm& arm, const Words& overrides,
                          const std::string& what) const {
  const Config config = load_config(recipe_, overrides).config;
  const bool labelled = !config.texts.train.empty();
  const std::string& data = labelled ? config.texts.train : config.data.path;
  if (study_.outcome.starts_with("val/") && !data_facts(config).has_valid)
    fail("study: the outcome is '{}', and {} has {}; nothing was started", study_.outcome, data,
         labelled ? "neither texts.valid nor texts.hold_out" : "no split 'valid'");
  const bool of_text = study_.outcome.ends_with("_perplexity") || study_.outcome.ends_with("_byte");
  if (labelled ? of_text : study_.outcome == "val/error")
    fail("study: the outcome is '{}', which runs on {} do not have; nothing was started",
         study_.outcome, labelled ? "labelled texts" : "a dataset");
  for (const auto& [outcome, key, off] :
       {std::tuple("val/loss_ema", "average.ema", config.average.ema == 0),
        {"val/loss_lawa", "average.lawa", config.average.lawa == 0}}) {
    bool varies = false;
    for (const Parameter& p : study_.space_of(arm)) {
      varies = varies || p.key == key;
      for (const Choice& choice : p.choices)
        for (const std::string& one : choice.overrides)
          varies = varies || one.starts_with(key + std::string("="));
    }
    if (study_.outcome != outcome) continue;
    if (off && !varies)
      fail("study: the outcome is '{}', and {} has none: its {} is 0; nothing was started", outcome,
           what, key);
    const auto keys = flatten(load_config(recipe_, arm.overrides).config);
    if (study_.confirm.base && !study_.confirm.seeds.empty() && value_of(keys, key) == "0")
      fail(
          "study: the outcome is '{}', and the base recipe, which [confirm] runs too, has none: "
          "its "
          "{} is 0; nothing was started",
          outcome, key);
  }
}

// What a configuration cannot know: whether the data is there, whether sizes fit.
void SetUp::check() const {
  note_overridden();
  for (const StudyArm& arm : study_.arms) {
    const std::string what =
        arm.name.empty() ? std::string("the base recipe") : fmt::format("the arm '{}'", arm.name);
    const Space space = study_.space_of(arm);
    const Words overrides = one_that_runs(arm, what);
    if (stopped()) return;
    std::set<std::string> noted;
    note_unread(arm, overrides, noted);
    check_length(study_, sizes_of(options_, recipe_, overrides, what), what);
    check_outcome(arm, overrides, what);
    check_labels(arm, noted);
    if (stopped()) return;
  }
  if (!study_.pruner.complete &&
      own_length(load_config(recipe_, {}).config).first == "train.epochs" &&
      study_.seconds + study_.tokens + study_.flops == 0)
    fail(
        "study: rungs mid-run need a length in steps, tokens or seconds, and the recipe's is in "
        "epochs; give the study a budget");
}

ArmPlan SetUp::time_arm(const StudyArm& arm, const std::string& vocab, bool guess) const {
  if (guess) say("timing a step ...\n");
  const double begin = steady_seconds();
  const auto late = [&] { return guess && steady_seconds() - begin > kGuessSeconds; };
  ChildResult timed;
  Json json;
  bool busy = true;
  for (int attempt = 0; attempt < (guess ? 1 : kBusyAttempts) && busy; ++attempt) {
    timed = run_child(
        Words{options_.program, "bench", "step", recipe_} + arm.overrides +
            Words{"--steps", guess ? kGuessedSteps : kTimedSteps, "--vocab", vocab, "--json"},
        /*capture=*/true, options_.stop);
    if (stopped()) fail("study: stopped while timing; nothing was started");
    json = Json::parse(timed.output, nullptr, false);
    busy = json.is_object() && json.contains("busy") && json["busy"] == true;
  }
  const auto positive = [&](const char* key) {
    const double value = json.is_object() && json.contains(key) && json[key].is_number()
                             ? json[key].get<double>()
                             : 0;
    if (timed.status != 0 || !(value > 0))
      fail("study: timing the arm '{}' failed (exit status {}, no {})", arm.name, timed.status,
           key);
    return value;
  };
  const double rate = positive("tokens_per_second");
  if (busy)
    say("the machine is busy with something else: {} was timed under that load, at {:.0f} "
        "tokens/s\n",
        arm.name.empty() ? "a step" : fmt::format("the arm '{}'", arm.name), rate);
  return {0, rate, rate * positive("step_ms") / 1e3};
}

std::string SetUp::vocab() const {
  return fmt::format("{}", data_facts(load_config(recipe_, study_.arms[0].overrides).config).vocab);
}

// What the seeds can resolve, from the spread that the study file states.
void SetUp::say_precision() const {
  const std::vector<int64_t>& seeds = study_.searches() ? study_.confirm.seeds : study_.seeds;
  const auto n = static_cast<double>(seeds.size());
  if (n < 2)
    return say("with {} there is no interval: differences cannot be resolved\n",
               n == 1 ? "one seed" : "no seeds to confirm on");
  const double factor = student_t_quantile(0.975, n - 1) / std::sqrt(n);
  if (study_.noise > 0)
    return say(
        "with {:.0f} seeds differences of about {:.3g} and more can be resolved ({}; 'noise' says "
        "that they have a standard deviation of {:g} over seeds)\n",
        n, factor * study_.noise, study_.outcome, study_.noise);
  say("with {:.0f} seeds differences can be resolved from about {:.2f} times their standard "
      "deviation over seeds: {:.3f} where that is 0.01; 'noise = 0.01' in the study "
      "file states it once it is known\n",
      n, factor, 0.01 * factor);
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
  if (seconds == 0 && options_.plan_only) seconds = usual_seconds();
  if (study_.seconds > 0 && !fs::exists(folder_ + "/journal.log")) check_seconds();
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
  arm.overrides = one_that_runs(arm, "the first arm");
  return arm;
}

// The shortest run of a search has a step at least, as far as it can be timed.
void SetUp::check_seconds() const {
  ArmPlan timed;
  try {
    timed = time_arm(usual_arm(), vocab(), /*guess=*/true);
  } catch (const Error&) {
    if (stopped()) throw;
    return;
  }
  const double step = timed.tokens_per_step / timed.tokens_per_second;
  const double least = study_.seconds * study_.first_share();
  if (least < step)
    fail("study: the shortest run, {:.3g} s, is less than one step, which takes {:.3g} s", least,
         step);
}

// Of training, of a whole run like the usual arm; 0: that is not known.
double SetUp::usual_seconds() const {
  const StudyArm arm = usual_arm();
  std::pair<std::string, double> own = {"", 0};
  if (study_.tokens == 0 && study_.flops == 0)
    own = own_length(load_config(recipe_, arm.overrides).config);
  if (own.first == "train.seconds") return own.second;
  ArmPlan timed;
  try {
    timed = time_arm(arm, vocab(), /*guess=*/true);
  } catch (const Error& error) {
    say("what it takes is not known: {}\n", error.what());
    return 0;
  }
  const Json sizes = sizes_of(options_, recipe_, arm.overrides, "the first arm");
  double tokens = study_.tokens;
  if (study_.flops > 0)
    tokens = study_.flops * timed.tokens_per_step / size_at(sizes, "flops_per_step");
  else if (own.first == "train.tokens")
    tokens = own.second;
  else if (!own.first.empty())
    tokens = timed.tokens_per_step *
             (own.first == "train.steps" ? own.second : size_at(sizes, "planned_steps"));
  return tokens > 0 ? tokens / timed.tokens_per_second : 0;
}

// `seconds` of training of a run, and of all of them; 0: not known.
void SetUp::say_cost(double seconds, double all) const {
  if (!(seconds > 0)) return;
  say("a whole run takes about {}", format_seconds(seconds * kUsualOverhead));
  if (all > 0) say(", the study about {} of one process", format_seconds(all * kUsualOverhead));
  say("\n");
}

// Seconds become steps once, so that the study can be repeated bit for bit.
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
    say("{} runs of {:.0f} s of training each: about {} in all\n", total, plan.seconds,
        format_seconds(static_cast<double>(total) * plan.seconds * kUsualOverhead));
  }
  if (options_.plan_only && study_.seconds == 0) {
    const double seconds = usual_seconds();
    say_cost(seconds, static_cast<double>(total) * seconds);
  }
  if (options_.plan_only) say_precision();
  return plan;
}

double SetUp::flops_per_token(const Words& overrides, const std::string& what) const {
  const Json sizes = sizes_of(options_, recipe_, overrides, what);
  return size_at(sizes, "flops_per_step") / size_at(sizes, "tokens_per_step");
}

}  // namespace strobe
