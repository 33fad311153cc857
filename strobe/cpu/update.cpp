// Sums, the gradient norm and parameter updates.
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

void CpuBackend::update(const UpdateRule& rule, std::span<const UpdateTarget> targets) {
  if (state_.halt) return;
  for (const UpdateTarget& target : targets) {
    UpdateKernel kernel;
    kernel.value = target.value.as<float>();
    if (target.compute && target.compute.data != target.value.data)
      kernel.compute = target.compute.as<bf16>();
    kernel.grad = target.grad.as<float>();
    kernel.state0 = target.state0.as<float>(), kernel.state1 = target.state1.as<float>();
    kernel.lr = state_.lr * target.lr_scale, kernel.weight_decay = target.weight_decay;
    kernel.grad_scale = state_.grad_scale;
    for_pieces(target.value.numel(), kGrain,
               [&](int64_t begin, int64_t end) { kernel.run(rule, state_.step + 1, begin, end); });
  }
}

void CpuBackend::momentum(Tensor u, Tensor m, Tensor grad, float beta, bool nesterov) {
  if (state_.halt) return fill(u, 0);
  for_pieces(u.numel(), kGrain, [&](int64_t begin, int64_t end) {
    cpu::elementwise().momentum(u.as<float>() + begin, m.as<float>() + begin,
                                grad.as<float>() + begin, state_.grad_scale, beta, nesterov,
                                end - begin);
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

void CpuBackend::apply_update(const UpdateTarget& target, Tensor u) {
  if (state_.halt) return;
  const bool copies = target.compute && target.compute.data != target.value.data;
  const float lr = state_.lr * target.lr_scale;
  with_storage(u.dtype, [&](auto storage) {
    using T = decltype(storage);
    for_pieces(u.numel(), kGrain, [&](int64_t begin, int64_t end) {
      of<T>(cpu::elementwise())
          .apply_update(target.value.as<float>() + begin,
                        copies ? target.compute.as<uint16_t>() + begin : nullptr, u.as<T>() + begin,
                        lr, target.weight_decay, end - begin);
    });
  });
}

}  // namespace strobe
