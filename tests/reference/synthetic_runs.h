// Run and study folders made up for tests of the report: the files that training writes, without
// the training.
#pragma once

#include <cstdint>
#include <string>

#include "strobe/report/study_report.h"

namespace strobe {

struct SyntheticRun {
  std::string name = "run";
  int64_t seed = 1, steps = 40;
  std::string attention = "flash2", optimizer = "adamw";
  double final_loss = 5.5, tokens_per_second = 20000, peak_bytes = 150e6;
  double noise = 0.05;  // of the training loss
  std::string state = "finished", sample = "The river";
};

/// Writes `folder` whole: 2,048 tokens a step, evaluations every tenth of the run, the last of
/// them at `final_loss` exactly.
void write_run(const std::string& folder, const SyntheticRun& run);

/// A 2x2 study, attention {naive, flash2} x recipe {baseline, optimised}, with `seeds` seeds, runs
/// of 25 s. The loss of a run is
///   6.5 + attention * (is flash2) + recipe * (is optimised) + interaction * (both) + a seed's own
/// deviation + `noise` times a fixed number of run and seed.
struct SyntheticStudy {
  double attention = -0.3, recipe = -0.6, interaction = 0, noise = 0.004;
  int64_t seeds = 3;
  std::string question = "Does it pay?";
};
void write_study(const std::string& folder, const SyntheticStudy& study);

/// All that the report says of a result.
std::string joined(const StudyResult& result);

}  // namespace strobe
