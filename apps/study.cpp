// strobe study run, report, trials, best.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>
#include <thread>

#include "apps/table.h"
#include "apps/verbs.h"
#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/report/study_report.h"
#include "strobe/study/child.h"
#include "strobe/study/study.h"

namespace strobe {

namespace {

namespace fs = std::filesystem;

std::string report_of(const std::string& folder) { return folder + "/report.html"; }

constexpr int64_t kNotGiven = std::numeric_limits<int64_t>::min();

struct RunOptions {
  std::string file, folder;
  std::vector<std::string> overrides;
  bool plan = false, worker = false;  // worker: started by another process
  int64_t workers = kNotGiven;
  std::string gpus;  // as in CUDA_VISIBLE_DEVICES, those that the workers take by turns
};

// "0,1": a list with commas.
std::vector<std::string> gpus_of(const std::string& gpus) {
  std::vector<std::string> list;
  std::istringstream words(gpus);
  for (std::string word; std::getline(words, word, ',');) {
    if (word.empty() || word.find_first_of(" \t") != std::string::npos)
      fail("study: --gpus is '{}'; it takes numbers with commas between, such as 0,1", gpus);
    list.push_back(word);
  }
  return list;
}

// The GPU of worker `index`.
std::string gpu_of(const std::string& gpus, int64_t index) {
  const std::vector<std::string> list = gpus_of(gpus);
  return list[static_cast<size_t>(index) % list.size()];
}

// Words as they are typed again.
std::string typed(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words)
    out +=
        word.find_first_of(" []\"") == std::string::npos ? " " + word : fmt::format(" '{}'", word);
  return out;
}

// Whether the study itself says on what its runs compute.
bool names_backend(const StudyFile& study, const Config& base) {
  const auto names = [](const std::vector<std::string>& overrides) {
    return std::ranges::any_of(overrides,
                               [](const auto& word) { return word.starts_with("backend="); });
  };
  return base.backend != "auto" || names(study.overrides) ||
         std::ranges::any_of(study.arms, [&](const auto& arm) { return names(arm.overrides); });
}

// The other processes of a study, each like this one but without a word.
class OtherWorkers {
 public:
  OtherWorkers(const std::string& program, const RunOptions& options) {
    for (int64_t i = 1; i < options.workers; ++i)
      threads_.emplace_back([=, this] {
        std::vector<std::string> command = {program, "study", "run", options.file};
        command.insert(command.end(), options.overrides.begin(), options.overrides.end());
        for (const std::string& word :
             {std::string("--out"), options.folder, std::string("--worker"),
              std::string("--workers"), fmt::format("{}", options.workers)})
          command.push_back(word);
        if (!options.gpus.empty())
          command.insert(command.end(), {"--gpus", gpu_of(options.gpus, i)});
        const ChildResult result =
            run_child(command, /*capture=*/true, [this] { return stop_requested() || stop_; });
        if (result.status != 0 && result.status != kInterrupted)
          fmt::print(stderr, "strobe: study: a worker ended with exit status {}\n", result.status);
      });
  }
  ~OtherWorkers() { join(); }
  OtherWorkers(const OtherWorkers&) = delete;
  OtherWorkers& operator=(const OtherWorkers&) = delete;
  void join() {
    for (std::thread& thread : threads_)
      if (thread.joinable()) thread.join();
  }
  void stop() { stop_ = true; }

