// Elementwise kernels of one instruction set: a table of functions over raw pointers, of which
// every set that this folder is compiled for has its own.
//
// A kernel runs on one thread over a piece of work that its caller cut by shape alone. Storage T is
// float or uint16_t (the bits of a bf16); arithmetic is f32, long sums are double. Any length is
// accepted and no pointer need be aligned; outputs may be inputs, but not overlap them otherwise.
// The header is seen by files compiled for different machines, so it holds no code.
#pragma once

#include <cstdint>

namespace strobe::cpu {

/// A dropout mask over a flat array, see ops/dropout_mask.h.
struct DropoutMask {
  uint64_t key;
  uint32_t stream[2];  // words 2 and 3 of the generator's counter
  int32_t keep;        // of 256; 256 keeps all
  float scale;
};

/// Per storage type.
template <class T>
struct ElementKernels {
  void (*to_f32)(float* y, const T* x, int64_t n);
  void (*from_f32)(T* y, const float* x, int64_t n);
  /// y += x
  void (*accumulate)(float* y, const T* x, int64_t n);
  /// y = a + b
  void (*add)(T* y, const T* a, const T* b, int64_t n);
  /// y = a + b + c
  void (*add3)(T* y, const T* a, const T* b, const T* c, int64_t n);
  /// y = a + dropout(b) over elements [begin, begin + n) of the mask; a may be null for 0.
  void (*add_dropout)(T* y, const T* a, const T* b, int64_t begin, int64_t n,
                      const DropoutMask& mask);
  void (*gelu_tanh)(T* y, const T* x, int64_t n);
  void (*gelu_erf)(T* y, const T* x, int64_t n);
  /// dx = dy * gelu'(x)
  void (*gelu_tanh_backward)(T* dx, const T* dy, const T* x, int64_t n);
  void (*gelu_erf_backward)(T* dx, const T* dy, const T* x, int64_t n);
  /// y = scale * x
  void (*scale)(T* y, const float* x, float scale, int64_t n);
  /// value -= lr (u + weight_decay value); compute = value, unless compute is null. Cautious:
  /// weight decay only where u value >= 0.
  void (*apply_update)(float* value, uint16_t* compute, const T* u, float lr, float weight_decay,
                       bool cautious, int64_t n);
};

struct Elementwise {
  ElementKernels<float> f32;
  ElementKernels<uint16_t> bf16;
  /// y = a x + b y
  void (*axpby)(float* y, float a, const float* x, float b, int64_t n);
  double (*sum)(const float* x, int64_t n);
  double (*sum_of_squares)(const float* x, int64_t n);
  /// m = beta m + scale g;  u = nesterov ? scale g + beta m : m
  void (*momentum)(float* u, float* m, const float* g, float scale, float beta, bool nesterov,
                   int64_t n);
};

namespace baseline {
extern const Elementwise elementwise;
}
namespace avx2 {
extern const Elementwise elementwise;
}
namespace avx512 {
extern const Elementwise elementwise;
}
namespace avx512_bf16 {
extern const Elementwise elementwise;
}

}  // namespace strobe::cpu
