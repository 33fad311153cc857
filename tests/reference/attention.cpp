#include "tests/reference/attention.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/threads.h"
#include "strobe/ops/dropout_mask.h"

namespace strobe::reference {

namespace {

double rounded(double x, Precision precision) {
  switch (precision) {
    case Precision::exact: return x;
    case Precision::f32: return static_cast<float>(x);
    case Precision::bf16:
    case Precision::bf16_scores: return to_float(to_bf16(static_cast<float>(x)));
  }
  return x;
}

/// A sum whose accumulator is a double, or a float added to in order.
struct Sum {
  Precision precision;
  double value = 0;
  float single = 0;
  void add(double a, double b) {
    if (precision == Precision::exact)
      value += a * b;
    else
      single = std::fma(static_cast<float>(a), static_cast<float>(b), single);
  }
  double get() const { return precision == Precision::exact ? value : single; }
};

double dropped(double x, const AttentionShape& shape, const AttentionOp& op, uint64_t key,
               int64_t sequence, int64_t head, int64_t i, int64_t j) {
  if (op.dropout.p <= 0) return x;
  const auto stream = static_cast<uint32_t>(sequence * shape.heads + head);
  const bool drops = attention_drops(DroppedNumbers::of(op.dropout.keep_of_256()),
                                     attention_dropout_query(key, stream, static_cast<uint32_t>(i)),
                                     attention_dropout_word(key, static_cast<uint32_t>(j / 2)),
                                     static_cast<uint32_t>(j));
  return drops ? 0 : x * op.dropout.scale();
}

/// One sequence and key-value head, with the heads that share it, into its own rows of x; returns
/// the largest dP.
double attention_of_head(AttentionValues& x, const AttentionShape& shape, const AttentionOp& op,
                         const std::vector<int>& cu_q, const std::vector<int>& cu_k, uint64_t key,
                         Precision precision, int64_t s, int64_t kv_head) {
  const int64_t d = shape.head_dim, h = shape.heads, hk = shape.kv_heads, group = h / hk;
  const Precision high = precision == Precision::exact ? Precision::exact : Precision::f32;
  const Precision of_scores = precision == Precision::bf16_scores ? precision : Precision::exact;
  const int64_t tq = cu_q[s + 1] - cu_q[s], tk = cu_k[s + 1] - cu_k[s];
  const auto kv_row = [&](std::vector<double>& a, int64_t j) {
    return a.data() + ((cu_k[s] + j) * hk + kv_head) * d;
  };
  const auto dot = [&](const double* a, const double* b) {
    Sum sum{precision};
    for (int64_t c = 0; c < d; ++c) sum.add(a[c], b[c]);
    return rounded(sum.get(), of_scores);
  };
  double largest_dp = 0;
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    const auto row = [&](std::vector<double>& a, int64_t i) {
      return a.data() + ((cu_q[s] + i) * h + head) * d;
    };
    std::vector<Sum> dk(tk * d, Sum{precision}), dv = dk;
    for (int64_t i = 0; i < tq; ++i) {
      const int64_t seen = op.causal ? std::min(tk, i + 1 + tk - tq) : tk;
      if (seen <= 0) continue;
      std::vector<double> p(seen), dp(seen), pd(seen);
      double most = -INFINITY, l = 0;
      for (int64_t j = 0; j < seen; ++j) {
        p[j] = rounded(dot(row(x.q, i), kv_row(x.k, j)) * op.scale, high);
        most = std::max(most, p[j]);
      }
      for (double& y : p) y = rounded(std::exp(y - most), high), l += y;
      l = rounded(l, high);
      x.lse[head * shape.total_q + cu_q[s] + i] = most + std::log(l);
      for (double& y : p) y = rounded(y / l, precision);
      for (int64_t j = 0; j < seen; ++j)
        pd[j] = rounded(dropped(p[j], shape, op, key, s, head, i, j), precision);
      std::vector<Sum> o(d, Sum{precision}), dq = o;
      for (int64_t j = 0; j < seen; ++j)
        for (int64_t c = 0; c < d; ++c) o[c].add(pd[j], kv_row(x.v, j)[c]);
      for (int64_t c = 0; c < d; ++c) row(x.o, i)[c] = rounded(o[c].get(), precision);
      double delta = 0;
      for (int64_t j = 0; j < seen; ++j) {
        dp[j] = dropped(dot(row(x.d_o, i), kv_row(x.v, j)), shape, op, key, s, head, i, j);
        delta += p[j] * dp[j];
        largest_dp = std::max(largest_dp, std::abs(dp[j]));
      }
      for (int64_t j = 0; j < seen; ++j) {
        const double ds = rounded(op.scale * p[j] * (dp[j] - delta), precision);
        for (int64_t c = 0; c < d; ++c) {
          dq[c].add(ds, kv_row(x.k, j)[c]);
          dk[j * d + c].add(ds, row(x.q, i)[c]);
          dv[j * d + c].add(pd[j], row(x.d_o, i)[c]);
        }
      }
      for (int64_t c = 0; c < d; ++c) row(x.dq, i)[c] = rounded(dq[c].get(), precision);
    }
    for (int64_t j = 0; j < tk; ++j)
      for (int64_t c = 0; c < d; ++c) {
        kv_row(x.dk, j)[c] += dk[j * d + c].get();
        kv_row(x.dv, j)[c] += dv[j * d + c].get();
      }
  }
  return largest_dp;
}

}  // namespace

void attention(AttentionValues& x, const AttentionShape& shape, const AttentionOp& op,
               const std::vector<int>& cu_q, const std::vector<int>& cu_k, const StepState& state,
               Precision precision) {
  const uint64_t key = dropout_key(state.seed, state.step, state.micro_step, op.dropout.site);
  x.o.assign(shape.total_q * shape.heads * shape.head_dim, 0);
  x.lse.assign(shape.heads * shape.total_q, -INFINITY);
  x.dq = x.o;
  x.dk.assign(shape.total_k * shape.kv_heads * shape.head_dim, 0), x.dv = x.dk;
  std::vector<double> largest(shape.sequences * shape.kv_heads);
  parallel_for(static_cast<int64_t>(largest.size()), [&](int64_t i) {
    largest[i] = attention_of_head(x, shape, op, cu_q, cu_k, key, precision, i / shape.kv_heads,
                                   i % shape.kv_heads);
  });
  for (double y : largest) x.largest_dp = std::max(x.largest_dp, y);
  for (double& y : x.dk) y = rounded(y, precision);
  for (double& y : x.dv) y = rounded(y, precision);
}

}  // namespace strobe::reference
