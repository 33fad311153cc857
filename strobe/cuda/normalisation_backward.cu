// Layer norm backward. With xhat = (x - mean) rstd and g = dy weight, by row:
//   dx = dresidual + rstd (g - mean(g) - xhat mean(g xhat)),
//   dweight += sum over rows of dy xhat,   dbias += sum over rows of dy,
// where dresidual may be a part of dy instead, and the sum over rows of dbranch, which is the
// gradient of the bias before it. Where asked, y too, as the forward wrote it: one write instead of
// a pass that reads x again.
//
// A thread owns eight columns of every row that its group takes, so these sums add up in
// registers; a row's two means go through shuffles and shared memory. The loads of the next rows
// are under way, by cp.async into shared memory, while a row is computed. At the end the groups'
// sums are added in order, and a second kernel adds the blocks' (column_sums.h). Traffic: dy, x,
// dresidual and dx once (dbranch too where there is dropout). Grid: as many blocks as are resident,
// each walking over rows (NormPlan).
#include <cuda_pipeline_primitives.h>

#include "strobe/cuda/column_sums.h"
#include "strobe/cuda/dropout.cuh"
#include "strobe/cuda/normalisation.h"
#include "strobe/cuda/op_plans.h"
#include "strobe/cuda/reduce.cuh"
#include "strobe/cuda/vector.cuh"

namespace strobe::cuda {

namespace {

constexpr int kWideThreads = 256;
constexpr int kSums = SumTargets::kMost;  // dweight, dbias, branch_bias

template <class T>
struct Backward {
  T* dx;
  T* dbranch;      // null where there is none
  float* partial;  // (blocks, kSums, columns)
  const T *dy, *x, *weight;
  const float *mean, *rstd;
  const T* dresidual;  // may be null
  bool joins;          // dresidual is a part of dy
  T* y;                // null unless it is written again
  const T* bias;       // for y
  int rows, columns;
};

// Rows of a group that are loaded or computed at a time.
constexpr int kStages = 2;
// Shared memory for dy, x and dresidual of these rows. A thread reads only what it has asked for.
template <class T>
constexpr int kStageBytes = 3 * kStages * sizeof(Packed<T>) * kNormThreads;

// kBranch: whether dbranch is written; kSumsBranch: whether it is summed.
template <class T, bool kBranch, bool kSumsBranch>
__global__ void __launch_bounds__(kNormThreads, kResidentThreads / kNormThreads)
    backward_rows(Backward<T> op, DropoutSite dropout, int lanes, int groups) {
  constexpr int kWarps = kNormThreads / kWarp;
  extern __shared__ uint4 stage_memory[];
  __shared__ float sums[2][kWarps][2];
  __shared__ float columns_of[kNormThreads * kLanes];
  const DropoutMask mask(dropout);
  const int group = threadIdx.x / lanes, lane = threadIdx.x % lanes, column = lane * kLanes;
  const bool active = column < op.columns;
  const int stride = gridDim.x * groups, first = blockIdx.x * groups + group;
  const int steps = (op.rows - static_cast<int>(blockIdx.x) * groups + stride - 1) / stride;
  const float each = 1.0f / static_cast<float>(op.columns);
  const int group_warps = lanes / kWarp, first_warp = group * group_warps;

  Packed<T>* const mine = reinterpret_cast<Packed<T>*>(stage_memory) + threadIdx.x;
  const auto fetch = [&](int step) {
    const int row = first + step * stride;
    Packed<T>* const to = mine + step % kStages * 3 * kNormThreads;
    if (active && row < op.rows) {
      const int64_t at = int64_t{row} * op.columns + column;
      __pipeline_memcpy_async(to, op.dy + at, 16);
      __pipeline_memcpy_async(to + kNormThreads, op.x + at, 16);
      if (op.dresidual) __pipeline_memcpy_async(to + 2 * kNormThreads, op.dresidual + at, 16);
      if constexpr (sizeof(T) == 4) {
        const auto half = [](auto* p) { return reinterpret_cast<char*>(p) + 16; };
        const auto rest = [&](const T* p) { return p + at + kLanes / 2; };
        __pipeline_memcpy_async(half(to), rest(op.dy), 16);
        __pipeline_memcpy_async(half(to + kNormThreads), rest(op.x), 16);
        if (op.dresidual)
          __pipeline_memcpy_async(half(to + 2 * kNormThreads), rest(op.dresidual), 16);
      }
    }
    __pipeline_commit();
  };

  Packed<T> weight{};
  Floats dweight{}, dbias{}, branch_bias{};
  if (active) weight = load(op.weight + column);
  for (int step = 0; step < kStages - 1; ++step) fetch(step);
  float next_mean = 0, next_rstd = 0;
  if (first < op.rows) next_mean = op.mean[first], next_rstd = op.rstd[first];
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    const int row = first + step * stride;
    const int64_t at = int64_t{row} * op.columns + column;
    const bool here = active && row < op.rows;
    fetch(step + kStages - 1);
    const float mean = next_mean, rstd = next_rstd;
    if (row + stride < op.rows)
      next_mean = op.mean[row + stride], next_rstd = op.rstd[row + stride];
    uint2 bytes{};
    if constexpr (kBranch) bytes = mask.bytes(at / kLanes);
    __pipeline_wait_prior(kStages - 1);
    const Packed<T>* const stage = mine + step % kStages * 3 * kNormThreads;
    Floats g{}, xhat{};
    Packed<T> dresidual{};
    float sum_g = 0, sum_gx = 0;
    if (here) {
      g = unpack(stage[0]), xhat = unpack(stage[kNormThreads]);
      if (op.dresidual) dresidual = stage[2 * kNormThreads];
      if (op.joins) {
        const Floats more = unpack(dresidual);
#pragma unroll
        for (int j = 0; j < kLanes; ++j) g[j] += more[j];
        dresidual = {};
      }
      const Floats w = unpack(weight);
#pragma unroll
      for (int j = 0; j < kLanes; ++j) {
        xhat[j] = (xhat[j] - mean) * rstd;
        dbias[j] += g[j];
        dweight[j] += g[j] * xhat[j];
        g[j] *= w[j];
        sum_g += g[j], sum_gx += g[j] * xhat[j];
      }
    }
    const float sum = warp_sum_pair(sum_g, sum_gx);
    if (lane_id() % (kWarp / 2) == 0) sums[step & 1][warp_id()][lane_id() / (kWarp / 2)] = sum;
    __syncthreads();  // one a step is enough: the next step writes to the other half
    float mean_g = 0, mean_gx = 0;
    for (int i = first_warp; i < first_warp + group_warps; ++i)
      mean_g += sums[step & 1][i][0], mean_gx += sums[step & 1][i][1];
    if (!here) continue;
    const float shift = rstd * each * mean_g, slope = rstd * each * mean_gx;
    Floats dx = unpack(dresidual);
#pragma unroll
    for (int j = 0; j < kLanes; ++j) dx[j] += rstd * g[j] - shift - xhat[j] * slope;
    if (op.y) {
      const Floats w = unpack(weight), b = unpack(load(op.bias + column));
#pragma unroll
      for (int j = 0; j < kLanes; ++j) xhat[j] = xhat[j] * w[j] + b[j];
      store(op.y + at, pack<T>(xhat));
    }
    const Packed<T> stored = pack<T>(dx);
    store(op.dx + at, stored);
    Packed<T> branch = stored;
    if constexpr (kBranch) {
      if (mask.drops()) branch = pack<T>(mask.apply(unpack(stored), bytes));
      store(op.dbranch + at, branch);
    }
    if constexpr (kSumsBranch) {
      const Floats rounded = unpack(branch);
#pragma unroll
      for (int j = 0; j < kLanes; ++j) branch_bias[j] += rounded[j];
    }
  }

