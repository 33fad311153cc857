// CUPTI is opened when asked for: a machine that trains needs none.
#include "strobe/cuda/activity.h"

#include <cmath>

#if __has_include(<cupti.h>)

#include <cuda_runtime_api.h>
#include <cupti.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace strobe::cuda {

namespace {

constexpr size_t kBufferBytes = 4 << 20;

using Interval = std::pair<uint64_t, uint64_t>;  // begin and end, nanoseconds
std::mutex lock;                                 // the library calls back from a thread of its own
std::vector<Interval> intervals;
decltype(&cuptiActivityGetNextRecord) next_record;

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* size, size_t* most) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *size = *buffer ? kBufferBytes : 0;
  *most = 0;
}

template <class Record>
void add(const CUpti_Activity* activity) {
  const auto* record = reinterpret_cast<const Record*>(activity);
  intervals.emplace_back(record->start, record->end);
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  const std::lock_guard guard(lock);
  CUpti_Activity* record = nullptr;
  while (next_record(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL)
      add<CUpti_ActivityKernel10>(record);
    else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY)
      add<CUpti_ActivityMemcpy6>(record);
    else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET)
      add<CUpti_ActivityMemset4>(record);
  }
  std::free(buffer);
}

double covered_seconds() {
  std::sort(intervals.begin(), intervals.end());
  uint64_t covered = 0, until = 0;
  for (const auto& [begin, end] : intervals) {
    if (end > until) covered += end - std::max(begin, until);
    until = std::max(until, end);
  }
  return static_cast<double>(covered) * 1e-9;
}

}  // namespace

double busy_seconds(const std::function<void()>& body) {
  void* library = nullptr;
  const std::string versioned = "libcupti.so." + std::to_string(CUDART_VERSION / 1000);
  for (const std::string& name :
       {versioned, std::string("libcupti.so"), "/usr/local/cuda/extras/CUPTI/lib64/" + versioned})
    if (!library) library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return NAN;
  const auto find = [&](auto function, const char* name) {
    return reinterpret_cast<decltype(function)>(::dlsym(library, name));
  };
  const auto set_callbacks =
      find(&cuptiActivityRegisterCallbacks, "cuptiActivityRegisterCallbacks");
  const auto enable = find(&cuptiActivityEnable, "cuptiActivityEnable");
  const auto disable = find(&cuptiActivityDisable, "cuptiActivityDisable");
  const auto flush = find(&cuptiActivityFlushAll, "cuptiActivityFlushAll");
  next_record = find(&cuptiActivityGetNextRecord, "cuptiActivityGetNextRecord");
  if (!set_callbacks || !enable || !disable || !flush || !next_record) return NAN;
  const CUpti_ActivityKind kinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                      CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET};
  bool works = set_callbacks(give_buffer, take_buffer) == CUPTI_SUCCESS;
  intervals.clear();
  for (const CUpti_ActivityKind kind : kinds) works = works && enable(kind) == CUPTI_SUCCESS;
  if (works) body();
  flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  for (const CUpti_ActivityKind kind : kinds) disable(kind);
  const std::lock_guard guard(lock);
  return works && !intervals.empty() ? covered_seconds() : NAN;
}

}  // namespace strobe::cuda

#else

namespace strobe::cuda {

double busy_seconds(const std::function<void()>&) { return NAN; }

}  // namespace strobe::cuda

#endif
