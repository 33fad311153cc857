#include "strobe/core/threads.h"

#include <omp.h>

#include <exception>

namespace strobe {

namespace {
int chosen = 0;
}

void set_threads(int threads) {
  chosen = threads > 0 ? threads : omp_get_num_procs();
  omp_set_num_threads(chosen);
}

int threads() {
  if (chosen == 0) set_threads(0);
  return chosen;
}

void parallel_for(int64_t tasks, const std::function<void(int64_t)>& body) {
  if (tasks <= 0) return;
  std::exception_ptr error;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads()) if (tasks > 1)
  for (int64_t i = 0; i < tasks; ++i) {
    try {
      body(i);
    } catch (...) {
#pragma omp critical(strobe_parallel_for)
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace strobe
