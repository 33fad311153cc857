// How the backend's ops reach the kernels of the instruction set in use.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "strobe/core/error.h"
#include "strobe/core/tensor.h"
#include "strobe/core/threads.h"
#include "strobe/cpu/isa/elementwise.h"
#include "strobe/cpu/isa/rows.h"
#include "strobe/cpu/isa_select.h"

namespace strobe::cpu {

inline const Elementwise& elementwise() {
  return pick(baseline::elementwise, avx2::elementwise, avx512::elementwise,
              avx512_bf16::elementwise);
}

inline const Rows& row_kernels() {
  return pick(baseline::rows, avx2::rows, avx512::rows, avx512_bf16::rows);
}

/// The half of a table (Elementwise or Rows) for storage type T.
template <class T, class Table>
const auto& of(const Table& table) {
  if constexpr (std::is_same_v<T, float>)
    return table.f32;
  else
    return table.bf16;
}

/// Calls body(T{}) with T the storage type of `dtype`: float, or uint16_t for bf16.
template <class Body>
void with_storage(DType dtype, Body body) {
  check(dtype == DType::f32 || dtype == DType::bf16, "cpu: an op over floats got another type");
  if (dtype == DType::f32)
    body(float{});
  else
    body(uint16_t{});
}

/// Elements of a piece of elementwise work: a few cache-resident pages, and a multiple of 16, the
/// patch of a dropout mask.
inline constexpr int64_t kGrain = 1 << 15;

/// Calls body(begin, end) on the pieces of [0, n), in parallel.
template <class Body>
void for_pieces(int64_t n, int64_t grain, Body body) {
  parallel_for((n + grain - 1) / grain,
               [&](int64_t i) { body(i * grain, std::min(n, (i + 1) * grain)); });
}

/// Rows of a piece of row-wise work of `columns` elements a row.
inline int64_t row_grain(int64_t columns) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, columns));
}

/// Rows of a piece of work that sums columns: at most 64 pieces, since each keeps its own sums.
inline int64_t column_sum_grain(int64_t rows) { return std::max<int64_t>(16, (rows + 63) / 64); }

}  // namespace strobe::cpu
