// Matrix products, cut into tiles by shape alone. A tile is computed by one thread, through oneDNN
// or, for bf16 on AMX, isa/gemm_tiles.h, so the bits do not depend on the number of threads (those
// of oneDNN's own parallel products do).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "strobe/core/tensor.h"

namespace strobe::cpu {

struct Tile {
  int64_t row, rows, column, columns;
};

struct GemmOptions {
  bool accumulate = false;  // c += a b
  Tensor bias = {};         // (N), added to every row before c is rounded; may be empty
  /// Called for each tile of c once it is written, on the thread that wrote it.
  std::function<void(const Tile&)> then = nullptr;
};

/// c = a b.  c (M, N), a (M, K), b (K, N); a and b are f32 or bf16 and alike, c is either; each has
/// one stride of 1.
void gemm(Tensor c, Tensor a, Tensor b, const GemmOptions& options = {});

/// The same through copies in f32, on the calling thread: for machines whose oneDNN has no products
/// of bf16.
void gemm_in_f32(Tensor c, Tensor a, Tensor b, Tensor bias, bool accumulate);

/// "2.6.3"
std::string gemm_library_version();

}  // namespace strobe::cpu
