// The command line: one line a verb.
#include <csignal>
#include <cstdio>
#include <exception>

#include "apps/options.h"
#include "apps/verbs.h"
#include "strobe/core/error.h"

namespace strobe {

namespace {

volatile std::sig_atomic_t stop = 0;

extern "C" void on_stop(int signal) {
  stop = 1;
  std::signal(signal, SIG_DFL);
}

}  // namespace

bool stop_requested() { return stop != 0; }

void catch_stop_signals() {
  std::signal(SIGINT, on_stop);
  std::signal(SIGTERM, on_stop);
}

}  // namespace strobe

int main(int argc, char** argv) {
  using namespace strobe;
  try {
    return run_verbs(argc, argv, all_verbs(),
                     "Trains GPT-2 on its own FlashAttention kernels and finds out which training "
                     "recipe is worth using.",
                     "strobe " STROBE_VERSION);
  } catch (const Error& error) {
    fmt::print(stderr, "strobe: {}\n", error.what());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "strobe: out of memory\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "strobe: internal error: {}\n", error.what());
  }
  return 1;
}
