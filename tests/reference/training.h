// Small training runs in a temporary folder, and what they leave behind.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "strobe/train/trainer.h"
#include "tests/reference/backends.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe::reference {

/// Tests of training, by backend.
class TrainingRuns : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override;

  Config config(int64_t steps) const;
  /// Trains to the end, or until `stop_after` steps; resumes if the folder exists.
  RunState train(const Config& config, const std::string& name, int64_t stop_after = -1);
  std::string weights(const std::string& name, int64_t step) const;
  /// events.jsonl without what the clock decides.
  std::string events(const std::string& name) const;
  std::string result(const std::string& name) const;
  /// Fails unless a Trainer of this configuration throws an Error with this in it.
  void expect_error(const Config& config, const std::string& part);

  static constexpr int64_t kValidationBatches = 7;  // 332 targets in blocks of 24, two a batch
  TemporaryFolder folder_;
};

}  // namespace strobe::reference
