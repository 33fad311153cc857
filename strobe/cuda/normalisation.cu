// Layer norm forward. Ba, Kiros & Hinton 2016, arXiv:1607.06450.
//
// One warp a row. The row stays in registers, so it is read once: first the mean, then the sum of
// squares about it, both by shuffles in a fixed order. Fused with the addition before it, the sum
// is rounded to storage and the norm is the norm of what was stored.
// Traffic: each operand once; weight and bias come from L1.
// Grid: four rows a block; rows that are long, odd or misaligned take a block each and are read
// three times, the last two from L1 or L2.
#include "strobe/cuda/normalisation.h"

#include "strobe/cuda/dropout.cuh"
#include "strobe/cuda/op_plans.h"
#include "strobe/cuda/reduce.cuh"
#include "strobe/cuda/vector.cuh"

namespace strobe::cuda {

namespace {

constexpr int kRows = 4;  // of a block, one for each warp
constexpr int kWideThreads = 256;

template <class T>
struct Forward {
  T* sum;  // null where there is no addition
  T* y;
  float *mean, *rstd;
  const T *x, *branch, *weight, *bias;
  int64_t rows;
  int columns;
  float eps;
};

// kVectors: vectors of eight columns that a lane holds, at most.
template <class T, bool kAdds, int kVectors>
__global__ void __launch_bounds__(kRows* kWarp) forward_rows(Forward<T> op, DropoutSite dropout) {
  const DropoutMask mask(dropout);
  const int64_t row = blockIdx.x * int64_t{kRows} + warp_id();
  if (row >= op.rows) return;
  const int vectors = op.columns / kLanes;
  const auto here = [&](int k) { return k * kWarp + lane_id() < vectors; };
  const auto column = [&](int k) { return (k * kWarp + lane_id()) * kLanes; };
  const int64_t begin = row * op.columns;
  const T* const x = op.x + begin;

  Packed<T> raw[kVectors], branch[kVectors];
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    if (!here(k)) continue;
    raw[k] = load(x + column(k));
    if constexpr (kAdds) branch[k] = load(op.branch + begin + column(k));
  }
  if constexpr (kAdds) {
    T* const to = op.sum + begin;
    const int64_t first = row * vectors + lane_id();
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      if (!here(k)) continue;
      Floats sum = unpack(raw[k]);
      const Floats dropped = mask.apply(unpack(branch[k]), first + k * kWarp);
#pragma unroll
      for (int j = 0; j < kLanes; ++j) sum[j] += dropped[j];
      raw[k] = pack<T>(sum);
      store(to + column(k), raw[k]);
    }
  }

  float total = 0;
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    if (!here(k)) continue;
    const Floats at = unpack(raw[k]);
#pragma unroll
    for (int j = 0; j < kLanes; ++j) total += at[j];
  }
  const float mean = warp_sum(total) / static_cast<float>(op.columns);
  float squares = 0;
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    if (!here(k)) continue;
    const Floats at = unpack(raw[k]);
#pragma unroll
    for (int j = 0; j < kLanes; ++j) squares += (at[j] - mean) * (at[j] - mean);
  }
  const float rstd = rsqrtf(warp_sum(squares) / static_cast<float>(op.columns) + op.eps);
  if (lane_id() == 0) op.mean[row] = mean, op.rstd[row] = rstd;
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    if (!here(k)) continue;
    const Floats w = unpack(load(op.weight + column(k))), b = unpack(load(op.bias + column(k)));
    Floats at = unpack(raw[k]);
#pragma unroll
    for (int j = 0; j < kLanes; ++j) at[j] = (at[j] - mean) * rstd * w[j] + b[j];
    store(op.y + begin + column(k), pack<T>(at));
  }
}

