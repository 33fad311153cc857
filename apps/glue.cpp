// strobe glue: a BERT on the tasks of GLUE, with what the scores were made of beside them.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>

#include "apps/glue_record.h"
#include "apps/notices.h"
#include "apps/verbs.h"
#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/data/glue.h"
#include "strobe/io/checkpoint.h"
#include "strobe/study/child.h"
#include "strobe/train/finetune.h"
#include "strobe/train/loaded_run.h"
#include "strobe/train/run_folder.h"

namespace strobe {

namespace {

struct GlueOptions {
  std::string from, data, tasks = "all", out = "runs/glue", mnli;
  int64_t seeds = 1;
  bool test = false, print_config = false;
  std::vector<std::string> overrides;
};

std::vector<const GlueTask*> tasks_of(const std::string& list) {
  std::vector<const GlueTask*> out;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    std::string name = list.substr(begin, end - begin);
    begin = end + 1;
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (name.empty()) continue;
    for (const GlueTask& task : glue_tasks())
      if (name == "all" && task.has_train()) out.push_back(&task);
    if (name == "all") continue;
    out.push_back(&glue_task(name));
    if (!out.back()->has_train())
      fail("glue: {} has nothing to train on; mnli's model predicts it", name);
  }
  for (auto task = out.begin(); task != out.end(); ++task)
    if (std::find(out.begin(), task, *task) != task)
      fail("glue: --task names {} twice", (*task)->name);
  if (out.empty()) fail("glue: --task names no task; all, or some with commas, are accepted");
  return out;
}

// What is set in vain, or would make scores something else than they are called.
void check_overrides(const std::vector<std::string>& overrides) {
  refuse_overrides(
      "glue", overrides,
      {{"seed", "--seeds N makes runs of the seeds 1 to N"},
       {"name", "--out says where the runs are"},
       {"init_from", "the first argument says what to start from, --mnli from which run of MNLI"},
       {"model.head", "the head is the task's own"},
       {"model.classes", "the classes are the task's own"}});
  for (const std::string& override : overrides) {
    const std::string key = override.substr(0, override.find('='));
    if (key.starts_with("texts.") && key != "texts.hold_out")
      fail("glue: the texts are the task's own, found {}; 'strobe finetune' takes others",
           override);
  }
}

/// A task with its files, and what came of it.
struct TaskWork {
  struct Split {
    const GlueTask* task;  // of mnli also ax
    GlueTask::Split what;
    GlueSplit read;
  };

  const GlueTask* task = nullptr;
  std::vector<Split> splits;
  bool trained_on_subset = false, scored_on_subset = false;
  std::map<std::string, std::vector<double>> metrics;  // "dev accuracy", a value a seed
  std::map<std::string, std::string> protocol;         // of the last run

