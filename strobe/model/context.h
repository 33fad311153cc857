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
/// A head reads all rows, or M of them alone: those of masked words, or the first of each sequence.
struct Batch {
  Tensor tokens, positions;  // i32 (N)
  Tensor types;              // i32 (N), 0 or 1: which text of a pair; empty where M is N
  Tensor picks;              // i32 (M), the rows that the head reads; empty where it reads all
  Tensor places;             // i32 (N), of each row its place in `picks`, M where it has none
  Tensor targets;            // i32 (M), negative where there is nothing to predict
  Tensor scores;             // f32 (M), NaN where there is none: targets of a regression
  Tensor cu_seqlens;         // i32 (S + 1)
  int64_t longest = 0;       // rows of the longest sequence

  int64_t rows() const { return tokens.dim(0); }
  /// M, the rows that have a loss.
  int64_t scored_rows() const { return picks ? picks.dim(0) : rows(); }
};

}  // namespace strobe