  // The groups' sums, in order.
#pragma unroll
  for (int k = 0; k < (kSumsBranch ? kSums : kSums - 1); ++k) {
    const Floats& mine = k == 0 ? dweight : k == 1 ? dbias : branch_bias;
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kLanes; ++j) columns_of[(group * lanes + lane) * kLanes + j] = mine[j];
    __syncthreads();
    float* to = op.partial + (blockIdx.x * int64_t{kSums} + k) * op.columns;
    for (int c = threadIdx.x; c < op.columns; c += blockDim.x) {
      float total = 0;
      for (int i = 0; i < groups; ++i) total += columns_of[i * lanes * kLanes + c];
      to[c] = total;
    }
  }
}

// Rows of any length and alignment: a block takes every gridDim.x-th row and reads it twice; a
// thread owns its columns of the partial sums, which lie in scratch memory.
template <class T>
__global__ void __launch_bounds__(kWideThreads) backward_wide(Backward<T> op, DropoutSite dropout) {
  const DropoutMask mask(dropout);
  float* dweight = op.partial + blockIdx.x * int64_t{kSums} * op.columns;
  float *dbias = dweight + op.columns, *branch_bias = dbias + op.columns;
  for (int i = threadIdx.x; i < op.columns; i += kWideThreads)
    dweight[i] = dbias[i] = branch_bias[i] = 0;
  const float each = 1.0f / static_cast<float>(op.columns);
  for (int row = blockIdx.x; row < op.rows; row += gridDim.x) {
    const int64_t begin = int64_t{row} * op.columns;
    const float mean = op.mean[row], rstd = op.rstd[row];
    const auto xhat_at = [&](int i) { return (to_float(op.x[begin + i]) - mean) * rstd; };
    const auto d_at = [&](int i) {
      return to_float(op.dy[begin + i]) + (op.joins ? to_float(op.dresidual[begin + i]) : 0.0f);
    };
    const auto g_at = [&](int i) { return d_at(i) * to_float(op.weight[i]); };
    float sum_g = 0, sum_gx = 0;
    for (int i = threadIdx.x; i < op.columns; i += kWideThreads) {
      const float d = d_at(i);
      dweight[i] += d * xhat_at(i), dbias[i] += d;
      sum_g += g_at(i), sum_gx += g_at(i) * xhat_at(i);
    }
    const float mean_g = block_sum<kWideThreads>(sum_g) * each;
    __syncthreads();
    const float mean_gx = block_sum<kWideThreads>(sum_gx) * each;
    __syncthreads();
    for (int i = threadIdx.x; i < op.columns; i += kWideThreads) {
      float dx = rstd * (g_at(i) - mean_g - xhat_at(i) * mean_gx);
      if (op.dresidual && !op.joins) dx += to_float(op.dresidual[begin + i]);
      const T stored = round_to<T>(dx);
      op.dx[begin + i] = stored;
      T branch = stored;
      if (op.dbranch) {
        branch = round_to<T>(mask.apply_one(to_float(stored), begin + i));
        op.dbranch[begin + i] = branch;
      }
      branch_bias[i] += to_float(branch);
      if (op.y)
        op.y[begin + i] = round_to<T>(xhat_at(i) * to_float(op.weight[i]) + to_float(op.bias[i]));
    }
  }
}

