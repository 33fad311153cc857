#include "apps/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <vector>

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

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr double kDisturbed = 0.03;  // a run that waited more than this share of its time

// Several runs in one timing, so that the device never waits for the host between its ops.
Measured measure_on_device(Backend& backend, const std::function<void()>& body, double least) {
  constexpr double kShortest = 2e-3;  // seconds of one timing
  constexpr size_t kFewest = 5;
  const double once = backend.seconds("warm up", body);
  const auto repeats =
      static_cast<int>(std::clamp(std::ceil(kShortest / std::max(once, 1e-6)), 1.0, 1000.0));
  std::vector<double> runs;
  for (double total = 0; total < least || runs.size() < kFewest;) {
    const double took = backend.seconds("measured", [&] {
      for (int i = 0; i < repeats; ++i) body();
    });
    total += took;
    runs.push_back(took / repeats);
  }
  std::sort(runs.begin(), runs.end());
  Measured result;
  result.seconds = runs[runs.size() / 2];
  result.busy = result.seconds > 2 * runs.front();
  return result;
}

}  // namespace

Measured measure(Backend& backend, const std::function<void()>& body, double least) {
  body();
  if (backend.info().asynchronous) return measure_on_device(backend, body, least);
  std::vector<double> clean, all;
  double clean_time = 0, total = 0, total_waited = 0;
  while ((clean_time < least || clean.size() < 3) && (total < 4 * least || all.size() < 5)) {
    const double waited_before = waited(), begin = now();
    body();
    const double took = now() - begin, wait = waited() - waited_before;
    all.push_back(took);
    total += took, total_waited += wait;
    if (wait <= kDisturbed * took) clean.push_back(took), clean_time += took;
  }
  Measured result;
  result.waited = total_waited / total;
  std::vector<double>& runs = clean.empty() ? all : clean;
  std::sort(runs.begin(), runs.end());
  result.seconds = runs.front();
  result.busy = clean.empty() || runs[runs.size() / 2] > 2 * runs.front();
  return result;
}

Buffer::Buffer(Backend& backend, DType dtype, std::initializer_list<int64_t> shape)
    : backend_(backend), tensor_(nullptr, dtype, shape) {
  tensor_.data = backend.allocate(std::max<int64_t>(tensor_.bytes(), 256));
  std::vector<char> bytes(tensor_.bytes());
  RandomSequence random(1, RandomUse::init, 0);
  constexpr int64_t kPeriod = 4099;  // a prime number of random values, repeated
  std::vector<float> normal(kPeriod);
  for (float& x : normal) x = random.normal();
  for (int64_t i = 0; i < tensor_.numel(); ++i) {
    const float x = normal[i % kPeriod];
    if (dtype == DType::f32) reinterpret_cast<float*>(bytes.data())[i] = x;
    if (dtype == DType::bf16) reinterpret_cast<bf16*>(bytes.data())[i] = to_bf16(x);
  }
  backend.upload(tensor_, bytes.data());
}

Measured measure_copy(Backend& backend, int64_t bytes) {
  const Buffer from(backend, DType::f32, {bytes / 4}), to(backend, DType::f32, {bytes / 4});
  return measure(backend, [&] { backend.copy(to, from); });
}

}  // namespace strobe
