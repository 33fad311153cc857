// The line a run shows of itself: live on a terminal, a plain line now and then otherwise.
#pragma once

#include <cstdint>
#include <string>

#include "strobe/train/run_folder.h"

namespace strobe {

/// step, %, loss, validation loss and scores, lr, gradient norm, tokens/s, MFU, memory, time left.
class ProgressLine {
 public:
  /// `interval` steps between plain lines; `prefix` stands before each line.
  ProgressLine(std::string prefix, int64_t bytes);
  ~ProgressLine() { finish(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// `validation` is the last there was, null if there was none; `done` the share of the run in
  /// [0, 1]; `plain_due` says that a plain line is due here.
  void show(const StepEvent& event, const Evaluation* validation, double done, double seconds_left,
            bool plain_due);
  /// Prints `text` as a line of its own, above the live line.
  void note(const std::string& text);
  /// Ends the live line, so that what follows begins a new one.
  void finish();

 private:
  std::string prefix_;
  int64_t bytes_;
  bool terminal_, open_ = false;
  double last_shown_ = 0;
};

/// "1 h 05 min", "3 min 20 s", "25 s".
std::string format_seconds(double seconds);

}  // namespace strobe
