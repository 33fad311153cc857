// A radix sort from the lowest digit, stable in every pass, so that rows of one id stay in order.
// A pass is two kernels: a histogram of each tile's digits; then each tile finds where its entries
// go, from all histograms and from ranks within the tile. Merrill & Grimshaw 2011, "High
// performance and scalable radix sorting"; with at most ten bits a digit and tens of tiles, reading
// all histograms is cheaper than a scan of its own.
#include "strobe/cuda/sort_ids.h"

#include "strobe/core/check.h"
#include "strobe/cuda/op_plans.h"
#include "strobe/cuda/reduce.cuh"

namespace strobe::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kBins = 1 << kMostDigitBits;
constexpr int kWarpEntries = kSortTile / kWarps;

// The first pass reads ids, later ones the pairs of the pass before.
struct Entries {
  const int32_t* ids;
  const int2* pairs;
  int32_t rows;

  __device__ int2 operator[](int64_t i) const {
    if (pairs) return pairs[i];
    const int32_t id = ids[i];
    return {id < 0 || id >= rows ? rows : id, static_cast<int>(i)};
  }
};

__global__ void __launch_bounds__(kThreads)
    count_digits(int32_t* counts, Entries entries, int64_t n, int shift, int bins) {
  __shared__ int32_t of_tile[kBins];
  for (int d = threadIdx.x; d < bins; d += kThreads) of_tile[d] = 0;
  __syncthreads();
  const int64_t begin = blockIdx.x * int64_t{kSortTile};
  for (int64_t i = begin + threadIdx.x; i < min(n, begin + kSortTile); i += kThreads)
    atomicAdd(&of_tile[entries[i].x >> shift & (bins - 1)], 1);
  __syncthreads();
  for (int d = threadIdx.x; d < bins; d += kThreads)
    counts[blockIdx.x * int64_t{bins} + d] = of_tile[d];
}

// An exclusive prefix sum over the threads of a block.
__device__ int32_t prefix_of_block(int32_t x) {
  __shared__ int32_t sums[kWarps];
  int32_t inclusive = x;
#pragma unroll
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const int32_t other = __shfl_up_sync(kFullWarp, inclusive, distance);
    if (lane_id() >= distance) inclusive += other;
  }
  if (lane_id() == kWarp - 1) sums[warp_id()] = inclusive;
  __syncthreads();
  int32_t before = 0;
  for (int i = 0; i < warp_id(); ++i) before += sums[i];
  return before + inclusive - x;
}

// kEach: digits of a thread, bins / kThreads but 1 at least.
template <int kEach>
__global__ void __launch_bounds__(kThreads)
    scatter(int2* sorted, const int32_t* counts, Entries entries, int64_t n, int shift, int bins) {
  // First the number of entries of each digit that a warp has met; then where its entries begin.
  __shared__ int32_t places[kWarps][kBins];
  for (int w = 0; w < kWarps; ++w)
    for (int d = threadIdx.x; d < bins; d += kThreads) places[w][d] = 0;
  __syncthreads();

  constexpr int kRounds = kWarpEntries / kWarp;
  const int64_t begin = blockIdx.x * int64_t{kSortTile} + warp_id() * kWarpEntries;
  int2 entry[kRounds];
  int32_t digit[kRounds], rank[kRounds];
#pragma unroll
  for (int k = 0; k < kRounds; ++k) {
    const int64_t i = begin + k * kWarp + lane_id();
    digit[k] = -1;
    if (i < n) entry[k] = entries[i], digit[k] = entry[k].x >> shift & (bins - 1);
  }
  // A thread owns kEach digits that follow one another.
  const int low = threadIdx.x * kEach;
  int32_t total[kEach] = {}, before[kEach] = {};
  if (low < bins) {
#pragma unroll 16
    for (int tile = 0; tile < gridDim.x; ++tile)
#pragma unroll
      for (int d = 0; d < kEach; ++d) {
        const int32_t count = counts[int64_t{tile} * bins + low + d];
        total[d] += count;
        before[d] += tile < blockIdx.x ? count : 0;
      }
  }
#pragma unroll
  for (int k = 0; k < kRounds; ++k) {
    const unsigned equal = __match_any_sync(kFullWarp, digit[k]);
    const unsigned before = equal & ((1u << lane_id()) - 1);
    if (digit[k] >= 0) rank[k] = places[warp_id()][digit[k]] + __popc(before);
    __syncwarp();
    if (digit[k] >= 0 && before == 0) places[warp_id()][digit[k]] += __popc(equal);
    __syncwarp();
  }
  __syncthreads();

  int32_t all = 0;
#pragma unroll
  for (int d = 0; d < kEach; ++d) all += total[d];
  int32_t base = prefix_of_block(all);
  if (low < bins) {
#pragma unroll
    for (int d = 0; d < kEach; ++d) {
      int32_t place = base + before[d];
      base += total[d];
      for (int w = 0; w < kWarps; ++w) {
        const int32_t count = places[w][low + d];
        places[w][low + d] = place;
        place += count;
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < kRounds; ++k)
    if (digit[k] >= 0) sorted[places[warp_id()][digit[k]] + rank[k]] = entry[k];
}

int64_t counts_bytes(const SortPlan& plan) { return plan.tiles * (int64_t{4} << plan.digit_bits); }

}  // namespace

int64_t sort_ids_bytes(int64_t count, int64_t rows) {
  return 2 * count * sizeof(int2) + counts_bytes(sort_plan(count, rows));
}

const int2* sort_ids(const Device& device, const int32_t* ids, int64_t count, int64_t rows) {
  check(count < INT32_MAX / 2 && rows < INT32_MAX, "sort_ids: takes 32-bit counts");
  check(sort_ids_bytes(count, rows) <= device.scratch_bytes, "sort_ids: scratch is too small");
  const SortPlan plan = sort_plan(count, rows);
  int2* const result = reinterpret_cast<int2*>(device.scratch);
  int2* const other = result + count;
  int32_t* const counts = reinterpret_cast<int32_t*>(other + count);
  Entries entries = {ids, nullptr, static_cast<int32_t>(rows)};
  for (int pass = 0; pass < plan.passes; ++pass) {
    const int shift = pass * plan.digit_bits, bins = 1 << plan.digit_bits;
    int2* const to = (plan.passes - pass) % 2 ? result : other;
    count_digits<<<plan.tiles, kThreads, 0, device.stream>>>(counts, entries, count, shift, bins);
    const auto kernel = bins <= kThreads       ? scatter<1>
                        : bins <= 2 * kThreads ? scatter<2>
                                               : scatter<4>;
    kernel<<<plan.tiles, kThreads, 0, device.stream>>>(to, counts, entries, count, shift, bins);
    entries.pairs = to;
  }
  check_launch("sort_ids");
  return result;
}

}  // namespace strobe::cuda
