// Sums, the gradient norm and parameter updates.
#include <algorithm>
#include <array>
#include <cmath>

#include "strobe/cpu/cpu_backend.h"
#include "strobe/cpu/kernels.h"
#include "strobe/cpu/update_kernels.h"

namespace strobe {

using namespace cpu;

namespace {

using Sum = double (*)(const float*, int64_t);

// Sums of pieces, added in order.
double sum_of(std::span<const Tensor> tensors, Sum sum) {
  struct Piece {
    const float* data;
    int64_t n;
  };
  std::vector<Piece> pieces;
  for (const Tensor& tensor : tensors) {
    check(tensor.dtype == DType::f32, "sum: takes f32");
    for (int64_t begin = 0; begin < tensor.numel(); begin += kGrain)
      pieces.push_back({tensor.as<float>() + begin, std::min(kGrain, tensor.numel() - begin)});
  }
  std::vector<double> sums(pieces.size());
  for_pieces(static_cast<int64_t>(pieces.size()), 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sums[i] = sum(pieces[i].data, pieces[i].n);
  });
  double total = 0;
  for (const double x : sums) total += x;
  return total;
}

// Calls body(offsets in elements, count) for runs of elements that lie together in each of three
// tensors of one shape: pieces of them all, or where a matrix's rows are apart, its rows.
template <class Body>
void for_runs(const std::array<Tensor, 3>& tensors, Body body) {
  const bool whole = std::all_of(tensors.begin(), tensors.end(),
                                 [](const Tensor& x) { return !x || x.contiguous(); });
  if (whole)
    return for_pieces(tensors[0].numel(), kGrain, [&](int64_t begin, int64_t end) {
      body(std::array{begin, begin, begin}, end - begin);
    });
  const int64_t columns = tensors[0].dim(1);
  for_pieces(tensors[0].dim(0), row_grain(columns), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      body(std::array{i * tensors[0].strides[0], i * tensors[1].strides[0],
                      i * tensors[2].strides[0]},
           columns);
  });
}

}  // namespace

void CpuBackend::sum(Tensor out, Tensor x) {
  *out.as<float>() = static_cast<float>(sum_of({&x, 1}, cpu::elementwise().sum));
}

void CpuBackend::grad_norm(std::span<const Tensor> grads, float max_norm) {
  const double norm = std::sqrt(sum_of(grads, cpu::elementwise().sum_of_squares));
  state_.grad_norm = static_cast<float>(norm);
  state_.grad_scale =
      max_norm > 0 ? static_cast<float>(std::min(1.0, max_norm / (norm + 1e-6))) : 1.0f;
  if (!std::isfinite(state_.grad_norm)) state_.halt = 1;
}

void CpuBackend::clamp(Tensor x, float limit) {
  for_pieces(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
    float* at = x.as<float>();
    for (int64_t i = begin; i < end; ++i)
      at[i] = at[i] > limit ? limit : at[i] < -limit ? -limit : at[i];
  });
}

void CpuBackend::update(const UpdateRule& rule, std::span<const UpdateTarget> targets) {
  if (state_.halt) return;
  const RuleStep step = {state_.step + 1, state_.momentum_scale, state_.average};
  const bool scaled = std::visit([](const auto& r) { return is_scaled(r); }, rule);
  for (const UpdateTarget& target : targets) {
    UpdateKernel kernel;
    kernel.value = target.value.as<float>();
    if (target.compute && target.compute.data != target.value.data)
      kernel.compute = target.compute.as<bf16>();
    kernel.grad = target.grad.as<float>();
    for (int i = 0; i < kMostStates; ++i) kernel.states[i] = target.state(i).as<float>();
    kernel.element = {state_.lr * target.lr_scale, target.weight_decay * state_.decay_scale,
                      target.cautious};
    kernel.grad_scale = scaled ? state_.grad_scale : 1.0f;
    for_pieces(target.value.numel(), kGrain,
               [&](int64_t begin, int64_t end) { kernel.run(rule, step, begin, end); });
  }
}

void CpuBackend::momentum(Tensor u, Tensor m, Tensor grad, float beta, bool nesterov) {
  if (state_.halt) return fill(u, 0);
  const float scheduled = scheduled_beta(beta, {1, state_.momentum_scale, 1});
  for_runs({u, m, grad}, [&](std::array<int64_t, 3> at, int64_t count) {
    cpu::elementwise().momentum(u.as<float>() + at[0], m.as<float>() + at[1],
                                grad.as<float>() + at[2], state_.grad_scale, scheduled, nesterov,
                                count);
  });
}

void CpuBackend::normalize(Tensor y, Tensor x, float eps) {
  const double norm = std::sqrt(sum_of({&x, 1}, cpu::elementwise().sum_of_squares));
  const float factor = static_cast<float>(1.0 / (norm + eps));
  with_storage(y.dtype, [&](auto storage) {
    using T = decltype(storage);
    for_pieces(y.numel(), kGrain, [&](int64_t begin, int64_t end) {
      of<T>(cpu::elementwise())
          .scale(y.as<T>() + begin, x.as<float>() + begin, factor, end - begin);
    });
  });
}

