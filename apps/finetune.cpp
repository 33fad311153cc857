// strobe finetune, strobe glue: labelled texts on top of a BERT.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>

#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/core/file.h"
#include "strobe/core/json_text.h"
#include "strobe/data/glue.h"
#include "strobe/train/finetune.h"
#include "strobe/train/run_data.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

struct FinetuneOptions {
  std::string from, run;
  TextsConfig texts;
  bool regression = false;
  std::vector<std::string> overrides;
};

int run_finetune(const FinetuneOptions& options) {
  const std::string name = fs::path(options.texts.train).stem().string();
  const std::string folder = options.run.empty() ? "runs/" + name : options.run;
  check_is_free(folder);
  const Config config =
      finetune_config(options.from, name, options.texts, options.regression, options.overrides);
  catch_stop_signals();
  const RunState state = finetune(config, folder, stop_requested);
  if (state == RunState::stopped) {
    fmt::print("stopped and saved; 'strobe resume {}' continues\n", folder);
    return 130;
  }
  if (state == RunState::diverged) return 1;
  fmt::print("finished: {}\n", folder);
  return 0;
}

struct GlueOptions {
  std::string from, data, tasks = "all", out = "runs/glue", mnli;
  int64_t seeds = 1;
  bool test = false;
  std::vector<std::string> overrides;
};

// Small tasks take more passes; the rest is the same for all.
double epochs_of(std::string_view task) {
  const std::map<std::string_view, double> epochs = {
      {"cola", 5}, {"mrpc", 5}, {"stsb", 5}, {"rte", 5}, {"wnli", 3}};
  const auto found = epochs.find(task);
  return found == epochs.end() ? 3 : found->second;
}

std::vector<const GlueTask*> tasks_of(const std::string& list) {
  std::vector<const GlueTask*> out;
  if (list == "all") {
    for (const GlueTask& task : glue_tasks())
      if (task.splits.size() > 1) out.push_back(&task);
    return out;
  }
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    out.push_back(&glue_task(list.substr(begin, end - begin)));
    if (out.back()->splits.size() < 2)
      fail("glue: {} has nothing to train on; mnli's model predicts it", out.back()->name);
    begin = end + 1;
  }
  return out;
}

