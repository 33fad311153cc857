// A parameter: everything that training keeps for one weight tensor.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "strobe/core/tensor.h"

namespace strobe {

/// Decides weight decay and which rule a matrix optimizer applies. A head is the matrix whose
/// outputs are classes or scores.
enum class ParamKind { matrix, embedding, head, bias, norm };

struct Param {
  std::string name;  // Hugging Face's, e.g. "transformer.h.0.attn.c_attn.weight"
  ParamKind kind = ParamKind::matrix;
  float init_std = 0;   // initialised from N(0, init_std^2) ...
  float init_mean = 0;  // ... around this constant
  int64_t maps = 1;     // of a matrix, that lie side by side in it: of queries, keys and values
  int64_t padding = 0;  // trailing rows that only round the size up: zero, and never stored

  Tensor value;    // f32 master
  Tensor compute;  // what the forward reads: bf16, or `value` itself when computing in f32
  Tensor grad;     // f32, accumulated (+=)
  std::vector<Tensor> state;  // the optimizer's, f32, of shapes of its own
  Tensor used;  // f32: what the model is used with, where that is not `value`: an average
  std::vector<std::pair<std::string, Tensor>> kept;  // f32, of the parameter's shape, by name

  /// `tensor` (value, grad or a state of its shape) without the padding: what files hold.
  Tensor stored(Tensor tensor) const {
    const bool padded = padding > 0 && tensor.rank == value.rank && tensor.dim(0) == value.dim(0);
    return padded ? tensor.rows(0, tensor.dim(0) - padding) : tensor;
  }
};

using ParamVisitor = std::function<void(Param&)>;

}  // namespace strobe