void CpuBackend::scale_by_moments(Tensor u, Tensor rows, Tensor columns, Tensor x,
                                  const MomentScaling& op) {
  const int64_t m = x.dim(0), n = x.dim(1);
  check(u.dim(0) == m && u.dim(1) == n && columns.numel() == n && (!rows || rows.numel() == m),
        "scale_by_moments: shapes differ");
  const int64_t grain = column_sum_grain(m), pieces = (m + grain - 1) / grain;
  const auto row_of = [](const Tensor& t, int64_t i) { return t.as<float>() + i * t.strides[0]; };
  if (state_.halt) {
    for (int64_t i = 0; i < m; ++i) std::fill_n(row_of(u, i), n, 0.0f);
    return;
  }
  const float scale = op.gradient ? state_.grad_scale : 1.0f;
  const auto t = static_cast<double>(state_.step + 1);
  const auto beta =
      static_cast<float>(op.exponent < 0 ? 1 - std::pow(t, double{op.exponent}) : double{op.beta});
  std::vector<double> column_sums(static_cast<size_t>(pieces * n)),
      row_sums(static_cast<size_t>(m));
  for_pieces(m, grain, [&](int64_t begin, int64_t end) {
    double* sums = column_sums.data() + begin / grain * n;
    for (int64_t i = begin; i < end; ++i) {
      const float* from = row_of(x, i);
      double sum = 0;
      for (int64_t j = 0; j < n; ++j) {
        const float g = scale * from[j];
        const double square = g * g + op.eps_square;
        sum += square, sums[j] += square;
      }
      row_sums[static_cast<size_t>(i)] = sum;
    }
  });
  const auto move = [&](float& moment, double mean) {
    moment = beta * moment + (1.0f - beta) * static_cast<float>(mean);
  };
  for (int64_t j = 0; j < n; ++j) {
    double sum = 0;
    for (int64_t piece = 0; piece < pieces; ++piece)
      sum += column_sums[static_cast<size_t>(piece * n + j)];
    move(columns.as<float>()[j], sum / static_cast<double>(m));
  }
  double row_mean = 1;
  if (rows) {
    row_mean = 0;
    for (int64_t i = 0; i < m; ++i) {
      float& moment = rows.as<float>()[i];
      move(moment, row_sums[static_cast<size_t>(i)] / static_cast<double>(n));
      row_mean += moment / static_cast<double>(m);
    }
  }
  std::vector<double> squares(static_cast<size_t>(2 * pieces));  // of u, of x
  for_pieces(m, grain, [&](int64_t begin, int64_t end) {
    double of_u = 0, of_x = 0;
    for (int64_t i = begin; i < end; ++i) {
      // Roots one by one: of a row and a column without gradients the product would be 0.
      const float share =
          rows ? std::sqrt(static_cast<float>(rows.as<float>()[i] / row_mean)) : 1.0f;
      const float* from = row_of(x, i);
      float* to = row_of(u, i);
      for (int64_t j = 0; j < n; ++j) {
        const float g = scale * from[j];
        const float y = g / (share * std::sqrt(columns.as<float>()[j]) + op.eps);
        of_x += double{g} * g, of_u += double{y} * y;
        to[j] = y;
      }
    }
    squares[static_cast<size_t>(begin / grain)] = of_u;
    squares[static_cast<size_t>(pieces + begin / grain)] = of_x;
  });
  double u_square = 0, x_square = 0;
  for (int64_t i = 0; i < pieces; ++i)
    u_square += squares[static_cast<size_t>(i)],
        x_square += squares[static_cast<size_t>(pieces + i)];
  double factor = 1;
  if (op.most_rms > 0)
    factor = 1 / std::max(1.0, std::sqrt(u_square / static_cast<double>(m * n)) / op.most_rms);
  if (op.keep_norm) factor = std::sqrt(x_square) / (std::sqrt(u_square) + op.eps);
  factor *= op.scale;
  if (factor == 1) return;
  for_pieces(m, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < n; ++j) row_of(u, i)[j] *= static_cast<float>(factor);
  });
}

void CpuBackend::apply_update(const UpdateTarget& target, Tensor u) {
  if (state_.halt) return;
  const bool copies = target.compute && target.compute.data != target.value.data;
  const float lr = state_.lr * target.lr_scale;
  const float weight_decay = target.weight_decay * state_.decay_scale;
  with_storage(u.dtype, [&](auto storage) {
    using T = decltype(storage);
    for_runs({target.value, u, target.compute}, [&](std::array<int64_t, 3> at, int64_t count) {
      of<T>(cpu::elementwise())
          .apply_update(target.value.as<float>() + at[0],
                        copies ? target.compute.as<uint16_t>() + at[2] : nullptr, u.as<T>() + at[1],
                        lr, weight_decay, target.cautious, count);
    });
  });
}

}  // namespace strobe
