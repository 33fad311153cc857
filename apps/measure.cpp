#include "apps/measure.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <vector>

#include "strobe/core/clock.h"
#include "strobe/core/rng.h"

namespace strobe {

namespace {

// Seconds that this process's threads have waited for a core so far: the second number of
// /proc/PID/task/TID/schedstat, in nanoseconds (Documentation/scheduler/sched-stats.rst). 0 where
// the kernel does not say.
double waited() {
  double nanoseconds = 0;
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", error)) {
    double ran = 0, wait = 0;
    if (std::ifstream(task.path() / "schedstat") >> ran >> wait) nanoseconds += wait;
  }
  return nanoseconds * 1e-9;
}

constexpr double kDisturbed = 0.03;  // a run that waited more than this share of its time

// Runs in one timing: enough that reading the clock (or the host's part, on a device) is nothing
// beside them.
int64_t repeats_of(double once, double shortest, double most) {
  return static_cast<int64_t>(std::clamp(std::ceil(shortest / std::max(once, 1e-7)), 1.0, most));
}

// Several runs in one timing, so that the device never waits for the host between its ops.
Measured measure_on_device(Backend& backend, const std::function<void()>& body, double least) {
  constexpr size_t kFewest = 5;
  const int64_t repeats = repeats_of(backend.seconds("warm up", body), 2e-3, 1000);
  std::vector<double> runs;
  for (double total = 0; total < least || runs.size() < kFewest;) {
    const double took = backend.seconds("measured", [&] {
      for (int64_t i = 0; i < repeats; ++i) body();
    });
    total += took;
    runs.push_back(took / static_cast<double>(repeats));
  }
  std::sort(runs.begin(), runs.end());
  Measured result;
  result.seconds = result.median = runs[runs.size() / 2];
  result.busy = result.seconds > 2 * runs.front();
  return result;
}

}  // namespace

void Timings::begin() {
  waited_before_ = watch_threads_ ? waited() : 0;
  begun_ = steady_seconds();
}

void Timings::end(int64_t repeats) {
  const double took = steady_seconds() - begun_;
  record(took, (watch_threads_ ? waited() : 0) - waited_before_, repeats);
}

void Timings::record(double took, double waited, int64_t repeats) {
  seconds_ += took, waited_ += waited;
  all_.push_back(took / static_cast<double>(repeats));
  if (waited > kDisturbed * took) return;
  clean_.push_back(all_.back()), clean_seconds_ += took;
}

Measured Timings::result() const {
  Measured result;
  result.busy = clean_.empty();
  std::vector<double> runs = clean_.empty() ? all_ : clean_;
  if (runs.empty()) return result;
  std::sort(runs.begin(), runs.end());
  result.seconds = runs.front(), result.median = runs[runs.size() / 2];
  result.waited = waited_ / seconds_;
  result.busy = result.busy || result.median > 2 * result.seconds;
  return result;
}

Measured measure(Backend& backend, const std::function<void()>& body, double least) {
  body();
  if (backend.info().asynchronous) return measure_on_device(backend, body, least);
  // Asking the kernel what was waited takes a tenth of a millisecond, so short runs share a timing.
  const double begin = steady_seconds();
  body();
  const int64_t repeats = repeats_of(steady_seconds() - begin, 5e-3, 1e6);
  Timings timings;
  while ((timings.clean_seconds() < least || timings.clean_runs() < 3) &&
         (timings.seconds() < 4 * least || timings.runs() < 5))
    timings.time(
        [&] {
          for (int64_t i = 0; i < repeats; ++i) body();
        },
        repeats);
  return timings.result();
}

Buffer::Buffer(Backend& backend, DType dtype, std::initializer_list<int64_t> shape)
    : backend_(backend), tensor_(nullptr, dtype, shape) {
  tensor_.data = backend.allocate(std::max<int64_t>(tensor_.bytes(), 256));
  upload_normal(backend, tensor_, 0);
}

void upload_normal(Backend& backend, const Tensor& x, uint32_t stream) {
  constexpr int64_t kPeriod = 65537;  // a prime, so that rows, of a power of two, do not repeat
  const bool floats = x.dtype == DType::f32 || x.dtype == DType::bf16;
  RandomSequence random(1, RandomUse::init, stream);
  std::vector<float> normal(floats ? std::min(kPeriod, x.numel()) : 0);
  for (float& y : normal) y = random.normal();
  std::vector<char> bytes(x.bytes());
  for (int64_t i = 0; floats && i < x.numel(); ++i) {
    const float y = normal[i % kPeriod];
    if (x.dtype == DType::f32) reinterpret_cast<float*>(bytes.data())[i] = y;
    if (x.dtype == DType::bf16) reinterpret_cast<bf16*>(bytes.data())[i] = to_bf16(y);
  }
  backend.upload(x, bytes.data());
}

Measured measure_copy(Backend& backend, int64_t bytes) {
  const Buffer from(backend, DType::f32, {bytes / 4}), to(backend, DType::f32, {bytes / 4});
  return measure(backend, [&] { backend.copy(to, from); });
}

}  // namespace strobe