 private:
  std::atomic<bool> stop_ = false;
  std::vector<std::thread> threads_;
};

int run(RunOptions options) {
  const StudyFile study = read_study(options.file, options.overrides);
  if (options.folder.empty()) options.folder = "runs/" + study.name;
  const bool workers_given = options.workers != kNotGiven;
  if (!workers_given)
    options.workers = options.gpus.empty() ? 1 : static_cast<int64_t>(gpus_of(options.gpus).size());
  if (options.workers < 1) fail("study: --workers is {}; it takes 1 or more", options.workers);
  // Its runs inherit it; this process itself uses no GPU.
  if (!options.gpus.empty())
    ::setenv("CUDA_VISIBLE_DEVICES", gpu_of(options.gpus, 0).c_str(), /*overwrite=*/1);
  catch_stop_signals();
  const std::string program = fs::read_symlink("/proc/self/exe");
  StudyOptions study_options{program, stop_requested, options.plan, {}, {}};
  const Config base = load_config(study.base, study.overrides).config;
  // Side by side they share the cores, as long as the recipe does not say how many it takes.
  if (options.workers > 1 && base.threads == 0)
    study_options.overrides.push_back(fmt::format(
        "threads={}", std::max<int64_t>(1, std::thread::hardware_concurrency() / options.workers)));
  // A GPU that is not there is said, not replaced by the CPU.
  if (!options.gpus.empty() && !names_backend(study, base))
    study_options.overrides.push_back("backend=cuda");
  StudyOutcome outcome;
  std::optional<OtherWorkers> others;
  if (!options.worker) study_options.ready = [&] { others.emplace(program, options); };
  try {
    outcome = run_study(study, options.folder, study_options);
  } catch (...) {
    if (others) others->stop();
    throw;
  }
  if (others) others->join();
  if (options.worker) return outcome.stopped ? kInterrupted : 0;
  if (outcome.stopped) {
    std::vector<std::string> words = {options.file};
    words.insert(words.end(), options.overrides.begin(), options.overrides.end());
    words.insert(words.end(), {"--out", options.folder});
    if (workers_given) words.insert(words.end(), {"--workers", fmt::format("{}", options.workers)});
    if (!options.gpus.empty()) words.insert(words.end(), {"--gpus", options.gpus});
    fmt::print("stopped; 'strobe study run{}' continues\n", typed(words));
    return kInterrupted;
  }
  if (options.plan) return 0;
  if (outcome.finished == 0) fail("study: none of the {} runs finished", outcome.failed);
  fmt::print("\n{}", console_summary(analyse_study(options.folder)));
  write_study_report(options.folder, report_of(options.folder));
  fmt::print("report: {}\n", report_of(options.folder));
  return 0;
}

int report(const std::string& folder, const std::string& out, bool json) {
  if (json) return fmt::print("{}\n", study_json(folder)), 0;
  const StudyResult result = analyse_study(folder);
  const std::string file = out.empty() ? report_of(folder) : out;
  write_study_report(folder, file);
  fmt::print("{}report: {}\n", console_summary(result), file);
  return 0;
}

Cell figure(double value) { return std::isfinite(value) ? Cell(value) : Cell(); }

Cell whole(double value) {
  return std::isfinite(value) ? Cell(static_cast<int64_t>(value)) : Cell();
}

void search_trials(const SearchResult& search, bool json) {
  Table table({{"trial"},
               {"phase"},
               {"name"},
               {"seed"},
               {"state"},
               {"outcome", 4},
               {"tokens"},
               {"seconds", 1},
               {"reason"}},
              /*nothing=*/"-");
  for (const TrialResult& trial : search.trials)
    table.add({trial.number, trial.phase, trial.text, trial.seed, trial.state, figure(trial.value),
               whole(trial.tokens), figure(trial.seconds),
               trial.reason.empty() ? Cell() : Cell(trial.reason)});
  table.print(json);
}

int trials(const std::string& folder, bool json) {
  const StudyResult result = analyse_study(folder);
  if (result.search) return search_trials(*result.search, json), 0;
  Table table({{"arm"},
               {"seed"},
               {"state"},
               {"tokens"},
               {"seconds", 1},
               {"outcome", 4},
               {"bits_per_byte", 4},
               {"run"}},
              /*nothing=*/"-");
  for (size_t s = 0; s < result.seeds.size(); ++s)
    for (const ArmResult& arm : result.arms) {
      const SeedResult& run = arm.runs[s];
      table.add({arm.name, run.seed, run.state, whole(run.tokens), figure(run.seconds),
                 figure(run.loss), figure(run.bits_per_byte), folder + "/" + run.folder});
    }
  table.print(json);
  return 0;
}

// A run whose recipe is asked for, and what is said of it.
struct Chosen {
  std::string run, words;
};

Chosen chosen_arm(const StudyResult& result, const ArmResult& arm, bool of_all) {
  const auto run = std::find_if(arm.runs.begin(), arm.runs.end(),
                                [](const SeedResult& seed) { return seed.finished(); });
  std::string rank = "the mean";
  if (of_all) {
    int lost = 0;
    for (const ArmResult& other : result.arms) lost += other.lost() > arm.lost();
    rank = fmt::format("the lowest mean of {} arms{}", result.arms.size() - lost,
                       lost ? fmt::format(" ({} that lost runs left out)", lost) : "");
  }
  return {run->folder, fmt::format("The arm '{}' of the study '{}': {} {:.4f}, {} over {} run{}{}",
                                   arm.name, result.name, result.noun, arm.loss.estimate, rank,
                                   arm.loss.n, arm.loss.n == 1 ? "" : "s",
                                   !result.search             ? ""
                                   : result.search->confirmed ? ", on seeds that did not choose it"
                                                              : "; not confirmed on fresh seeds")};
}

// A point that was searched and, unlike those of the arms, not confirmed.
std::optional<Chosen> chosen_point(const StudyResult& result, const std::string& wanted) {
  if (!result.search) return std::nullopt;
  for (const TrialResult& trial : result.search->trials)
    if (trial.phase == "search" && std::isfinite(trial.value) && trial.name == wanted)
      return Chosen{
          fmt::format("runs/{}-s{}", trial.name, trial.seed),
          fmt::format("The point '{}' of the study '{}': {} {:.4f}, one run of the search; not "
                      "confirmed on fresh seeds",
                      trial.name, result.name, result.noun, trial.value)};
  return std::nullopt;
}

// The recipe of an arm or point, the best unless one is asked for, as its first finished run had
// it.
int best(const std::string& folder, const std::string& wanted) {
  const StudyResult result = analyse_study(folder);
  const ArmResult* arm = best_arm(result, wanted);
  const std::optional<Chosen> chosen =
      arm ? chosen_arm(result, *arm, wanted.empty()) : chosen_point(result, wanted);
  if (!chosen && wanted.empty())
    fail("study: no run of {} has finished with a {}", folder, result.noun);
  if (!chosen) {
    std::vector<std::string> names;
    for (const ArmResult& each : result.arms)
      if (std::isfinite(each.loss.estimate)) names.push_back(each.name);
    fail("study: no finished arm of {} is called '{}'; there {} {}", folder, wanted,
         names.size() == 1 ? "is" : "are",
         names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")));
  }
  Config config = load_config(folder + "/" + chosen->run + "/config.toml", {}).config;
  config.name = result.name + "-best";
  if (fs::exists(folder + "/base.toml"))  // workers side by side had fewer
    config.threads = load_config(folder + "/base.toml", {}).config.threads;
  // As the base recipe has it: what judged the run on its way is no part of the recipe.
  if (result.search && result.search->mid_run && !result.search->confirmed)
    config.eval.every = load_config(folder + "/base.toml", {}).config.eval.every;
  fmt::print("# {}.\n{}", chosen->words, to_toml(config));
  return 0;
}

}  // namespace

Verb verb_study_run() {
  return {"study run", "Run a study: compare arms, or search and confirm",
          "strobe study run studies/demo.toml --out runs/demo", [](Options& options) {
            auto v = std::make_shared<RunOptions>();
            options.value(v->file, "study", "study file (TOML)", Options::required);
            options.values(
                v->overrides, "overrides",
                "key=value in place of what the study file says: budget.tokens=1e6, "
                "'seeds=[1, 2]', base=recipes/demo.toml; a recipe's key is set for every arm");
            options.value(v->folder, "--out", "folder of the study; runs/<name> unless given");
            options.value(v->workers, "--workers",
                          "processes that work on it side by side; more may join by the same "
                          "command, also on other machines that share the folder");
            options.value(v->gpus, "--gpus",
                          "0,1,2,3: GPUs that the workers take by turns, a run on one at a time, a "
                          "worker each unless --workers says how many; unless given all use the "
                          "first");
            options.flag(v->worker, "--worker", "report nothing: another process will");
            options.flag(v->plan, "--plan",
                         "check, print trials, cost and what can be resolved; train nothing");
            return [v] { return run(*v); };
          }};
}

Verb verb_study_report() {
  return {"study report", "Summarise a study and write its report", "strobe study report runs/demo",
          [](Options& options) {
            struct Values {
              std::string folder, out;
              bool json = false;
            };
            auto v = std::make_shared<Values>();
            options.value(v->folder, "folder", "folder of the study", Options::required);
            options.value(v->out, "--out",
                          "where to write the page; report.html in the folder unless given");
            options.flag(v->json, "--json", "print every figure as JSON instead");
            return [v] { return report(v->folder, v->out, v->json); };
          }};
}

Verb verb_study_trials() {
  return {"study trials", "List the runs of a study", "strobe study trials runs/demo",
          [](Options& options) {
            struct Values {
              std::string folder;
              bool json = false;
            };
            auto v = std::make_shared<Values>();
            options.value(v->folder, "folder", "folder of the study", Options::required);
            options.flag(v->json, "--json", "print a JSON list");
            return [v] { return trials(v->folder, v->json); };
          }};
}

Verb verb_study_best() {
  return {"study best", "Print the recipe of the best arm",
          "strobe study best runs/demo > recipes/mine.toml", [](Options& options) {
            struct Values {
              std::string folder, arm;
            };
            auto v = std::make_shared<Values>();
            options.value(v->folder, "folder", "folder of the study", Options::required);
            options.value(v->arm, "--arm",
                          "of this arm, this point, or the best of this arm's search");
            return [v] { return best(v->folder, v->arm); };
          }};
}

}  // namespace strobe
