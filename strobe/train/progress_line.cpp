#include "strobe/train/progress_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "strobe/core/arena.h"
#include "strobe/core/clock.h"
#include "strobe/core/error.h"

namespace strobe {

namespace {

size_t terminal_width() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

constexpr double kRefreshSeconds = 0.1;

// Not by fmt::print, which throws where the terminal has been closed: the run is to be saved first.
// The program's end looks whether all of it arrived.
void put(const std::string& text) { std::fputs(text.c_str(), stdout); }

}  // namespace

std::string format_seconds(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  const auto s = static_cast<int64_t>(std::llround(seconds));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {:02} s", s / 60, s % 60);
  return fmt::format("{} h {:02} min", s / 3600, s / 60 % 60);
}

ProgressLine::ProgressLine(std::string prefix, int64_t bytes)
    : prefix_(std::move(prefix)), bytes_(bytes), terminal_(isatty(STDOUT_FILENO) != 0) {}

void ProgressLine::show(const StepEvent& e, const Evaluation* validation, double done,
                        double seconds_left, bool plain_due) {
  if (!terminal_ && !plain_due) return;
  if (terminal_ && done < 1 && steady_seconds() - last_shown_ < kRefreshSeconds) return;
  last_shown_ = steady_seconds();
  std::string line =
      fmt::format("{}step {:>6} {:>3.0f} %  loss {}", prefix_, e.step, std::min(done, 1.0) * 100,
                  std::isnan(e.loss) ? "-" : fmt::format("{:.3f}", e.loss));
  if (validation) line += fmt::format("  val {:.3f}", validation->loss);
  if (validation)
    for (const auto& [name, score] : validation->scores)
      line += fmt::format("  {} {:.3f}", name, score);
  line +=
      fmt::format("  lr {:.2e}  norm {:.2f}  {:.0f} tok/s", e.lr, e.grad_norm, e.tokens_per_second);
  if (e.mfu > 0) line += fmt::format("  mfu {:.0f} %", e.mfu * 100);
  line += fmt::format("  {}  {} left", format_bytes(bytes_), format_seconds(seconds_left));
  if (terminal_) {
    line.resize(std::min(line.size(), terminal_width() - 1));
    put("\r\033[K" + line);
    open_ = true;
  } else {
    put(line + "\n");
  }
  std::fflush(stdout);
}

void ProgressLine::note(const std::string& text) {
  if (open_) put("\r\033[K");
  open_ = false;
  put(text + "\n");
  std::fflush(stdout);
}

void ProgressLine::finish() {
  if (open_) put("\n");
  open_ = false;
  std::fflush(stdout);
}

}  // namespace strobe
