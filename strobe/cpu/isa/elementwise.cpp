#include "strobe/cpu/isa/elementwise.h"

#include "strobe/cpu/isa/loop.h"
#include "strobe/cpu/isa/philox.h"

namespace strobe::cpu::STROBE_ISA {

namespace {

// ---- dropout -----------------------------------------------------------------------------------

constexpr int kMaskGroup = 16 * kLanes;  // elements decided by one vector of Philox blocks

// The first (or second) half of a and of b, `kRun` lanes from each in turn.
template <int kRun, bool kSecond>
STROBE_INLINE U32 interleave(U32 a, U32 b) {
  U32 from{};
  for (int i = 0; i < kLanes; ++i) {
    const int source = (kSecond ? kLanes / 2 : 0) + i / (2 * kRun) * kRun + i % kRun;
    from[i] = static_cast<uint32_t>(i / kRun % 2 ? kLanes + source : source);
  }
  return __builtin_shuffle(a, b, from);
}

// The bytes of kMaskGroup elements from block `first` on.
STROBE_INLINE void mask_bytes(uint8_t* bytes, uint64_t first, const DropoutMask& mask) {
  PhiloxBlocks blocks;
  const uint32_t low = static_cast<uint32_t>(first);
  const U32 index = reinterpret_cast<U32>(lane_index()) + low;
  blocks.words[0] = index;
  blocks.words[1] = (U32{} + static_cast<uint32_t>(first >> 32)) -
                    reinterpret_cast<U32>(index < low);  // the carry
  blocks.words[2] = U32{} + mask.stream[0];
  blocks.words[3] = U32{} + mask.stream[1];
  blocks = philox(blocks, mask.key);
  // From words of all blocks to blocks of four words.
  const U32 low01 = interleave<1, false>(blocks.words[0], blocks.words[1]);
  const U32 high01 = interleave<1, true>(blocks.words[0], blocks.words[1]);
  const U32 low23 = interleave<1, false>(blocks.words[2], blocks.words[3]);
  const U32 high23 = interleave<1, true>(blocks.words[2], blocks.words[3]);
  const U32 ordered[4] = {interleave<2, false>(low01, low23), interleave<2, true>(low01, low23),
                          interleave<2, false>(high01, high23),
                          interleave<2, true>(high01, high23)};
  std::memcpy(bytes, ordered, sizeof ordered);
}

// `scale` where the byte keeps the element, else 0.
STROBE_INLINE F32 mask_factor(const uint8_t* bytes, const DropoutMask& mask) {
  using U8 = uint8_t __attribute__((vector_size(kLanes)));
  U8 x;
  std::memcpy(&x, bytes, sizeof x);
  return select(__builtin_convertvector(x, I32) < mask.keep, broadcast(mask.scale), F32{});
}

template <class T>
void add_dropout(T* y, const T* a, const T* b, int64_t begin, int64_t n, const DropoutMask& mask) {
  uint8_t bytes[kMaskGroup + kLanes] = {};  // the last vector may start anywhere within a group
  for (int64_t done = 0; done < n;) {
    const int64_t at = begin + done;
    mask_bytes(bytes, static_cast<uint64_t>(at / 16), mask);
    const uint8_t* from = bytes + at % 16;
    const int64_t here = kMaskGroup - at % 16 < n - done ? kMaskGroup - at % 16 : n - done;
    for_lanes(here, [=, &mask](int64_t i, auto part) {
      F32 x = part.get(b + done + i) * mask_factor(from + i, mask);
      if (a) x += part.get(a + done + i);
      part.put(y + done + i, x);
    });
    done += here;
  }
}

// ---- GELU --------------------------------------------------------------------------------------

// Hendrycks & Gimpel 2016, arXiv:1606.08415. With the tanh approximation,
// 0.5 x (1 + tanh(u)) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
constexpr float kTwoRootTwoOverPi = 1.5957691216057308f, kCubic = 0.044715f;

STROBE_INLINE F32 sigmoid(F32 x) {
  const F32 e = exp_nonpositive(x < 0.0f ? x : -x);
  const F32 below = reciprocal(1.0f + e);  // of -|x|: e / (1 + e);  of |x|: 1 / (1 + e)
  return x < 0.0f ? e * below : below;
}

STROBE_INLINE F32 gelu_tanh_value(F32 x) {
  return x * sigmoid(kTwoRootTwoOverPi * (x + kCubic * x * x * x));
}
STROBE_INLINE F32 gelu_tanh_slope(F32 x) {
  const F32 s = sigmoid(kTwoRootTwoOverPi * (x + kCubic * x * x * x));
  return s + x * s * (1.0f - s) * (kTwoRootTwoOverPi * (1.0f + 3.0f * kCubic * x * x));
}

// The normal distribution function, by Abramowitz & Stegun 7.1.26 (error 1.5e-7 at most).
STROBE_INLINE F32 normal_cdf(F32 x, F32 gaussian) {
  const F32 z = 0.70710678f * (x < 0.0f ? -x : x);
  const F32 t = reciprocal(1.0f + 0.3275911f * z);
  F32 p = broadcast(1.061405429f);
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const F32 tail = 0.5f * p * t * gaussian;
  return x < 0.0f ? tail : 1.0f - tail;
}
STROBE_INLINE F32 gelu_erf_value(F32 x) {
  return x * normal_cdf(x, exp_nonpositive(-0.5f * x * x));
}
STROBE_INLINE F32 gelu_erf_slope(F32 x) {
  const F32 gaussian = exp_nonpositive(-0.5f * x * x);
  return normal_cdf(x, gaussian) + 0.39894228f * x * gaussian;
}

// ---- loops -------------------------------------------------------------------------------------

// y = f(x) as a kernel.
template <class T, F32 (*f)(F32)>
void map(T* y, const T* x, int64_t n) {
  for_lanes(n, [=](int64_t i, auto part) { part.put(y + i, f(part.get(x + i))); });
}

// dx = dy * slope(x) as a kernel.
template <class T, F32 (*slope)(F32)>
void chain(T* dx, const T* dy, const T* x, int64_t n) {
  for_lanes(n, [=](int64_t i, auto part) {
    part.put(dx + i, part.get(dy + i) * slope(part.get(x + i)));
  });
}

template <class To, class From>
void convert(To* y, const From* x, int64_t n) {
  for_lanes(n, [=](int64_t i, auto part) { part.put(y + i, part.get(x + i)); });
}

template <class T>
void accumulate(float* y, const T* x, int64_t n) {
  for_lanes(n, [=](int64_t i, auto part) { part.put(y + i, part.get(y + i) + part.get(x + i)); });
}

template <class T>
void add(T* y, const T* a, const T* b, int64_t n) {
  for_lanes(n, [=](int64_t i, auto part) { part.put(y + i, part.get(a + i) + part.get(b + i)); });
}

template <class T>
void add3(T* y, const T* a, const T* b, const T* c, int64_t n) {
  for_lanes(n, [=](int64_t i, auto part) {
    part.put(y + i, part.get(a + i) + part.get(b + i) + part.get(c + i));
  });
}

template <class T>
void scale(T* y, const float* x, float factor, int64_t n) {
  for_lanes(n, [=](int64_t i, auto part) { part.put(y + i, factor * part.get(x + i)); });
}

template <class T>
void apply_update(float* value, uint16_t* compute, const T* u, float lr, float weight_decay,
                  bool cautious, int64_t n) {
  for_lanes(n, [=](int64_t i, auto part) {
    const F32 old = part.get(value + i), step = part.get(u + i);
    F32 decay = weight_decay * old;
    if (cautious) decay = select(step * old < 0.0f, F32{}, decay);
    const F32 x = old - lr * (step + decay);
    part.put(value + i, x);
    if (compute) part.put(compute + i, x);
  });
}

void axpby(float* y, float a, const float* x, float b, int64_t n) {
  for_lanes(
      n, [=](int64_t i, auto part) { part.put(y + i, a * part.get(x + i) + b * part.get(y + i)); });
}

void momentum(float* u, float* m, const float* g, float scale, float beta, bool nesterov,
              int64_t n) {
  for_lanes(n, [=](int64_t i, auto part) {
    const F32 gradient = scale * part.get(g + i);
    const F32 moment = beta * part.get(m + i) + gradient;
    part.put(m + i, moment);
    part.put(u + i, nesterov ? gradient + beta * moment : moment);
  });
}

// Sums in double of f(x). Halves of a vector are widened, each to a whole vector of doubles: two at
// once GCC takes apart into scalars.
template <F32 (*f)(F32)>
double sum_of(const float* x, int64_t n) {
  using Half = float __attribute__((vector_size(kVectorBytes / 2)));
  using Doubles = double __attribute__((vector_size(kVectorBytes)));
  Doubles low{}, high{};
  for_lanes(n, [&](int64_t i, auto part) {
    const F32 value = f(part.get(x + i));
    Half halves[2];
    std::memcpy(halves, &value, sizeof value);
    low += __builtin_convertvector(halves[0], Doubles);
    high += __builtin_convertvector(halves[1], Doubles);
  });
  double result = 0;
  for (int lane = 0; lane < kLanes / 2; ++lane) result += low[lane];
  for (int lane = 0; lane < kLanes / 2; ++lane) result += high[lane];
  return result;
}

STROBE_INLINE F32 identity(F32 x) { return x; }
STROBE_INLINE F32 square(F32 x) { return x * x; }

template <class T>
constexpr ElementKernels<T> element_kernels() {
  return {convert<float, T>,
          convert<T, float>,
          accumulate<T>,
          add<T>,
          add3<T>,
          add_dropout<T>,
          map<T, gelu_tanh_value>,
          map<T, gelu_erf_value>,
          chain<T, gelu_tanh_slope>,
          chain<T, gelu_erf_slope>,
          scale<T>,
          apply_update<T>};
}

}  // namespace

const Elementwise elementwise = {element_kernels<float>(),
                                 element_kernels<uint16_t>(),
                                 axpby,
                                 sum_of<identity>,
                                 sum_of<square>,
                                 momentum};

}  // namespace strobe::cpu::STROBE_ISA
