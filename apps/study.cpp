// strobe study run, report, trials, best.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

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

int run(const std::string& file, std::string folder, bool plan_only) {
  const StudyFile study = read_study(file);
  if (folder.empty()) folder = "runs/" + study.name;
  catch_stop_signals();
  const StudyOutcome outcome =
      run_study(study, folder, {fs::read_symlink("/proc/self/exe"), stop_requested, plan_only});
  if (outcome.stopped) {
    fmt::print("stopped; 'strobe study run {} --out {}' continues\n", file, folder);
    return kInterrupted;
  }
  if (plan_only) return 0;
  if (outcome.finished == 0) fail("study: none of the {} runs finished", outcome.failed);
  fmt::print("\n{}", console_summary(analyse_study(folder)));
  write_study_report(folder, report_of(folder));
  fmt::print("report: {}\n", report_of(folder));
  return 0;
}

int report(const std::string& folder, const std::string& out, bool json) {
  const StudyResult result = analyse_study(folder);
  if (json) return fmt::print("{}\n", study_json(result)), 0;
  const std::string file = out.empty() ? report_of(folder) : out;
  write_study_report(folder, file);
  fmt::print("{}report: {}\n", console_summary(result), file);
  return 0;
}

Cell figure(double value) { return std::isfinite(value) ? Cell(value) : Cell(); }

int trials(const std::string& folder, bool json) {
  const StudyResult result = analyse_study(folder);
  Table table({{"arm"},
               {"seed"},
               {"state"},
               {"tokens"},
               {"seconds", 1},
               {"loss", 4},
               {"bits_per_byte", 4},
               {"run"}},
              /*nothing=*/"-");
  for (size_t s = 0; s < result.seeds.size(); ++s)
    for (const ArmResult& arm : result.arms) {
      const SeedResult& run = arm.runs[s];
      table.add({arm.name, run.seed, run.state,
                 std::isfinite(run.tokens) ? Cell(static_cast<int64_t>(run.tokens)) : Cell(),
                 figure(run.seconds), figure(run.loss), figure(run.bits_per_byte),
                 folder + "/" + run.folder});
    }
  table.print(json);
  return 0;
}

// The recipe of the arm with the lowest mean validation loss, as its first finished run had it.
int best(const std::string& folder) {
  const StudyResult result = analyse_study(folder);
  const ArmResult* best = nullptr;
  for (const ArmResult& arm : result.arms)
    if (std::isfinite(arm.loss.estimate) && (!best || arm.loss.estimate < best->loss.estimate))
      best = &arm;
  if (!best) fail("study: no run of {} has finished with a validation loss", folder);
  const auto run = std::find_if(best->runs.begin(), best->runs.end(),
                                [](const SeedResult& seed) { return seed.finished(); });
  Config config = load_config(folder + "/" + run->folder + "/config.toml", {}).config;
  config.name = result.name + "-best";
  fmt::print(
      "# The arm '{}' of the study '{}': validation loss {:.4f}, the lowest mean of {} arms over "
      "{} "
      "runs each.\n{}",
      best->name, result.name, best->loss.estimate, result.arms.size(), best->loss.n,
      to_toml(config));
  return 0;
}

}  // namespace

Verb verb_study_run() {
  return {"study run", "Run a study: arms, seeds, one budget",
          "strobe study run studies/demo.toml --out runs/demo", [](Options& options) {
            struct Values {
              std::string file, out;
              bool plan = false;
            };
            auto v = std::make_shared<Values>();
            options.value(v->file, "study", "study file (TOML)", Options::required);
            options.value(v->out, "--out", "folder of the study; runs/<name> unless given");
            options.flag(v->plan, "--plan",
                         "check and time the arms, print runs and cost, train nothing");
            return [v] { return run(v->file, v->out, v->plan); };
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
            auto folder = std::make_shared<std::string>();
            options.value(*folder, "folder", "folder of the study", Options::required);
            return [folder] { return best(*folder); };
          }};
}

}  // namespace strobe
