#include "tests/reference/formulas.h"

#include <algorithm>
#include <cmath>

#include "strobe/ops/dropout_mask.h"

namespace strobe::reference {

namespace {

const double kRoot = std::sqrt(2.0 / 3.14159265358979323846);

}  // namespace

double gelu(double x, Gelu kind) {
  if (kind == Gelu::erf) return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  return 0.5 * x * (1 + std::tanh(kRoot * (x + 0.044715 * x * x * x)));
}

double gelu_slope(double x, Gelu kind) {
  if (kind == Gelu::erf)
    return 0.5 * (1 + std::erf(x / std::sqrt(2.0))) + 0.5 * x * kRoot * std::exp(-0.5 * x * x);
  const double t = std::tanh(kRoot * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * kRoot * (1 + 3 * 0.044715 * x * x);
}

void matmul(Array& c, const Array& a, bool transpose_a, const Array& b, bool transpose_b,
            bool accumulate) {
  const int64_t inner = transpose_a ? a.rows : a.columns;
  for (int64_t i = 0; i < c.rows; ++i)
    for (int64_t j = 0; j < c.columns; ++j) {
      double sum = accumulate ? c(i, j) : 0;
      for (int64_t l = 0; l < inner; ++l)
        sum += (transpose_a ? a(l, i) : a(i, l)) * (transpose_b ? b(j, l) : b(l, j));
      c(i, j) = sum;
    }
}

double dropout_factor(Dropout dropout, const StepState& state, int64_t i) {
  if (dropout.p <= 0) return 1;
  const uint64_t key = dropout_key(state.seed, state.step, state.micro_step, dropout.site);
  const Philox::Block block = dropout_patch(key, static_cast<uint64_t>(i / 16));
  const int byte = dropout_byte(block, static_cast<int>(i % 16 / 4), static_cast<int>(i % 4));
  return byte < dropout.keep_of_256() ? dropout.scale() : 0;
}

void layernorm(Array& y, Array& mean, Array& rstd, const Array& x, const Array& weight,
               const Array& bias, double eps) {
  for (int64_t i = 0; i < x.rows; ++i) {
    double m = 0, v = 0;
    for (int64_t j = 0; j < x.columns; ++j) m += x(i, j) / x.columns;
    for (int64_t j = 0; j < x.columns; ++j) v += (x(i, j) - m) * (x(i, j) - m) / x.columns;
    mean[i] = m;
    rstd[i] = 1 / std::sqrt(v + eps);
    for (int64_t j = 0; j < x.columns; ++j) y(i, j) = (x(i, j) - m) * rstd[i] * weight[j] + bias[j];
  }
}

void layernorm_backward(Array& dx, Array& dweight, Array& dbias, const Array& dy, const Array& x,
                        const Array& weight, double eps) {
  Array y(x.rows, x.columns), mean(1, x.rows), rstd(1, x.rows), none(1, x.columns);
  layernorm(y, mean, rstd, x, weight, none, eps);
  for (int64_t i = 0; i < x.rows; ++i) {
    double g_mean = 0, gx_mean = 0;
    for (int64_t j = 0; j < x.columns; ++j) {
      const double xhat = (x(i, j) - mean[i]) * rstd[i], g = dy(i, j) * weight[j];
      g_mean += g / x.columns;
      gx_mean += g * xhat / x.columns;
      dweight[j] += dy(i, j) * xhat;
      dbias[j] += dy(i, j);
    }
    for (int64_t j = 0; j < x.columns; ++j) {
      const double xhat = (x(i, j) - mean[i]) * rstd[i];
      dx(i, j) = rstd[i] * (dy(i, j) * weight[j] - g_mean - xhat * gx_mean);
    }
  }
}

void cross_entropy(Array& losses, Array& dlogits, const Array& logits, const Array& targets,
                   int64_t vocab, double scale, double label_smoothing, double z_loss) {
  for (int64_t i = 0; i < logits.rows; ++i) {
    const int64_t target = static_cast<int64_t>(targets[i]);
    double top = -INFINITY, z = 0;
    for (int64_t j = 0; j < vocab; ++j) top = std::max(top, logits(i, j));
    for (int64_t j = 0; j < vocab; ++j) z += std::exp(logits(i, j) - top);
    const double log_z = std::log(z) + top, even = label_smoothing / static_cast<double>(vocab);
    // The cross entropy with a target that is spread, and the penalty.
    double loss = z_loss * log_z * log_z;
    for (int64_t j = 0; j < vocab; ++j)
      loss += (even + (j == target) * (1 - label_smoothing)) * (log_z - logits(i, j));
    losses[i] = target < 0 ? 0 : loss;
    for (int64_t j = 0; j < logits.columns; ++j) {
      const double p = j < vocab ? std::exp(logits(i, j) - top) / z : 0;
      const double wanted = j < vocab ? even + (j == target) * (1 - label_smoothing) : 0;
      dlogits(i, j) = target < 0 ? 0 : scale * (p * (1 + 2 * z_loss * log_z) - wanted);
    }
  }
}

}  // namespace strobe::reference
