#include "strobe/report/run_report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/report/format.h"
#include "strobe/report/html.h"
#include "strobe/report/page_parts.h"

namespace strobe {

namespace {

// The last validation loss: the result's, or an unfinished run's newest.
double last_loss(const RunRecord& run) {
  if (std::isfinite(run.result.loss) || run.evaluations.empty()) return run.result.loss;
  return run.evaluations.back().loss;
}

// Of labelled texts, likewise; NaN for other runs.
double last_error(const RunRecord& run) {
  if (std::isfinite(run.result.error) || run.evaluations.empty()) return run.result.error;
  return run.evaluations.back().error;
}

double last(double of_result, const RunRecord& run, double TrainPoint::*figure) {
  if (std::isfinite(of_result) || run.training.empty()) return of_result;
  return run.training.back().*figure;
}

std::string length_text(const RunRecord& run) {
  return fmt::format("{} tokens in {} s of training",
                     count_text(last(run.result.tokens, run, &TrainPoint::tokens)),
                     number_text(last(run.result.seconds, run, &TrainPoint::seconds), 0));
}

std::string headline(const std::vector<RunRecord>& runs) {
  const bool labelled = std::all_of(runs.begin(), runs.end(), [](const RunRecord& run) {
    return std::isfinite(last_error(run));
  });
  const auto figure = labelled ? last_error : last_loss;
  const std::string noun = labelled ? "error" : "loss", unit = labelled ? "" : " nats a token";
  const RunRecord* best = nullptr;
  for (const RunRecord& run : runs)
    if (std::isfinite(figure(run)) && (!best || figure(run) < figure(*best))) best = &run;
  if (!best)
    return runs.size() == 1
               ? fmt::format("The run is {} and has no validation loss.", runs[0].result.state)
               : "None of these runs has a validation loss.";
  const std::string state =
      best->result.state == "finished" ? "" : fmt::format(" (the run is {})", best->result.state);
  if (runs.size() == 1)
    return fmt::format("Validation {} {}{} after {}{}.", noun, number_text(figure(*best), 3), unit,
                       length_text(*best), state);
  return fmt::format("Of {} runs, {} has the lowest validation {}: {}{} after {}{}.", runs.size(),
                     best->name, noun, number_text(figure(*best), 3), unit, length_text(*best),
                     state);
}

std::string overview(const std::vector<RunRecord>& runs) {
  std::vector<std::vector<std::string>> rows = {{"Run", "State", "Steps", "Tokens", "Seconds",
                                                 "Tokens/s", "Peak memory", "Validation loss",
                                                 "Bits per byte", "Word perplexity"}};
  const bool labelled = std::any_of(runs.begin(), runs.end(), [](const RunRecord& run) {
    return std::isfinite(last_error(run));
  });
  if (labelled) rows[0].resize(8), rows[0].push_back("Validation error");
  for (const RunRecord& run : runs) {
    const RunResult& result = run.result;
    const bool evaluated = !run.evaluations.empty();
    const auto figure = [&](double of_result, double EvalPoint::*of_event) {
      return std::isfinite(of_result) || !evaluated ? of_result : run.evaluations.back().*of_event;
    };
    rows.push_back({run.name, result.state,
                    number_text(last(result.steps, run, &TrainPoint::step), 0),
                    count_text(last(result.tokens, run, &TrainPoint::tokens)),
                    number_text(last(result.seconds, run, &TrainPoint::seconds), 1),
                    count_text(last(result.tokens_per_second, run, &TrainPoint::tokens_per_second)),
                    bytes_text(result.peak_bytes), number_text(last_loss(run), 3),
                    number_text(figure(result.bits_per_byte, &EvalPoint::bits_per_byte), 3),
                    perplexity_text(figure(result.word_perplexity, &EvalPoint::word_perplexity))});
    if (labelled) rows.back().resize(8), rows.back().push_back(number_text(last_error(run), 3));
  }
  return html_section("overview", runs.size() == 1 ? "Result" : "Results", html_table(rows, 2));
}

}  // namespace

std::string run_report(const std::vector<RunRecord>& runs) {
  check(!runs.empty(), "run_report: at least one run");
  std::vector<ChartGroup> groups;
  std::vector<std::string> notes;
  for (const RunRecord& run : runs) {
    groups.push_back({run.name, {&run}});
    notes.insert(notes.end(), run.notes.begin(), run.notes.end());
  }
  const std::string name =
      runs.size() == 1 ? runs[0].name : fmt::format("{} runs side by side", runs.size());
  const std::vector<std::string> caution =
      runs.size() == 1 ? std::vector<std::string>()
                       : std::vector<std::string>{
                             "One run of each shows no spread: how much of a "
                             "difference is chance, only more seeds tell."};
  const std::string kind = runs.size() == 1 ? "run" : "runs";
  std::string body = page_head(kind, name, "", headline(runs), caution);
  body += overview(runs) + curves_section(groups, false) + memory_section(groups) +
          configuration_section(groups) + environment_section(groups) + samples_section(groups) +
          notes_section(notes);
  return html_page(name + " · strobe", body, charts_json(groups, nullptr));
}

void write_run_report(const std::vector<std::string>& folders, const std::string& out) {
  if (folders.empty()) fail("report: name at least one run folder");
  std::vector<RunRecord> runs;
  runs.reserve(folders.size());
  for (const std::string& folder : folders) runs.push_back(read_run(folder));
  // Runs of different studies may share a name; their paths tell them apart.
  std::map<std::string, int> uses;
  for (const RunRecord& run : runs) ++uses[run.name];
  for (RunRecord& run : runs)
    if (uses[run.name] > 1) run.name = run.path;
  write_file("report", out, run_report(runs));
}

}  // namespace strobe
