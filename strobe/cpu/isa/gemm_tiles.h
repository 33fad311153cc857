// One tile of a matrix product of bf16 on AMX, by one thread. oneDNN 2.6 leaves half of the unit
// idle on the shapes of transformers.
#pragma once

#include <cstdint>

namespace strobe::cpu {

/// c (m, n) = a (m, k) b (k, n) [+ bias (n)] [+ c]. a and b are bf16 with any strides of which one
/// is 1; c and bias are f32 or bf16, c with adjacent columns.
struct GemmTile {
  int64_t m, n, k;
  const uint16_t* a;
  int64_t a_row, a_column;  // strides in elements
  const uint16_t* b;
  int64_t b_row, b_column;
  void* c;
  int64_t c_row;
  bool c_is_f32;
  const void* bias;  // null for none
  bool bias_is_f32;
  bool accumulate;
};

namespace amx {
/// Scratch memory of gemm_tile, which wants it aligned to 64 bytes.
int64_t gemm_tile_scratch_bytes(int64_t m, int64_t n, int64_t k);
void gemm_tile(const GemmTile& tile, void* scratch);
}  // namespace amx

}  // namespace strobe::cpu
