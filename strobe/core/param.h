// A parameter: everything that training keeps for one weight tensor.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "strobe/core/tensor.h"

namespace strobe {

/// Decides weight decay and which rule a matrix optimizer applies.
enum class ParamKind { matrix, embedding, bias, norm };

struct Param {
  std::string name;  // Hugging Face's, e.g. "transformer.h.0.attn.c_attn.weight"
  ParamKind kind = ParamKind::matrix;
  float init_std = 0;   // initialised from N(0, init_std^2) ...
  float init_mean = 0;  // ... around this constant
  int64_t padding = 0;  // trailing rows that only round the size up: zero, and never stored

  Tensor value;    // f32 master
  Tensor compute;  // what the forward reads: bf16, or `value` itself when computing in f32
  Tensor grad;     // f32, accumulated (+=)
  std::vector<Tensor> state;  // the optimizer's, f32

  /// `tensor` (value, grad or a state) without the padding: what files hold.
  Tensor stored(Tensor tensor) const {
    return padding == 0 ? tensor : tensor.rows(0, tensor.dim(0) - padding);
  }
};

using ParamVisitor = std::function<void(Param&)>;

}  // namespace strobe