struct TaskScores {
  const GlueTask* task;
  bool subset = false;
  std::map<std::string, std::vector<double>> metrics;  // "dev accuracy", a value a seed
  std::vector<double> means;                           // of the metrics on dev
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

// Predictions on a split by a trained run.
std::vector<float> predictions(Reader& reader, const GlueSplit& split) {
  const Predictions out = reader.predict(split.examples, stop_requested);
  if (out.stopped) fail("glue: stopped");
  return out.predicted;
}

void score(Reader& reader, const GlueOptions& options, TaskScores& scores) {
  for (const GlueTask::Split& split : scores.task->splits) {
    if (!split.upload.empty()) continue;
    const GlueSplit read = read_glue(options.data, *scores.task, split.name);
    std::vector<float> labels;
    for (const Example& row : read.examples.rows) labels.push_back(row.label);
    const GlueScores of = glue_scores(*scores.task, predictions(reader, read), labels);
    scores.subset = scores.subset || read.subset;
    for (const auto& [name, value] : of.metrics)
      scores.metrics[fmt::format("{} {}", split.name, name)].push_back(value);
    if (split.name == "dev") scores.means.push_back(of.mean);
  }
}

void write_uploads(Reader& reader, const GlueOptions& options, const GlueTask& task) {
  const auto write = [&](const GlueTask& of) {
    for (const GlueTask::Split& split : of.splits) {
      if (split.upload.empty()) continue;
      const GlueSplit read = read_glue(options.data, of, split.name);
      write_file("glue", fmt::format("{}/{}", options.out, split.upload),
                 glue_upload(options.data, of, split.name, predictions(reader, read)));
    }
  };
  write(task);
  if (task.name == "mnli") write(glue_task("ax"));
}

int run_glue(const GlueOptions& options) {
  if (options.seeds < 1) fail("glue: --seeds {} is not 1 or more", options.seeds);
  catch_stop_signals();
  std::vector<TaskScores> all;
  for (const GlueTask* task : tasks_of(options.tasks)) {
    TaskScores scores;
    scores.task = task;
    scores.subset = read_glue(options.data, *task, "train").subset;
    const bool starts_from_mnli =
        !options.mnli.empty() &&
        (task->name == "rte" || task->name == "mrpc" || task->name == "stsb");
    for (int64_t seed = 1; seed <= options.seeds; ++seed) {
      const std::string name = fmt::format("{}-s{}", task->name, seed);
      const std::string folder = options.out + "/" + name;
      TextsConfig texts;
      texts.train = options.data, texts.task = task->name;
      std::vector<std::string> overrides = {fmt::format("train.epochs={}", epochs_of(task->name)),
                                            fmt::format("seed={}", seed)};
      overrides.insert(overrides.end(), options.overrides.begin(), options.overrides.end());
      const Config config = finetune_config(starts_from_mnli ? options.mnli : options.from, name,
                                            texts, task->classes.empty(), overrides);
      const RunState state = finetune(config, folder, stop_requested);
      if (state == RunState::stopped) {
        fmt::print("stopped and saved; the same command continues\n");
        return 130;
      }
      if (state == RunState::diverged) fail("glue: {} diverged", folder);
      Reader reader(folder);
      score(reader, options, scores);
      if (options.test && seed == 1) write_uploads(reader, options, *task);
    }
    all.push_back(std::move(scores));
  }

  std::string json;
  double sum = 0;
  bool subsets = false;
  size_t counted = 0;
  fmt::print("\n{:<6}  {:<26}  {:>7}  {:>15}\n", "task", "score", "median", "range");
  for (const TaskScores& scores : all) {
    for (const auto& [name, values] : scores.metrics) {
      const auto [least, most] = std::minmax_element(values.begin(), values.end());
      fmt::print("{:<6}  {:<26}  {:>7.2f}  {:>7.2f}-{:<7.2f}{}\n", scores.task->name, name,
                 100 * median(values), 100 * *least, 100 * *most,
                 scores.subset ? "  trained on a subset: no GLUE score" : "");
      std::string list;
      for (const double value : values)
        list += fmt::format("{}{}", list.empty() ? "" : ", ", json_number(value));
      json += fmt::format("{}\n  {{\"task\": {}, \"score\": {}, \"subset\": {}, \"values\": [{}]}}",
                          json.empty() ? "" : ",", json_quote(std::string(scores.task->name)),
                          json_quote(name), scores.subset, list);
    }
    if (scores.task->name == "wnli") continue;
    sum += median(scores.means), ++counted, subsets = subsets || scores.subset;
  }
  write_file("glue", options.out + "/glue.json", fmt::format("[{}\n]\n", json));
  constexpr size_t kTasks = 8;  // without WNLI, as is usual
  if (counted == kTasks && !subsets)
    fmt::print("\naverage of the {} tasks without WNLI on dev, medians of {} seeds: {:.2f}\n",
               kTasks, options.seeds, 100 * sum / kTasks);
  fmt::print("\ndev was read once, after training; {}/glue.json has every value\n", options.out);
  return 0;
}

}  // namespace

Verb verb_finetune() {
  return {"finetune",
          "Fine-tune a BERT on labelled texts: classes or scores, single texts or pairs",
          "strobe finetune runs/bert --train reviews.csv --text-column review --label-column stars",
          [](Options& options) {
            auto o = std::make_shared<FinetuneOptions>();
            options.value(o->from, "from", "run, or folder of Hugging Face transformers'",
                          Options::required);
            options.values(o->overrides, "overrides", "key=value, for any key of 'train --keys'");
            options.value(o->texts.train, "--train", "labelled texts: .tsv, .csv, .jsonl",
                          Options::required);
            options.value(o->texts.valid, "--valid", "labelled texts to evaluate on");
            options.value(o->texts.text, "--text-column", "column of the text");
            options.value(o->texts.pair, "--pair-column", "column of the second text of a pair");
            options.value(o->texts.label, "--label-column", "column of the class, or of the score");
            options.flag(o->regression, "--regression", "labels are numbers to predict");
            options.value(o->run, "--run", "run folder; runs/<name of the file> unless given");
            return [o] { return run_finetune(*o); };
          }};
}

Verb verb_glue() {
  return {"glue", "Fine-tune a BERT on tasks of GLUE and score it on their development sets",
          "strobe glue bert-base-uncased/ --task sst2,rte --data glue/ --seeds 5",
          [](Options& options) {
            auto o = std::make_shared<GlueOptions>();
            options.value(o->from, "from", "run, or folder of Hugging Face transformers'",
                          Options::required);
            options.values(o->overrides, "overrides", "key=value, for any key of 'train --keys'");
            options.value(o->data, "--data", "folder with the tasks' folders", Options::required);
            options.value(o->tasks, "--task",
                          "all, or some with commas: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte, "
                          "wnli");
            options.value(o->seeds, "--seeds", "runs of each task");
            options.value(o->out, "--out", "folder of the runs; what is there goes on");
            options.value(o->mnli, "--mnli",
                          "run fine-tuned on MNLI, from which RTE, MRPC and STS-B start");
            options.flag(o->test, "--test", "write the files that the GLUE server takes");
            return [o] { return run_glue(*o); };
          }};
}

}  // namespace strobe
