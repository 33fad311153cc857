// CUPTI is opened when asked for: a machine that trains needs none.
#include "strobe/cuda/activity.h"

#include <cmath>

#if __has_include(<cupti.h>)

#include <cuda_runtime_api.h>
#include <cupti.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace strobe::cuda {

namespace {

constexpr size_t kBufferBytes = 4 << 20;
constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                         CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET};

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

}  // namespace

struct ActivityWatch::Library {
  decltype(&cuptiActivityRegisterCallbacks) set_callbacks = nullptr;
  decltype(&cuptiActivityEnable) enable = nullptr;
  decltype(&cuptiActivityDisable) disable = nullptr;
  decltype(&cuptiActivityFlushAll) flush = nullptr;

  // False where there is none.
  bool open() {
    void* handle = nullptr;
    const std::string versioned = "libcupti.so." + std::to_string(CUDART_VERSION / 1000);
    for (const std::string& name :
         {versioned, std::string("libcupti.so"), "/usr/local/cuda/extras/CUPTI/lib64/" + versioned})
      if (!handle) handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) return false;
    const auto find = [&](auto& function, const char* name) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(handle, name));
      return function != nullptr;
    };
    return find(set_callbacks, "cuptiActivityRegisterCallbacks") &&
           find(enable, "cuptiActivityEnable") && find(disable, "cuptiActivityDisable") &&
           find(flush, "cuptiActivityFlushAll") && find(next_record, "cuptiActivityGetNextRecord");
  }
};

ActivityWatch::ActivityWatch() {
  auto library = std::make_unique<Library>();
  if (!library->open() || library->set_callbacks(give_buffer, take_buffer) != CUPTI_SUCCESS) return;
  for (const CUpti_ActivityKind kind : kKinds)
    if (library->enable(kind) != CUPTI_SUCCESS) return;
  library_ = library.release();
}

ActivityWatch::~ActivityWatch() {
  if (!library_) return;
  for (const CUpti_ActivityKind kind : kKinds) library_->disable(kind);
  restart();
  delete library_;
}

void ActivityWatch::restart() {
  if (library_) library_->flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  const std::lock_guard guard(lock);
  intervals.clear();
}

double ActivityWatch::busy_share() {
  if (library_) library_->flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  const std::lock_guard guard(lock);
  if (intervals.empty()) return NAN;
  std::sort(intervals.begin(), intervals.end());
  const uint64_t first = intervals.front().first;
  uint64_t covered = 0, until = first;
  for (const auto& [begin, end] : intervals) {
    if (end > until) covered += end - std::max(begin, until);
    until = std::max(until, end);
  }
  return static_cast<double>(covered) / static_cast<double>(std::max<uint64_t>(1, until - first));
}

}  // namespace strobe::cuda

#else

namespace strobe::cuda {

struct ActivityWatch::Library {};
ActivityWatch::ActivityWatch() = default;
ActivityWatch::~ActivityWatch() = default;
void ActivityWatch::restart() {}
double ActivityWatch::busy_share() { return NAN; }

}  // namespace strobe::cuda

#endif
