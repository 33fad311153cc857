// Threads. Work is cut by shape alone and never by how many threads run it, so that results do not
// depend on the number of threads.
#pragma once

#include <cstdint>
#include <functional>

namespace strobe {

/// Threads that parallel_for uses; 0 asks for one a core this process may run on.
void set_threads(int threads);
int threads();

/// Calls body(i) for i in [0, tasks), each task on one thread; tasks are handed out in order.
void parallel_for(int64_t tasks, const std::function<void(int64_t)>& body);

}  // namespace strobe
