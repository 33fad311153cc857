// The tasks of GLUE (Wang et al. 2019): the official files and their layout, what is measured, and
// what the server takes. A row a task in glue.cpp.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "strobe/data/examples.h"
#include "strobe/data/scores.h"

namespace strobe {

struct GlueTask {
  std::string_view name;    // "sst2"
  std::string_view folder;  // "SST-2"
  std::vector<std::string_view> texts;
  std::string_view label;
  std::vector<std::string_view> classes;  // by number; empty: scores from 0 to 5
  std::vector<Metric> metrics;            // the task's score is their mean

  /// Train and dev files of CoLA have no header: the columns by number.
  std::vector<std::string_view> unnamed_texts;
  std::string_view unnamed_label;

  struct Split {
    std::string_view name;  // "dev", "dev-mismatched", "test", "test-mismatched"
    std::string_view file;
    std::string_view upload;  // of a test, the file that the server takes
    int64_t rows = 0;         // of a dev, as published
  };
  std::vector<Split> splits;  // without train, which is train.tsv
  int64_t train_rows = 0;     // as published; 0: there is no train
  std::string_view index = "index";
  bool broken_rows = false;       // the published file has some, which everybody leaves out
  double epochs = 3;              // of fine-tuning, unless told otherwise: small tasks take more
  int64_t batch = 32;             // sequences a step, unless told otherwise: small tasks take fewer
  bool starts_from_mnli = false;  // where there is a model of it

  bool has_train() const { return splits.size() > 1; }
};

std::span<const GlueTask> glue_tasks();
/// Throws Error naming the tasks there are.
const GlueTask& glue_task(std::string_view name);

struct GlueSplit {
  Examples examples;
  std::string file;
  bool subset = false;  // not what was published: scores on it, or after it, are not GLUE's
  int64_t skipped = 0;  // broken rows of train or dev, which have no place
  std::vector<std::string> index;  // of a test, what the server calls each row
};

/// Whether so many rows are all that was published of train or a dev; of a test always.
bool is_whole(const GlueTask& task, std::string_view split, int64_t rows);

/// Whether there is a file of the split, whole or a subset.
bool has_glue(const std::string& data, const GlueTask& task, std::string_view split);

/// Reads a split ("train" or one of the task's) under GLUE's folder `data`, or under the task's
/// own. Where the official file is not there, a subset of it is taken: "train-9k.tsv" for
/// train.tsv; a file with another number of rows than was published is one too. Throws Error naming
/// what is missing. `most_rows`: only the first so many; 0: all.
GlueSplit read_glue(const std::string& data, const GlueTask& task, std::string_view split,
                    size_t most_rows = 0);

/// The task's metrics by name, and their mean.
struct GlueScores {
  std::vector<std::pair<std::string, double>> metrics;
  double mean = 0;
};
GlueScores glue_scores(const GlueTask& task, std::span<const float> predicted,
                       std::span<const float> labels);

/// The text of the file that the server takes for the predictions (class numbers, or scores) on the
/// rows of a test split.
std::string glue_upload(const GlueTask& task, const GlueSplit& test,
                        std::span<const float> predicted);

}  // namespace strobe