  std::string note() const {
    if (trained_on_subset) return "  trained on a subset: no GLUE score";
    return scored_on_subset ? "  scored on a subset: no GLUE score" : "";
  }
};

// Opens every file that the task will need, so that none is missed after hours of training. Of the
// training set, which may be long and which each run reads, a row will do.
TaskWork open_task(const GlueOptions& options, const GlueTask& task) {
  TaskWork work;
  work.task = &task;
  work.trained_on_subset = read_glue(options.data, task, "train", /*most_rows=*/1).subset;
  const auto open = [&](const GlueTask& of) {
    for (const GlueTask::Split& split : of.splits) {
      const bool test = !split.upload.empty();
      if (test && !options.test) continue;
      // Who cuts MNLI down may do without one of its two development sets.
      if (!test && split.name != "dev" && (work.trained_on_subset || work.scored_on_subset) &&
          !has_glue(options.data, of, split.name)) {
        print_note(
            fmt::format("{}: there is no {}: {} is not scored", of.name, split.file, split.name));
        continue;
      }
      work.splits.push_back({&of, split, read_glue(options.data, of, split.name)});
      const GlueSplit& read = work.splits.back().read;
      if (!test) work.scored_on_subset = work.scored_on_subset || read.subset;
      if (read.skipped > 0)
        print_note(fmt::format("{} broken row{} left out of {}", read.skipped,
                               read.skipped == 1 ? "" : "s", read.file));
    }
  };
  open(task);
  if (options.test && task.name == "mnli") open(glue_task("ax"));
  return work;
}

Config config_of(const GlueOptions& options, const GlueTask& task, int64_t seed,
                 std::vector<std::string> overrides) {
  TextsConfig texts;
  texts.train = options.data, texts.task = task.name;
  overrides.push_back(fmt::format("seed={}", seed));
  const bool from_mnli = !options.mnli.empty() && task.starts_from_mnli;
  return finetune_config(from_mnli ? options.mnli : options.from,
                         fmt::format("{}-s{}", task.name, seed), texts, task.classes.empty(),
                         overrides);
}

void check_mnli(const std::string& mnli, const std::vector<const GlueTask*>& tasks) {
  if (mnli.empty()) return;
  if (std::ranges::none_of(tasks, [](const GlueTask* task) { return task->starts_from_mnli; }))
    fail("glue: --mnli is what RTE, MRPC and STS-B start from, and --task names none of them");
  if (!std::filesystem::is_directory(mnli))
    fail("glue: --mnli: there is no folder {}; a run of MNLI is accepted", mnli);
  if (!is_run(mnli)) return;
  const Config config = run_config(mnli);
  if (config.texts.task != "mnli" &&
      (config.model.head != "classification" || config.model.classes != 3))
    fail("glue: --mnli: {} was not trained on MNLI and has no three classes", mnli);
}

// False if it was stopped.
bool score(const GlueOptions& options, const std::string& folder, bool uploads, TaskWork& work,
           std::vector<std::string>& uploaded) {
  Reader reader(folder);
  std::map<std::string, double> metrics;
  for (const TaskWork::Split& split : work.splits) {
    if (!split.what.upload.empty() && !uploads) continue;
    const int64_t cut_before = reader.cut();
    const Predictions got = reader.predict(split.read.examples, stop_requested);
    if (got.stopped) return false;
    if (const int64_t cut = reader.cut() - cut_before; cut > 0)
      print_note(fmt::format("{}: {} of {} {} longer than {} tokens and cut (train.sequence)",
                             work.task->name, cut, split.read.file, cut == 1 ? "is" : "are",
                             reader.config().train.sequence));
    if (!split.what.upload.empty()) {
      uploaded.push_back(fmt::format("{}/{}", options.out, split.what.upload));
      write_file("glue", uploaded.back(), glue_upload(*split.task, split.read, got.predicted));
      continue;
    }
    std::vector<float> labels;
    for (const Example& row : split.read.examples.rows) labels.push_back(row.label);
    for (const auto& [name, value] : glue_scores(*work.task, got.predicted, labels).metrics)
      metrics[fmt::format("{} {}", split.what.name, name)] = value;
  }
  for (const auto& [name, value] : metrics) work.metrics[name].push_back(value);
  return true;
}

// What a score depends on beside the weights it began with.
std::map<std::string, std::string> protocol_of(const std::string& folder, const TaskWork& work) {
  const RunFolder run = RunFolder::open(folder);
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : flatten(run_config(folder)))
    for (const char* told :
         {"init_from", "train.epochs", "train.steps", "train.tokens", "train.seconds",
          "train.micro_batch", "train.grad_accum", "train.sequence", "train.patience",
          "texts.hold_out", "model.dropout", "optimizer.name", "optimizer.lr",
          "optimizer.weight_decay", "optimizer.clip", "optimizer.eps", "schedule.name",
          "schedule.warmup", "schedule.floor"})
      if (key == told && value != "auto") out[key] = value;
  for (const char* key :
       {"precision", "attention", "data_hash", "device", "train_rows", "broken_rows"})
    out[key] = run.environment(key);
  out["held_out_rows"] = run.environment("valid_rows");
  for (const TaskWork::Split& split : work.splits)
    if (split.what.upload.empty()) {
      const std::string name(split.what.name);
      out[name + "_rows"] = fmt::format("{}", split.read.examples.rows.size());
      if (split.read.skipped > 0)
        out[name + "_broken_rows"] = fmt::format("{}", split.read.skipped);
    }
  return out;
}

// By what the last run read, which the files' names need not tell.
bool is_whole_train(const TaskWork& work) {
  int64_t rows = 0;
  for (const char* key : {"train_rows", "held_out_rows"}) {
    const std::string& count = work.protocol.at(key);
    if (count.empty()) return true;  // a run that did not write it down
    rows += std::stoll(count);
  }
  return is_whole(*work.task, "train", rows);
}

std::vector<nlohmann::ordered_json> entries_of(const TaskWork& work) {
  std::vector<nlohmann::ordered_json> out;
  for (const auto& [name, values] : work.metrics)
    out.push_back({{"task", work.task->name},
                   {"score", name},
                   {"trained_on_subset", work.trained_on_subset},
                   {"scored_on_subset", work.scored_on_subset},
                   {"seeds", fmt::format("1 to {}", values.size())},
                   {"values", values},
                   {"protocol", work.protocol}});
  return out;
}

