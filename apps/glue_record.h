// glue.json: an entry a task and score, with every seed's value and what the runs were; what other
// calls wrote stays, and once all tasks that count are there, so does their average.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace strobe {

/// Of those that are numbers; NaN where none is.
double median(std::vector<double> values);

class GlueRecord {
 public:
  /// Reads the file, if it is there. Throws Error if it holds anything else.
  explicit GlueRecord(std::string file);

  /// Puts these entries in the place of what the file has of the task by now, and writes it.
  /// Several processes may do so at once.
  void put(std::string_view task, const std::vector<nlohmann::ordered_json>& entries);

  /// The mean of the tasks' medians on dev; nothing unless each task that counts is there, and is
  /// no subset's.
  std::optional<double> average() const;

 private:
  void read();
  std::vector<nlohmann::ordered_json> of_task(std::string_view task) const;
  std::optional<double> score_of(std::string_view task, size_t metrics) const;

  std::string file_;
  std::vector<nlohmann::ordered_json> entries_;
};

}  // namespace strobe
