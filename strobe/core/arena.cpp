#include "strobe/core/arena.h"

#include <algorithm>

#include "strobe/core/error.h"
#include "strobe/core/round_up.h"

namespace strobe {

namespace {

// Addresses a measuring arena hands out begin here: never null, never read.
char* const kMeasuringBase = reinterpret_cast<char*>(uintptr_t{1} << 46);

}  // namespace

Arena::Arena(void* memory, int64_t capacity)
    : memory_(static_cast<char*>(memory)), capacity_(capacity) {
  check(memory != nullptr, "arena: no memory");
}

Tensor Arena::allocate(std::string_view what, DType dtype, std::initializer_list<int64_t> shape) {
  char* base = measuring() ? kMeasuringBase : memory_;
  Tensor tensor(base + used_, dtype, shape);
  const int64_t bytes = round_up(tensor.bytes(), kAlignment);
  if (bytes > capacity_ - used_)
    fail("memory: {} needs {}, but {} of {} are taken", what, format_bytes(bytes),
         format_bytes(used_), format_bytes(capacity_));
  if (measuring()) {
    while (!live_.empty() && live_.back().offset >= used_) live_.pop_back();
    live_.push_back({std::string(what), used_, bytes});
  }
  used_ += bytes;
  if (used_ > peak_) {
    peak_ = used_;
    if (measuring()) at_peak_ = live_;
  }
  return tensor;
}

std::string format_bytes(int64_t bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 4) value /= 1024, ++unit;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

}  // namespace strobe
