#include "strobe/data/glue.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "strobe/core/error.h"

namespace strobe {

namespace fs = std::filesystem;

std::span<const GlueTask> glue_tasks() {
  static const std::vector<std::string_view> binary = {"0", "1"};
  static const std::vector<std::string_view> entails = {"entailment", "not_entailment"};
  static const std::vector<std::string_view> three = {"entailment", "neutral", "contradiction"};
  static const auto usual = [](std::string_view upload) {
    return std::vector<GlueTask::Split>{{"dev", "dev.tsv", ""}, {"test", "test.tsv", upload}};
  };
  static const GlueTask tasks[] = {
      {.name = "cola",
       .folder = "CoLA",
       .texts = {"sentence"},
       .label = "",
       .classes = binary,
       .metrics = {kMatthews},
       .unnamed_texts = {"4"},
       .unnamed_label = "2",
       .splits = usual("CoLA.tsv"),
       .epochs = 5},
      {.name = "sst2",
       .folder = "SST-2",
       .texts = {"sentence"},
       .label = "label",
       .classes = binary,
       .metrics = {kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = usual("SST-2.tsv")},
      {.name = "mrpc",
       .folder = "MRPC",
       .texts = {"#1 String", "#2 String"},
       .label = "Quality",
       .classes = binary,
       .metrics = {kF1, kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = usual("MRPC.tsv"),
       .epochs = 5,
       .starts_from_mnli = true},
      {.name = "qqp",
       .folder = "QQP",
       .texts = {"question1", "question2"},
       .label = "is_duplicate",
       .classes = binary,
       .metrics = {kF1, kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = usual("QQP.tsv"),
       .index = "id",
       .broken_rows = true},
      {.name = "stsb",
       .folder = "STS-B",
       .texts = {"sentence1", "sentence2"},
       .label = "score",
       .classes = {},
       .metrics = {kPearson, kSpearman},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = usual("STS-B.tsv"),
       .epochs = 5,
       .starts_from_mnli = true},
      {.name = "mnli",
       .folder = "MNLI",
       .texts = {"sentence1", "sentence2"},
       .label = "gold_label",
       .classes = three,
       .metrics = {kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = {{"dev", "dev_matched.tsv", ""},
                  {"dev-mismatched", "dev_mismatched.tsv", ""},
                  {"test", "test_matched.tsv", "MNLI-m.tsv"},
                  {"test-mismatched", "test_mismatched.tsv", "MNLI-mm.tsv"}}},
      {.name = "qnli",
       .folder = "QNLI",
       .texts = {"question", "sentence"},
       .label = "label",
       .classes = entails,
       .metrics = {kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = usual("QNLI.tsv")},
      {.name = "rte",
       .folder = "RTE",
       .texts = {"sentence1", "sentence2"},
       .label = "label",
       .classes = entails,
       .metrics = {kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = usual("RTE.tsv"),
       .epochs = 5,
       .starts_from_mnli = true},
      {.name = "wnli",
       .folder = "WNLI",
       .texts = {"sentence1", "sentence2"},
       .label = "label",
       .classes = binary,
       .metrics = {kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = usual("WNLI.tsv")},
      // Predicted by the model of MNLI; its labels are the server's own.
      {.name = "ax",
       .folder = "AX",
       .texts = {"sentence1", "sentence2"},
       .label = "",
       .classes = three,
       .metrics = {kMatthews},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = {{"test", "diagnostic.tsv", "AX.tsv"}}},
  };
  return tasks;
}

const GlueTask& glue_task(std::string_view name) {
  std::vector<std::string> known;
  for (const GlueTask& task : glue_tasks()) {
    if (task.name == name) return task;
    known.emplace_back(task.name);
  }
  const std::string near = nearest(name, known.data(), known.size());
  fail("glue: there is no task '{}'{}; there are {}", name,
       near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near), fmt::join(known, ", "));
}

namespace {

struct Found {
  std::string file;
  bool subset = false;
};

// The official file, or the one file that its name says is a part of it.
Found find_file(const std::string& data, const GlueTask& task, std::string_view official,
                std::string_view split) {
  std::string missing;
  for (const fs::path& folder :
       {fs::path(data) / task.folder, fs::path(data) / "diagnostic", fs::path(data)}) {
    if (const fs::path file = folder / official; fs::exists(file)) return {file.string()};
    if (!fs::is_directory(folder)) continue;
    if (missing.empty()) missing = folder.string();
    std::vector<std::string> parts;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(fmt::format("{}-", split)) && name.ends_with(".tsv"))
        parts.push_back(entry.path().string());
    }
    std::sort(parts.begin(), parts.end());
    if (parts.size() == 1) return {parts[0], true};
    if (parts.size() > 1)
      fail("glue: {} lacks {} and has several parts of it: {}", folder.string(), official,
           fmt::join(parts, ", "));
  }
  if (missing.empty()) fail("glue: there is no folder {}", data);
  fail("glue: {} has no {} of {}", missing, official, task.folder);
}

const GlueTask::Split& split_of(const GlueTask& task, std::string_view name) {
  std::vector<std::string_view> known;
  for (const GlueTask::Split& split : task.splits) {
    if (split.name == name) return split;
    known.push_back(split.name);
  }
  fail("glue: {} has no split '{}'; it has train, {}", task.name, name, fmt::join(known, ", "));
}

std::vector<std::string> strings(const std::vector<std::string_view>& views) {
  return {views.begin(), views.end()};
}

}  // namespace

GlueSplit read_glue(const std::string& data, const GlueTask& task, std::string_view split,
                    size_t most_rows) {
  const bool train = split == "train";
  const GlueTask::Split* of = train ? nullptr : &split_of(task, split);
  if (train && task.splits.size() == 1) fail("glue: {} has no training set", task.name);
  const Found found = find_file(data, task, train ? "train.tsv" : of->file, split);
  const bool test = !train && !of->upload.empty();
  const bool unnamed = !test && !task.unnamed_texts.empty();
  ExampleColumns columns;
  columns.texts = strings(unnamed ? task.unnamed_texts : task.texts);
  if (!test) columns.label = unnamed ? task.unnamed_label : task.label;
  columns.classes = strings(task.classes);
  columns.regression = task.classes.empty();
  const TableOptions options{.format = TableOptions::Format::tsv,
                             .header = !unnamed,
                             .most_rows = most_rows,
                             .skip_broken_rows = task.broken_rows};
  GlueSplit out;
  out.file = found.file;
  out.subset = found.subset;
  out.examples = read_examples(found.file, columns, options, &out.skipped);
  return out;
}

GlueScores glue_scores(const GlueTask& task, std::span<const float> predicted,
                       std::span<const float> labels) {
  GlueScores out;
  for (const Metric& metric : task.metrics) {
    out.metrics.emplace_back(metric.name, metric.compute(predicted, labels));
    out.mean += out.metrics.back().second / static_cast<double>(task.metrics.size());
  }
  return out;
}

std::string glue_upload(const std::string& data, const GlueTask& task, std::string_view split,
                        std::span<const float> predicted) {
  const GlueTask::Split& of = split_of(task, split);
  if (of.upload.empty()) fail("glue: '{}' of {} is no test", split, task.name);
  const TextTable table = TextTable::read(
      find_file(data, task, of.file, split).file, {std::string(task.index)},
      {.format = TableOptions::Format::tsv, .header = true, .skip_broken_rows = false});
  if (table.rows() != predicted.size())
    fail("glue: {} predictions for the {} rows of {}", predicted.size(), table.rows(),
         table.file());
  std::string text = "index\tprediction\n";
  for (size_t row = 0; row < table.rows(); ++row) {
    text += table.at(row, 0) + '\t';
    const float value = predicted[row];
    if (task.classes.empty()) {
      text += fmt::format("{:.3f}\n", std::isnan(value) ? 0.0f : std::clamp(value, 0.0f, 5.0f));
      continue;
    }
    const auto number = static_cast<size_t>(value);
    check(value >= 0 && number < task.classes.size() && static_cast<float>(number) == value,
          "glue_upload: predictions are numbers of classes");
    text += fmt::format("{}\n", task.classes[number]);
  }
  return text;
}

}  // namespace strobe
