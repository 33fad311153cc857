#include "strobe/cpu/isa/attention_softmax.h"

#include "strobe/cpu/isa/attention_dropout.h"

namespace strobe::cpu::STROBE_ISA {

namespace {

constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

/// Keys that a query sees.
int64_t visible(const AttentionHead& head, int64_t query) {
  if (!head.causal) return head.keys;
  const int64_t limit = query + 1 + head.keys - head.queries;
  return limit < 0 ? 0 : limit < head.keys ? limit : head.keys;
}

/// Loads and stores of n lanes, all where n >= kLanes.
template <class T>
STROBE_INLINE F32 load_n(const T* p, int64_t n) {
  return n >= kLanes ? load(p) : load_part(p, n);
}
template <class T>
STROBE_INLINE void store_n(T* p, F32 x, int64_t n) {
  n >= kLanes ? store(p, x) : store_part(p, x, n);
}

template <class T>
T* row_of(char* rows, int64_t stride, int64_t query) {
  return reinterpret_cast<T*>(rows + query * stride);
}

/// Masks and scales the rows in place. With keys in the lanes, the halves of the products' words
/// are the numbers of the keys in order.
template <class T>
void drop_rows(const SoftmaxRows& rows) {
  const HeadDropout& dropout = rows.head.dropout;
  if (!dropout.on) return;
  const DropoutLimits limits = dropout_limits(dropout);
  constexpr int64_t kDrawn = 32;
  uint32_t multipliers[kDrawn], addends[kDrawn];
  for (int64_t i = rows.first; i < rows.last; ++i) {
    if (i == rows.first || i % kDrawn == 0)
      dropout_queries(multipliers, addends, dropout, i / kDrawn * kDrawn, kDrawn);
    const U32 multiplier = U32{} + multipliers[i % kDrawn], addend = U32{} + addends[i % kDrawn];
    T* x = row_of<T>(rows.scores, rows.scores_stride, i);
    const int64_t seen = visible(rows.head, i);
    for (int64_t key = 0; key < seen; key += 2 * kLanes) {
      const U32 products = multiplier * load_u32(dropout.words + key / 2) + addend;
      uint16_t numbers[2 * kLanes];
      std::memcpy(numbers, &products, sizeof numbers);
      for (int64_t j = 0; j < 2 * kLanes && key + j < seen; j += kLanes) {
        const int64_t n = seen - key - j;
        const U32 upper = reinterpret_cast<U32>(load(numbers + j));  // 16 bits to the upper half
        const F32 kept = drop(load_n(x + key + j, n), kept_by(upper, limits));
        store_n(x + key + j, kept * dropout.scale, n);
      }
    }
  }
}

template <class T>
void dropped(const SoftmaxRows& rows) {
  for (int64_t i = rows.first; i < rows.last; ++i)
    std::memcpy(row_of<T>(rows.scores, rows.scores_stride, i), row_of<T>(rows.p, rows.p_stride, i),
                rows.head.keys * sizeof(T));
  drop_rows<T>(rows);
}

template <class T>
void softmax_forward(const SoftmaxRows& rows) {
  const AttentionHead& head = rows.head;
  const float c = head.scale * kLog2E;
  const F32 lowest = broadcast(-__builtin_inff());
  for (int64_t i = rows.first; i < rows.last; ++i) {
    const int64_t seen = visible(head, i);
    float* s = row_of<float>(rows.scores, rows.scores_stride, i);
    T* p = row_of<T>(rows.p, rows.p_stride, i);
    const int64_t whole = seen / kLanes * kLanes;
    const auto tail = [&](F32 x) {
      return select(lane_index() < int32_t(seen - whole), x, lowest);
    };
    F32 most = lowest;
    for (int64_t j = 0; j < whole; j += kLanes) most = max(load(s + j), most);
    if (whole < seen) most = max(tail(load_part(s + whole, seen - whole)), most);
    const float m = seen > 0 ? max(most) * c : 0;
    F32 sums{};
    for (int64_t j = 0; j < whole; j += kLanes) {
      const F32 x = exp2(load(s + j) * c - m);
      sums += x;
      store(s + j, x);
    }
    if (whole < seen) {
      const F32 x = exp2(tail(load_part(s + whole, seen - whole)) * c - m);
      sums += x;
      store_part(s + whole, x, seen - whole);
    }
    const float l = sum(sums), inverse = 1.0f / l;
    rows.lse[i] = seen > 0 ? kLn2 * m + __builtin_logf(l) : -__builtin_inff();
    for (int64_t j = 0; j < seen; j += kLanes)
      store_n(p + j, load_n(s + j, seen - j) * inverse, seen - j);
    std::memset(static_cast<void*>(p + seen), 0, (head.keys - seen) * sizeof(T));
  }
  if (!head.dropout.on) return;
  rows.p == rows.scores ? drop_rows<T>(rows) : dropped<T>(rows);
}

template <class T>
void softmax_backward(const SoftmaxRows& rows) {
  drop_rows<float>(rows);
  for (int64_t i = rows.first; i < rows.last; ++i) {
    const int64_t seen = visible(rows.head, i);
    const T* p = row_of<T>(rows.p, rows.p_stride, i);
    const float* dp = row_of<float>(rows.scores, rows.scores_stride, i);
    T* ds = row_of<T>(rows.scores, rows.scores_stride, i);
    F32 dots{};
    for (int64_t j = 0; j < seen; j += kLanes)
      dots += load_n(p + j, seen - j) * load_n(dp + j, seen - j);
    const float dot = sum(dots);
    for (int64_t j = 0; j < seen; j += kLanes) {
      const F32 x = load_n(p + j, seen - j) * (load_n(dp + j, seen - j) - dot) * rows.head.scale;
      store_n(ds + j, x, seen - j);
    }
    std::memset(static_cast<void*>(ds + seen), 0, (rows.head.keys - seen) * sizeof(T));
  }
}

template <class T>
constexpr SoftmaxKernels kKernels = {softmax_forward<T>, dropped<T>, softmax_backward<T>};

}  // namespace

SoftmaxVariants softmax_kernels() { return {&kKernels<float>, &kKernels<uint16_t>}; }

}  // namespace strobe::cpu::STROBE_ISA
