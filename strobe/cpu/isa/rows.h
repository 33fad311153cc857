// Kernels over a row, of one instruction set (see elementwise.h for the rules): layer norm and
// cross-entropy.
#pragma once

#include <cstdint>

namespace strobe::cpu {

template <class T>
struct RowKernels {
  /// y = (x - mean) rstd weight + bias of one row; writes the row's mean and rstd.
  void (*layernorm)(T* y, float* mean, float* rstd, const T* x, const T* weight, const T* bias,
                    float eps, int64_t n);
  /// dx = dresidual + d(layernorm) of one row; adds the row's share to dweight and dbias.
  /// dresidual may be null.
  void (*layernorm_backward)(T* dx, float* dweight, float* dbias, const T* dy, const T* x,
                             const T* weight, float mean, float rstd, const T* dresidual,
                             int64_t n);
  /// Returns -log softmax(logits)[target] of one row over the first `vocab` of its n logits, with
  /// label smoothing and z-loss as ops/backend.h defines them. Unless dlogits is null, dlogits =
  /// scale times its gradient, 0 from `vocab` on.
  float (*cross_entropy)(T* dlogits, const T* logits, int64_t target, float scale, int64_t vocab,
                         int64_t n, float smoothing, float z_loss);
};

struct Rows {
  RowKernels<float> f32;
  RowKernels<uint16_t> bf16;
};

namespace baseline {
extern const Rows rows;
}
namespace avx2 {
extern const Rows rows;
}
namespace avx512 {
extern const Rows rows;
}
namespace avx512_bf16 {
extern const Rows rows;
}

}  // namespace strobe::cpu