// A row of any length and alignment.
template <class T>
__global__ void __launch_bounds__(kWideThreads) forward_wide(Forward<T> op, DropoutSite dropout) {
  const DropoutMask mask(dropout);
  const int64_t begin = blockIdx.x * int64_t{op.columns};
  const T* x = op.x + begin;
  if (op.sum) {
    for (int i = threadIdx.x; i < op.columns; i += kWideThreads)
      op.sum[begin + i] =
          round_to<T>(to_float(x[i]) + mask.apply_one(to_float(op.branch[begin + i]), begin + i));
    x = op.sum + begin;  // each thread reads what it has written
  }
  float total = 0;
  for (int i = threadIdx.x; i < op.columns; i += kWideThreads) total += to_float(x[i]);
  const float mean = block_sum<kWideThreads>(total) / static_cast<float>(op.columns);
  __syncthreads();
  float squares = 0;
  for (int i = threadIdx.x; i < op.columns; i += kWideThreads)
    squares += (to_float(x[i]) - mean) * (to_float(x[i]) - mean);
  const float rstd =
      rsqrtf(block_sum<kWideThreads>(squares) / static_cast<float>(op.columns) + op.eps);
  if (threadIdx.x == 0) op.mean[blockIdx.x] = mean, op.rstd[blockIdx.x] = rstd;
  for (int i = threadIdx.x; i < op.columns; i += kWideThreads)
    op.y[begin + i] =
        round_to<T>((to_float(x[i]) - mean) * rstd * to_float(op.weight[i]) + to_float(op.bias[i]));
}

template <class T, bool kAdds>
void launch(const Device& device, const Forward<T>& op, const DropoutSite& dropout) {
  const int64_t blocks = ceil_div(op.rows, kRows);
  const int vectors = static_cast<int>(ceil_div(op.columns, kLanes * kWarp));
  const bool whole =
      op.columns % kLanes == 0 && aligned(op.sum, op.y, op.x, op.branch, op.weight, op.bias);
  if (whole && vectors <= 3)
    forward_rows<T, kAdds, 3><<<blocks, kRows * kWarp, 0, device.stream>>>(op, dropout);
  else if (whole && vectors <= 4)
    forward_rows<T, kAdds, 4><<<blocks, kRows * kWarp, 0, device.stream>>>(op, dropout);
  else if (whole && vectors <= 8)
    forward_rows<T, kAdds, 8><<<blocks, kRows * kWarp, 0, device.stream>>>(op, dropout);
  else
    forward_wide<T><<<op.rows, kWideThreads, 0, device.stream>>>(op, dropout);
  check_launch("layernorm_forward");
}

}  // namespace

void add_layernorm_forward(const Device& device, Tensor sum, Tensor y, Tensor mean, Tensor rstd,
                           Tensor residual, Tensor branch, Tensor weight, Tensor bias, float eps,
                           Dropout dropout) {
  const int64_t rows = y.dim(0), columns = y.dim(1);
  check(residual.numel() == y.numel() && weight.numel() == columns && bias.numel() == columns,
        "layernorm_forward: shapes differ");
  check(columns <= INT32_MAX, "layernorm_forward: rows are too long");
  if (rows == 0) return;
  with_storage(y.dtype, [&](auto storage) {
    using T = decltype(storage);
    const Forward<T> op = {sum.as<T>(),
                           y.as<T>(),
                           mean.as<float>(),
                           rstd.as<float>(),
                           residual.as<T>(),
                           branch.as<T>(),
                           weight.as<T>(),
                           bias.as<T>(),
                           rows,
                           static_cast<int>(columns),
                           eps};
    const DropoutSite site(device, dropout);
    branch ? launch<T, true>(device, op, site) : launch<T, false>(device, op, site);
  });
}

void layernorm_forward(const Device& device, Tensor y, Tensor mean, Tensor rstd, Tensor x,
                       Tensor weight, Tensor bias, float eps) {
  add_layernorm_forward(device, Tensor{}, y, mean, rstd, x, Tensor{}, weight, bias, eps, Dropout{});
}

}  // namespace strobe::cuda
