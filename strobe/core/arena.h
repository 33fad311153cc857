// A stack of memory, planned before the first step.
//
// The same code runs twice: once over a measuring arena, which hands out addresses that are never
// read and records the peak, and then over a real one of exactly that size.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/core/tensor.h"

namespace strobe {

class Arena {
 public:
  static constexpr int64_t kAlignment = 256;  // bytes

  /// An arena without memory, of unlimited size, that only measures.
  Arena() = default;
  /// An arena over the caller's memory of `capacity` bytes.
  Arena(void* memory, int64_t capacity);

  bool measuring() const { return memory_ == nullptr; }

  /// A contiguous tensor. Throws Error naming `what` when it does not fit.
  Tensor allocate(std::string_view what, DType dtype, std::initializer_list<int64_t> shape);

  /// Where the stack stands; rewind() releases everything allocated since.
  int64_t mark() const { return used_; }
  void rewind(int64_t mark) { used_ = mark; }

  int64_t peak() const { return peak_; }
  int64_t capacity() const { return capacity_; }

  /// What was live at the peak, in order of allocation.
  struct Entry {
    std::string what;
    int64_t offset, bytes;
  };
  const std::vector<Entry>& at_peak() const { return at_peak_; }

 private:
  char* memory_ = nullptr;
  int64_t capacity_ = INT64_MAX;
  int64_t used_ = 0, peak_ = 0;
  std::vector<Entry> live_, at_peak_;  // kept only while measuring
};

/// Releases what was allocated in its scope.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaScope() { arena_.rewind(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  int64_t mark_;
};

/// "1.5 GiB", for messages.
std::string format_bytes(int64_t bytes);

}  // namespace strobe
