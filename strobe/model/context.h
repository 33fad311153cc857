// What every layer is given: the device, the memory, and the batch.
#pragma once

#include "strobe/core/arena.h"
#include "strobe/ops/backend.h"

namespace strobe {

struct Context {
  Backend& ops;
  Arena& arena;  // activations and scratch
  DType dtype;   // of activations: f32 or bf16
  bool training = true;
  float dropout_scale = 1;  // what a schedule multiplies every dropout by

  /// A dropout as it is in this step.
  Dropout now(Dropout dropout) const {
    return training ? Dropout{dropout.p * dropout_scale, dropout.site} : Dropout{};
  }

  Tensor allocate(std::string_view what, std::initializer_list<int64_t> shape) const {
    return arena.allocate(what, dtype, shape);
  }
};

/// N packed rows in the backend's memory; sequence s owns rows [cu_seqlens[s], cu_seqlens[s + 1]).
struct Batch {
  Tensor tokens, positions;  // i32 (N)
  Tensor targets;            // i32 (N), negative where there is nothing to predict
  Tensor cu_seqlens;         // i32 (S + 1)
  int64_t longest = 0;       // rows of the longest sequence

  int64_t rows() const { return tokens.dim(0); }
};

}  // namespace strobe