template <class T>
void launch(const Device& device, Backward<T> op, const DropoutSite& dropout,
            const SumTargets& sums) {
  const bool whole = norm_plan_fits(op.columns) && aligned(op.dx, op.dbranch, op.dy, op.x,
                                                           op.weight, op.dresidual, op.y, op.bias);
  const NormPlan plan = whole ? norm_plan(op.rows, op.columns, device.multiprocessors)
                              : NormPlan{kWideThreads, 1, wide_norm_blocks(op.rows, op.columns)};
  check(plan.blocks * int64_t{op.columns} * 4 * kSums <= device.scratch_bytes,
        "layernorm_backward: scratch is too small");
  op.partial = reinterpret_cast<float*>(device.scratch);
  if (whole) {
    // More shared memory than any kernel has must be asked for: once.
    static const bool allowed = [] {
      for (const auto kernel : {backward_rows<T, false, false>, backward_rows<T, false, true>,
                                backward_rows<T, true, true>})
        check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        kStageBytes<T>),
                   "layernorm_backward");
      return true;
    }();
    check(allowed, "layernorm_backward");
    const auto kernel = op.dbranch    ? backward_rows<T, true, true>
                        : sums.row[2] ? backward_rows<T, false, true>
                                      : backward_rows<T, false, false>;
    kernel<<<plan.blocks, plan.lanes * plan.groups, kStageBytes<T>, device.stream>>>(
        op, dropout, plan.lanes, plan.groups);
  } else {
    backward_wide<T><<<plan.blocks, plan.lanes, 0, device.stream>>>(op, dropout);
  }
  check_launch("layernorm_backward");
  add_column_sums(device, sums, kSums, op.partial, plan.blocks, op.columns);
}

}  // namespace

void add_layernorm_backward(const Device& device, Tensor dresidual, Tensor dbranch, Tensor dweight,
                            Tensor dbias, Tensor branch_bias, Tensor dy, Tensor dsum, Tensor sum,
                            Tensor weight, Tensor mean, Tensor rstd, Dropout dropout,
                            const NormAgain& again, NormPlace place) {
  const int64_t rows = dy.dim(0), columns = dy.dim(1);
  check(sum.numel() == dy.numel() && weight.numel() == columns && dweight.numel() == columns &&
            dbias.numel() == columns,
        "layernorm_backward: shapes differ");
  check(columns <= INT32_MAX && rows <= INT32_MAX / 2, "layernorm_backward: too many rows");
  if (rows == 0) return;
  if (dbranch.data == dresidual.data) {
    check(dropout.p <= 0, "add_layernorm_backward: dropout needs a dbranch of its own");
    dbranch = Tensor{};
  }
  with_storage(dy.dtype, [&](auto storage) {
    using T = decltype(storage);
    const Backward<T> op = {dresidual.as<T>(),
                            dbranch.as<T>(),
                            nullptr,
                            dy.as<T>(),
                            sum.as<T>(),
                            weight.as<T>(),
                            mean.as<float>(),
                            rstd.as<float>(),
                            dsum.as<T>(),
                            dsum && place == NormPlace::post,
                            again.y.as<T>(),
                            again.bias.as<T>(),
                            static_cast<int>(rows),
                            static_cast<int>(columns)};
    launch<T>(device, op, DropoutSite(device, dropout),
              {{dweight.as<float>(), dbias.as<float>(), branch_bias.as<float>()}});
  });
}

void layernorm_backward(const Device& device, Tensor dx, Tensor dweight, Tensor dbias, Tensor dy,
                        Tensor x, Tensor weight, Tensor mean, Tensor rstd, Tensor dresidual,
                        const NormAgain& again) {
  add_layernorm_backward(device, dx, Tensor{}, dweight, dbias, Tensor{}, dy, dresidual, x, weight,
                         mean, rstd, Dropout{}, again, NormPlace::pre);
}

}  // namespace strobe::cuda
