// The program: runs the verb that its command line names.
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "apps/options.h"
#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/study/child.h"

namespace strobe {

namespace {

volatile std::sig_atomic_t stop = 0;

extern "C" void on_stop(int signal) {
  stop = 1;
  std::signal(signal, SIG_DFL);
}

// Of what comes again by itself while the work is saved: a closed terminal's SIGHUP from the shell
// and from the kernel, SIGPIPE with each line that is said.
extern "C" void on_stop_for_good(int signal) {
  stop = 1;
  std::signal(signal, SIG_IGN);
}

// Threads that wait for each other spin for milliseconds by default, which on a machine that does
// anything else takes the core from the thread waited for: a step becomes several times as long.
// This many turns, some tens of microseconds, cover the gaps between the ops of a step. OpenMP
// reads its environment while it is loaded, so the program starts itself once more.
void wait_briefly(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
  ::setenv("GOMP_SPINCOUNT", "1000", 1);
  ::execv("/proc/self/exe", argv);  // where that cannot be, things are slower and not wrong
}

// What was printed may still wait in a buffer: the status must not say that all went well before
// it has arrived. Returns the status to exit with. Here and below nothing is printed by what throws
// where the standard error is lost too: the status is all that is left to tell.
int finish_output(int status) {
  errno = 0;
  if (std::fflush(stdout) == 0 && !std::ferror(stdout)) return status;
  std::fprintf(stderr, "strobe: the standard output could not be written%s%s\n", errno ? ": " : "",
               errno ? std::strerror(errno) : "");
  return status != 0 ? status : 1;
}

}  // namespace

bool stop_requested() { return stop != 0; }

void catch_stop_signals() {
  std::signal(SIGINT, on_stop);
  std::signal(SIGTERM, on_stop);
  if (std::signal(SIGHUP, on_stop_for_good) == SIG_IGN)
    std::signal(SIGHUP, SIG_IGN);  // nohup's wish
}

void save_when_stopped() {
  catch_stop_signals();
  std::signal(SIGPIPE, on_stop_for_good);
}

}  // namespace strobe

int main(int argc, char** argv) {
  using namespace strobe;
  wait_briefly(argv);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of writing, as others are
  int status = 1;
  try {
    status =
        run_verbs(argc, argv, all_verbs(),
                  "Trains GPT-2 and BERT on its own FlashAttention kernels and finds out which "
                  "training recipe is worth using.",
                  "strobe " STROBE_VERSION);
  } catch (const Error& error) {
    std::fprintf(stderr, "strobe: %s\n", error.what());
  } catch (const std::bad_alloc&) {
    std::fputs("strobe: out of memory\n", stderr);
  } catch (const std::exception& error) {
    const bool no_output = std::ferror(stdout) || std::ferror(stderr);
    if (no_output && stop_requested()) status = kInterrupted;
    if (!no_output) std::fprintf(stderr, "strobe: internal error: %s\n", error.what());
  }
  return finish_output(status);
}
