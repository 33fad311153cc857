// strobe glue: a BERT on the tasks of GLUE, with what the scores were made of beside them.
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "apps/notices.h"
#include "apps/verbs.h"
#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/json_text.h"
#include "strobe/data/glue.h"
#include "strobe/io/checkpoint.h"
#include "strobe/train/finetune.h"
#include "strobe/train/loaded_run.h"
#include "strobe/train/run_folder.h"

namespace strobe {

namespace {

struct GlueOptions {
  std::string from, data, tasks = "all", out = "runs/glue", mnli;
  int64_t seeds = 1;
  bool test = false;
  std::vector<std::string> overrides;
};

std::vector<const GlueTask*> tasks_of(const std::string& list) {
  std::vector<const GlueTask*> out;
  if (list == "all") {
    for (const GlueTask& task : glue_tasks())
      if (task.has_train()) out.push_back(&task);
    return out;
  }
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    out.push_back(&glue_task(list.substr(begin, end - begin)));
    if (!out.back()->has_train())
      fail("glue: {} has nothing to train on; mnli's model predicts it", out.back()->name);
    begin = end + 1;
  }
  return out;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// A task with its files, and what came of it.
struct TaskWork {
  struct Split {
    const GlueTask* task;  // of mnli also ax
    GlueTask::Split what;
    GlueSplit read;
  };

  const GlueTask* task;
  std::vector<Split> splits;
  bool trained_on_subset = false, scored_on_subset = false;
  std::map<std::string, std::vector<double>> metrics;  // "dev accuracy", a value a seed
  std::vector<double> means;                           // of the metrics on dev, a value a seed
  std::string protocol;                                // JSON, of the last run

