// The head and its loss. Logits never exist: the product stores e = exp(logit - shift), where shift
// is the target's logit, made by a product of its own, and adds up rows. With Z = sum of e,
//
//   loss = log Z,   d(loss)/d(logits) = (e - Z onehot(target)) / Z,
//
// so one element of a row is corrected, and 1 / Z and the loss's scale go where they are cheap:
// into the rows of x for dw, into those of dx, and into the sums over columns that dbias takes.
// Against a pass over the logits (cross_entropy.cu) this saves reading and writing (N, V), and what
// is rounded to storage is a probability, not a logit, whose rounding error would become a relative
// error as large as the logit's size.
//
// An e beyond 2^115 is cut to that: it takes a loss above 79 nats.
// Traffic besides the products' own: x twice, its scaled copy, dx twice, sums of tiles; with a bias
// e once more.
#include "strobe/cuda/linear_cross_entropy.h"

#include "strobe/cuda/column_sums.h"
#include "strobe/cuda/op_plans.h"
#include "strobe/cuda/products.h"
#include "strobe/cuda/reduce.cuh"
#include "strobe/cuda/tiled_product.h"
#include "strobe/cuda/vector.cuh"

namespace strobe::cuda {

namespace {

constexpr int kWarps = 8;

// shift = x . w[target] + bias[target], a warp a row. A row without a target gets +inf, so that its
// e are 0; one with an unknown target NaN.
__global__ void __launch_bounds__(kWarps* kWarp)
    target_logits(float* shift, const bf16* x, const bf16* w, const bf16* bias,
                  const int32_t* targets, int64_t rows, int columns, int vocab) {
  const int64_t row = blockIdx.x * int64_t{kWarps} + warp_id();
  if (row >= rows) return;
  const int target = targets[row];
  float sum = 0;
  if (target >= 0 && target < vocab) {
    const bf16 *a = x + row * columns, *b = w + target * int64_t{columns};
    for (int i = lane_id() * kLanes; i < columns; i += kWarp * kLanes) {
      const Floats p = unpack(load(a + i)), q = unpack(load(b + i));
#pragma unroll
      for (int j = 0; j < kLanes; ++j) sum += p[j] * q[j];
    }
    sum = warp_sum(sum) + (bias ? to_float(bias[target]) : 0.0f);
  } else {
    sum = target < 0 ? INFINITY : __int_as_float(0x7fffffff);
  }
  if (lane_id() == 0) shift[row] = sum;
}

struct Rows {
  float *losses, *factors;  // factors: loss_scale / Z
  const float *sums, *shift;
  const int32_t* targets;
  const StepState* state;
  bf16 *e, *scaled;  // null where there is no backward
  const bf16* x;
  int64_t rows, e_row;
  int columns, parts;
};

constexpr int kRows = 32;  // of a block

__global__ void __launch_bounds__(kWarps* kWarp) finish_rows(Rows op) {
  __shared__ float of_warp[kWarps][kRows];
  __shared__ float factors[kRows];
  const int64_t first = blockIdx.x * int64_t{kRows}, mine = first + lane_id();
  float sum = 0;
  if (mine < op.rows)
#pragma unroll 8
    for (int i = warp_id(); i < op.parts; i += kWarps) sum += op.sums[i * op.rows + mine];
  of_warp[warp_id()][lane_id()] = sum;
  __syncthreads();
  if (warp_id() == 0 && mine < op.rows) {
    float z = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) z += of_warp[w][lane_id()];
    const int target = op.targets[mine];
    // Not a number where the target's own logit is not finite.
    const float shift = op.shift[mine], nothing = target < 0 ? 0.0f : shift - shift;
    const float factor = target < 0 ? 0.0f : op.state->loss_scale / z + nothing;
    op.losses[mine] = target < 0 ? 0.0f : logf(z) + nothing;
    factors[lane_id()] = factor;
    if (op.e) {
      op.factors[mine] = factor;
      if (target >= 0 && isfinite(shift)) {
        bf16& e = op.e[mine * op.e_row + target];
        e = to_bf16(to_float(e) - z);
      }
    }
  }
  if (!op.e) return;
  __syncthreads();
  for (int r = warp_id(); r < kRows && first + r < op.rows; r += kWarps) {
    const int64_t begin = (first + r) * op.columns;
    for (int i = lane_id() * kLanes; i < op.columns; i += kWarp * kLanes) {
      Floats at = unpack(load(op.x + begin + i));
#pragma unroll
      for (int j = 0; j < kLanes; ++j) at[j] *= factors[r];
      store(op.scaled + begin + i, pack<bf16>(at));
    }
  }
}

__global__ void __launch_bounds__(kWarps* kWarp)
    scale_rows(bf16* x, const float* factors, int64_t vectors, int row_vectors) {
  const int64_t i = blockIdx.x * int64_t{kWarps * kWarp} + threadIdx.x;
  if (i >= vectors) return;
  const float factor = factors[i / row_vectors];
  Floats at = unpack(load(x + i * kLanes));
#pragma unroll
  for (int j = 0; j < kLanes; ++j) at[j] *= factor;
  store(x + i * kLanes, pack<bf16>(at));
}

}  // namespace

