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
  static const auto usual = [](std::string_view upload, int64_t dev) {
    return std::vector<GlueTask::Split>{{"dev", "dev.tsv", "", dev}, {"test", "test.tsv", upload}};
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
       .splits = usual("CoLA.tsv", 1043),
       .train_rows = 8551,
       .epochs = 5},
      {.name = "sst2",
       .folder = "SST-2",
       .texts = {"sentence"},
       .label = "label",
       .classes = binary,
       .metrics = {kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = usual("SST-2.tsv", 872),
       .train_rows = 67349},
      {.name = "mrpc",
       .folder = "MRPC",
       .texts = {"#1 String", "#2 String"},
       .label = "Quality",
       .classes = binary,
       .metrics = {kF1, kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = usual("MRPC.tsv", 408),
       .train_rows = 3668,
       .epochs = 5,
       .batch = 16,
       .starts_from_mnli = true},
      {.name = "qqp",
       .folder = "QQP",
       .texts = {"question1", "question2"},
       .label = "is_duplicate",
       .classes = binary,
       .metrics = {kF1, kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = usual("QQP.tsv", 40430),
       .train_rows = 363846,
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
       .splits = usual("STS-B.tsv", 1500),
       .train_rows = 5749,
       .epochs = 5,
       .batch = 16,
       .starts_from_mnli = true},
      {.name = "mnli",
       .folder = "MNLI",
       .texts = {"sentence1", "sentence2"},
       .label = "gold_label",
       .classes = three,
       .metrics = {kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = {{"dev", "dev_matched.tsv", "", 9815},
                  {"dev-mismatched", "dev_mismatched.tsv", "", 9832},
                  {"test", "test_matched.tsv", "MNLI-m.tsv"},
                  {"test-mismatched", "test_mismatched.tsv", "MNLI-mm.tsv"}},
       .train_rows = 392702},
      {.name = "qnli",
       .folder = "QNLI",
       .texts = {"question", "sentence"},
       .label = "label",
       .classes = entails,
       .metrics = {kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = usual("QNLI.tsv", 5463),
       .train_rows = 104743},
      {.name = "rte",
       .folder = "RTE",
       .texts = {"sentence1", "sentence2"},
       .label = "label",
       .classes = entails,
       .metrics = {kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = usual("RTE.tsv", 277),
       .train_rows = 2490,
       .epochs = 5,
       .batch = 16,
       .starts_from_mnli = true},
      {.name = "wnli",
       .folder = "WNLI",
       .texts = {"sentence1", "sentence2"},
       .label = "label",
       .classes = binary,
       .metrics = {kAccuracy},
       .unnamed_texts = {},
       .unnamed_label = "",
       .splits = usual("WNLI.tsv", 71),
       .train_rows = 635},
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
    if (task.has_train()) known.emplace_back(task.name);
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

// Whether a file's name says that it is a part of the split: "dev-1k.tsv" is of dev, and
// "dev-mismatched-1k.tsv" of dev-mismatched alone.
bool is_part(const std::string& name, const GlueTask& task, std::string_view split) {
  if (!name.starts_with(fmt::format("{}-", split)) || !name.ends_with(".tsv")) return false;
  for (const GlueTask::Split& other : task.splits)
    if (other.name.size() > split.size() && name.starts_with(other.name)) return false;
  return true;
}

// The official file, or the one file that its name says is a part of it; an empty name where there
// is neither.
Found find_file_or_none(const std::string& data, const GlueTask& task, std::string_view official,
                        std::string_view split) {
  for (const fs::path& folder :
       {fs::path(data) / task.folder, fs::path(data) / "diagnostic", fs::path(data)}) {
    if (const fs::path file = folder / official; fs::exists(file)) return {file.string()};
    if (!fs::is_directory(folder)) continue;
    std::vector<std::string> parts;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (is_part(name, task, split)) parts.push_back(entry.path().string());
    }
    std::sort(parts.begin(), parts.end());
    if (parts.size() == 1) return {parts[0], true};
    if (parts.size() > 1)
      fail("glue: {} lacks {} and has several parts of it: {}", folder.string(), official,
           fmt::join(parts, ", "));
  }
  return {};
}

Found find_file(const std::string& data, const GlueTask& task, std::string_view official,
                std::string_view split) {
  Found found = find_file_or_none(data, task, official, split);
  if (!found.file.empty()) return found;
  if (!fs::is_directory(data)) fail("glue: there is no folder {}", data);
  const fs::path own = fs::path(data) / task.folder;
  fail("glue: {} has no {} of {}", fs::is_directory(own) ? own.string() : data, official,
       task.folder);
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

bool is_whole(const GlueTask& task, std::string_view split, int64_t rows) {
  const int64_t published = split == "train" ? task.train_rows : split_of(task, split).rows;
  // Of a file with broken rows there are versions that differ by a few.
  return published == 0 || rows == published || (task.broken_rows && rows > published);
}

bool has_glue(const std::string& data, const GlueTask& task, std::string_view split) {
  const std::string_view file = split == "train" ? "train.tsv" : split_of(task, split).file;
  return !find_file_or_none(data, task, file, split).file.empty();
}

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
                             .skip_broken_rows = task.broken_rows && !test};
  GlueSplit out;
  out.file = found.file;
  out.subset = found.subset;
  out.examples = read_examples(found.file, columns, options, &out.skipped);
  if (!test) {
    const auto rows = static_cast<int64_t>(out.examples.rows.size());
    if (most_rows == 0) out.subset = out.subset || !is_whole(task, split, rows);
    return out;
  }
  const TextTable table = TextTable::read(found.file, {std::string(task.index)}, options);
  for (size_t row = 0; row < table.rows(); ++row) out.index.push_back(table.at(row, 0));
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

std::string glue_upload(const GlueTask& task, const GlueSplit& test,
                        std::span<const float> predicted) {
  check(predicted.size() == test.index.size(), "glue_upload: a prediction for each row of a test");
  std::string text = "index\tprediction\n";
  for (size_t row = 0; row < predicted.size(); ++row) {
    text += test.index[row] + '\t';
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