  std::string note() const {
    if (trained_on_subset) return "  trained on a subset: no GLUE score";
    return scored_on_subset ? "  scored on a subset: no GLUE score" : "";
  }
};

// Opens every file that the task will need, so that none is missed after hours of training. Of the
// training set, which may be long and which each run reads, a row will do.
TaskWork open_task(const GlueOptions& options, const GlueTask& task) {
  TaskWork work{.task = &task};
  work.trained_on_subset = read_glue(options.data, task, "train", /*most_rows=*/1).subset;
  const auto open = [&](const GlueTask& of) {
    for (const GlueTask::Split& split : of.splits) {
      if (!split.upload.empty() && !options.test) continue;
      work.splits.push_back({&of, split, read_glue(options.data, of, split.name)});
      if (split.upload.empty())
        work.scored_on_subset = work.scored_on_subset || work.splits.back().read.subset;
    }
  };
  open(task);
  if (options.test && task.name == "mnli") open(glue_task("ax"));
  return work;
}

void score(const GlueOptions& options, const std::string& folder, bool uploads, TaskWork& work) {
  Reader reader(folder);
  for (const TaskWork::Split& split : work.splits) {
    if (!split.what.upload.empty() && !uploads) continue;
    const Predictions got = reader.predict(split.read.examples, stop_requested);
    if (got.stopped) fail("glue: stopped");
    if (!split.what.upload.empty()) {
      write_file("glue", fmt::format("{}/{}", options.out, split.what.upload),
                 glue_upload(options.data, *split.task, split.what.name, got.predicted));
      continue;
    }
    std::vector<float> labels;
    for (const Example& row : split.read.examples.rows) labels.push_back(row.label);
    const GlueScores scores = glue_scores(*work.task, got.predicted, labels);
    for (const auto& [name, value] : scores.metrics)
      work.metrics[fmt::format("{} {}", split.what.name, name)].push_back(value);
    if (split.what.name == "dev") work.means.push_back(scores.mean);
  }
}

// What a score depends on beside the weights it began with.
std::string protocol_of(const std::string& folder) {
  const RunFolder run = RunFolder::open(folder);
  std::string out;
  for (const auto& [key, value] : flatten(run_config(folder)))
    for (const char* told : {"init_from", "precision", "train.epochs", "train.micro_batch",
                             "train.sequence", "model.dropout", "optimizer.name", "optimizer.lr",
                             "optimizer.weight_decay", "schedule.name", "schedule.warmup"})
      if (key == told)
        out += fmt::format("{}\"{}\": {}", out.empty() ? "" : ", ", key, json_quote(value));
  return fmt::format("{{{}, \"data_hash\": {}, \"device\": {}}}", out,
                     json_quote(run.environment("data_hash")),
                     json_quote(run.environment("device")));
}

void write_scores(const GlueOptions& options, const std::vector<TaskWork>& done) {
  std::string json;
  for (const TaskWork& work : done)
    for (const auto& [name, values] : work.metrics) {
      std::string list;
      for (const double value : values)
        list += fmt::format("{}{}", list.empty() ? "" : ", ", json_number(value));
      json += fmt::format(
          "{}\n  {{\"task\": {}, \"score\": {}, \"trained_on_subset\": {}, \"scored_on_subset\": "
          "{}, \"seeds\": \"1 to {}\", \"values\": [{}], \"protocol\": {}}}",
          json.empty() ? "" : ",", json_quote(std::string(work.task->name)), json_quote(name),
          work.trained_on_subset, work.scored_on_subset, values.size(), list, work.protocol);
    }
  write_file("glue", options.out + "/glue.json", fmt::format("[{}\n]\n", json));
}

void print_scores(const TaskWork& work) {
  for (const auto& [name, values] : work.metrics) {
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    fmt::print("{:<6}  {:<26}  {:>7.2f}  {:>7.2f}-{:<7.2f}{}\n", work.task->name, name,
               100 * median(values), 100 * *least, 100 * *most, work.note());
  }
}

void print_average(const std::vector<TaskWork>& done, int64_t seeds) {
  const auto counts = [](const GlueTask& task) { return task.has_train() && task.name != "wnli"; };
  size_t all = 0, counted = 0;
  double sum = 0;
  for (const GlueTask& task : glue_tasks()) all += counts(task);
  for (const TaskWork& work : done)
    if (counts(*work.task) && work.note().empty()) sum += median(work.means), ++counted;
  if (counted == all)
    fmt::print(
        "\naverage of the {} tasks without WNLI on dev, of MNLI matched, medians of {} seed{}: "
        "{:.2f}\n",
        all, seeds, seeds == 1 ? "" : "s", 100 * sum / static_cast<double>(all));
}

int run_glue(const GlueOptions& options) {
  if (options.seeds < 1) fail("glue: --seeds {} is not 1 or more", options.seeds);
  for (const std::string& override : options.overrides)
    if (override.starts_with("texts."))
      fail("glue: the texts are the task's own, found {}; 'strobe finetune' takes others",
           override);
  catch_stop_signals();
  std::vector<TaskWork> tasks, done;
  for (const GlueTask* task : tasks_of(options.tasks)) tasks.push_back(open_task(options, *task));
  for (TaskWork& work : tasks) {
    const GlueTask& task = *work.task;
    const bool from_mnli = !options.mnli.empty() && task.starts_from_mnli;
    for (int64_t seed = 1; seed <= options.seeds; ++seed) {
      const std::string name = fmt::format("{}-s{}", task.name, seed);
      const std::string folder = options.out + "/" + name;
      TextsConfig texts;
      texts.train = options.data, texts.task = task.name;
      std::vector<std::string> overrides = {fmt::format("train.epochs={}", task.epochs),
                                            fmt::format("seed={}", seed)};
      overrides.insert(overrides.end(), options.overrides.begin(), options.overrides.end());
      const Config config = finetune_config(from_mnli ? options.mnli : options.from, name, texts,
                                            task.classes.empty(), overrides);
      if (done.empty() && seed == 1) note_unread_keys(config, load_config("", options.overrides));
      const RunState state = finetune(config, folder, stop_requested);
      if (state == RunState::stopped) {
        fmt::print("stopped and saved; the same command continues\n");
        return 130;
      }
      if (state == RunState::diverged) fail("glue: {} diverged", folder);
      score(options, folder, /*uploads=*/seed == 1, work);
      work.protocol = protocol_of(folder);
      keep_best_weights(folder + "/checkpoints");
    }
    done.push_back(std::move(work));
    write_scores(options, done);
    print_scores(done.back());
  }
  fmt::print("\n{:<6}  {:<26}  {:>7}  {:>15}\n", "task", "score", "median", "range");
  for (const TaskWork& work : done) print_scores(work);
  print_average(done, options.seeds);
  fmt::print(
      "\nof the last checkpoint of each run; {}/glue.json has every value and its protocol\n",
      options.out);
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
            options.value(o->from, "from", "run, or folder of Hugging Face transformers'",
                          Options::required);
            options.values(o->overrides, "overrides", "key=value, for any key of 'train --keys'");
            options.value(o->data, "--data", "folder with the tasks' folders", Options::required);
            options.value(o->tasks, "--task", "all, or some with commas: " + names_of_tasks());
            options.value(o->seeds, "--seeds", "runs of each task");
            options.value(o->out, "--out", "folder of the runs; what is there goes on");
            options.value(o->mnli, "--mnli",
                          "run fine-tuned on MNLI, from which RTE, MRPC and STS-B start");
            options.flag(o->test, "--test", "write the files that the GLUE server takes");
            return [o] { return run_glue(*o); };
          }};
}

}  // namespace strobe
