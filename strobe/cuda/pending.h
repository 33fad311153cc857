#pragma once
#include "strobe/core/error.h"
#include "strobe/cuda/device.h"
namespace strobe::cuda {
#define PENDING(name, ...)                          \
  template <class... Args>                          \
  inline void name(const Device&, const Args&...) { \
    fail(#name ": not yet");                        \
  }
PENDING(fill)
PENDING(copy) PENDING(axpby) PENDING(dropout) PENDING(add_dropout) PENDING(gelu_forward)
    PENDING(gelu_backward) PENDING(bias_forward) PENDING(bias_backward) PENDING(layernorm_forward)
        PENDING(layernorm_backward) PENDING(add_layernorm_forward) PENDING(add_layernorm_backward)
            PENDING(embedding_forward) PENDING(embedding_backward) PENDING(cross_entropy)
                PENDING(sum) PENDING(grad_norm) PENDING(update) PENDING(momentum) PENDING(normalize)
                    PENDING(apply_update) PENDING(attention_forward) PENDING(attention_backward)
}  // namespace strobe::cuda
