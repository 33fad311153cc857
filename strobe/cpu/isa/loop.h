// Loops over arrays of any length in whole vectors and one partial vector.
#pragma once

#include "strobe/cpu/isa/simd.h"

namespace strobe::cpu::STROBE_ISA {

/// A whole vector, or its first n lanes, as the tail of an array needs.
struct Whole {
  template <class T>
  [[gnu::always_inline]] F32 get(const T* p) const {
    return load(p);
  }
  template <class T>
  [[gnu::always_inline]] void put(T* p, F32 x) const {
    store(p, x);
  }
  /// x, and `other` in the lanes beyond the end.
  [[gnu::always_inline]] F32 mask_or(F32 x, F32) const { return x; }
};

struct Part {
  int64_t n;
  template <class T>
  [[gnu::always_inline]] F32 get(const T* p) const {
    return load_part(p, n);
  }
  template <class T>
  [[gnu::always_inline]] void put(T* p, F32 x) const {
    store_part(p, x, n);
  }
  [[gnu::always_inline]] F32 mask_or(F32 x, F32 other) const {
    return select(lane_index() < static_cast<int32_t>(n), x, other);
  }
};

/// Calls body(i, part) for i = 0, kLanes, ...: `part` loads and stores what there is at i.
template <class Body>
STROBE_INLINE void for_lanes(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, Whole{});
  if (i < n) body(i, Part{n - i});
}

}  // namespace strobe::cpu::STROBE_ISA