void print_scores(const TaskWork& work) {
  for (const auto& [name, values] : work.metrics) {
    std::vector<double> numbers = values;
    const auto none = std::erase_if(numbers, [](double x) { return std::isnan(x); });
    const auto [least, most] = std::minmax_element(numbers.begin(), numbers.end());
    const std::string range =
        numbers.empty() ? "-" : fmt::format("{:.2f} to {:.2f}", 100 * *least, 100 * *most);
    fmt::print("{:<6}  {:<26}  {:>7.2f}  {:>15}{}{}\n", work.task->name, name,
               100 * median(numbers), range, work.note(),
               none ? fmt::format("  {} of {} seeds gave none", none, values.size()) : "");
  }
}

int run_glue(const GlueOptions& options) {
  if (options.seeds < 1) fail("glue: --seeds {} is not 1 or more", options.seeds);
  check_overrides(options.overrides);
  const std::vector<const GlueTask*> asked = tasks_of(options.tasks);
  check_mnli(options.mnli, asked);
  bool held_out = false;
  for (const GlueTask* task : asked) {
    const Config config = config_of(options, *task, 1, options.overrides);
    held_out = config.texts.hold_out > 0;
    const LoadedConfig said = load_config("", options.overrides);
    if (options.print_config)
      fmt::print("# {}\n{}", task->name, print_config({.config = config, .origins = said.origins}));
    else if (task == asked.front())
      note_unread_keys(config, said, /*base=*/config_of(options, *task, 1, {}));
  }
  if (options.print_config) return 0;
  save_when_stopped();
  GlueRecord record(options.out + "/glue.json");
  std::vector<TaskWork> tasks;
  for (const GlueTask* task : asked) tasks.push_back(open_task(options, *task));
  std::vector<std::string> uploads;
  for (TaskWork& work : tasks) {
    for (int64_t seed = 1; seed <= options.seeds; ++seed) {
      const Config config = config_of(options, *work.task, seed, options.overrides);
      const std::string folder = options.out + "/" + config.name;
      print_note(
          fmt::format("{}, seed {} of {}: {}", work.task->name, seed, options.seeds, folder));
      const RunState state = finetune(config, folder, stop_requested, print_note);
      if (state == RunState::diverged) fail("glue: {} diverged", folder);
      if (state == RunState::stopped ||
          !score(options, folder, /*uploads=*/seed == 1, work, uploads)) {
        fmt::print("stopped; the same command continues\n");
        return kInterrupted;
      }
      work.protocol = protocol_of(folder, work);
      work.trained_on_subset = work.trained_on_subset || !is_whole_train(work);
      keep_best_weights(folder + "/checkpoints");
    }
    record.put(work.task->name, entries_of(work));
    print_scores(work);
  }
  fmt::print("\n{:<6}  {:<26}  {:>7}  {:>15}\n", "task", "score", "median", "range");
  for (const TaskWork& work : tasks) print_scores(work);
  if (const std::optional<double> average = record.average())
    fmt::print(
        "\naverage of all tasks without WNLI on dev, of MNLI matched, medians over seeds: "
        "{:.2f}\n",
        100 * *average);
  if (!uploads.empty())
    fmt::print("\nfor the GLUE server, of seed 1: {}\n", fmt::join(uploads, ", "));
  fmt::print("\nof the {} checkpoint of each run; {}/glue.json has every value and its protocol\n",
             held_out ? "best" : "last", options.out);
  return 0;
}

std::string names_of_tasks() {
  std::string out;
  for (const GlueTask& task : glue_tasks())
    if (task.has_train()) out += fmt::format("{}{}", out.empty() ? "" : ", ", task.name);
  return out;
}

}  // namespace

Verb verb_glue() {
  return {"glue", "Fine-tune a BERT on tasks of GLUE and score it on their development sets",
          "strobe glue bert-base-uncased/ --task sst2,rte --data glue/ --seeds 5",
          [](Options& options) {
            auto o = std::make_shared<GlueOptions>();
            fine_tuning_options(options, o->from, o->overrides);
            options.value(o->data, "--data", "folder with the tasks' folders", Options::required);
            options.value(o->tasks, "--task", "all, or some with commas: " + names_of_tasks());
            options.value(o->seeds, "--seeds", "runs of each task");
            options.value(o->out, "--out", "folder of the runs; what is there goes on");
            options.value(o->mnli, "--mnli",
                          "run fine-tuned on MNLI, from which RTE, MRPC and STS-B start");
            options.flag(o->print_config, "--print-config",
                         "print every value for each task; train nothing");
            options.flag(o->test, "--test", "write the files that the GLUE server takes");
            return [o] { return run_glue(*o); };
          }};
}

}  // namespace strobe