bool linear_cross_entropy(const Device& device, Tensor losses, Tensor dx, Tensor dw, Tensor dbias,
                          Tensor x, Tensor w, Tensor bias, Tensor targets, const CrossEntropy& op,
                          Tensor workspace, int64_t chunk) {
  const int64_t rows = x.dim(0), channels = x.dim(1), width = w.dim(0);
  check(losses.numel() == rows && targets.numel() == rows && op.vocab > 0 && op.vocab <= width &&
            (!bias || bias.numel() == width) && (!dbias || dbias.numel() == width),
        "linear_cross_entropy: shapes differ");
  const int64_t most = std::min(rows, chunk), parts = exponential_sums(width);
  const auto rounded = [](int64_t bytes) { return ceil_div(bytes, int64_t{256}) * 256; };
  const int64_t scaled_bytes = rounded(most * channels * 2), row_bytes = rounded(most * 4);
  const int64_t sum_bytes = rounded(parts * most * 4);
  const int64_t column_bytes =
      dbias ? std::max(column_sums_bytes(most, width), column_sums_bytes(rows % chunk, width)) : 0;
  TiledProduct logits = {.a = x.as<bf16>(),
                         .b = w.as<bf16>(),
                         .a_row = channels,
                         .b_row = channels,
                         .rows = most,
                         .columns = width,
                         .depth = channels};
  if (x.dtype != DType::bf16 || rows == 0 || channels % kLanes != 0 || !x.contiguous() ||
      !w.contiguous() || !aligned(x.data, dx.data, bias.data, workspace.data) ||
      scaled_bytes + 2 * row_bytes + sum_bytes + column_bytes > device.scratch_bytes ||
      !tiled_product_takes(device, logits))
    return false;
  bf16* const scaled = reinterpret_cast<bf16*>(device.scratch);
  float* const shift = reinterpret_cast<float*>(device.scratch + scaled_bytes);
  float* const factors = reinterpret_cast<float*>(device.scratch + scaled_bytes + row_bytes);
  float* const sums = reinterpret_cast<float*>(device.scratch + scaled_bytes + 2 * row_bytes);
  char* const of_columns = device.scratch + scaled_bytes + 2 * row_bytes + sum_bytes;
  constexpr int kThreads = kWarps * kWarp;
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t end = std::min(begin + chunk, rows), n = end - begin;
    const Tensor part = x.rows(begin, end);
    const int32_t* aims = targets.as<int32_t>() + begin;
    bf16* const e = dx ? workspace.as<bf16>() : nullptr;
    target_logits<<<ceil_div(n, kWarps), kThreads, 0, device.stream>>>(
        shift, part.as<bf16>(), w.as<bf16>(), bias.as<bf16>(), aims, n, static_cast<int>(channels),
        static_cast<int>(op.vocab));
    logits.a = part.as<bf16>(), logits.rows = n;
    product_exponentials(device, logits, e, sums, shift, bias.as<bf16>(), op.vocab);
    finish_rows<<<ceil_div(n, kRows), kThreads, 0, device.stream>>>(
        {losses.as<float>() + begin, factors, sums, shift, aims, device.state, e, scaled,
         part.as<bf16>(), n, width, static_cast<int>(channels), static_cast<int>(parts)});
    check_launch("linear_cross_entropy");
    if (!dx) continue;
    const Tensor gradients(e, DType::bf16, {n, width});
    if (dbias) column_sums(device, dbias, gradients, {.factors = factors}, of_columns);
    matmul(device, dw, gradients.transposed(), Tensor(scaled, DType::bf16, {n, channels}),
           /*accumulate=*/true);
    const Tensor to = dx.rows(begin, end);
    matmul(device, to, gradients, w, /*accumulate=*/false);
    const int64_t vectors = n * channels / kLanes;
    scale_rows<<<ceil_div(vectors, kThreads), kThreads, 0, device.stream>>>(
        to.as<bf16>(), factors, vectors, static_cast<int>(channels / kLanes));
    check_launch("linear_cross_entropy");
  }
  return true;
}

}  // namespace strobe::cuda
