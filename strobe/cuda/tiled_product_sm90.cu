// c = f(a b^T) for Hopper.
//
// Thread blocks stay and walk over tiles of c. One warp copies (TMA) 64 of the depth at a time into
// a ring of stages; two warpgroups multiply (wgmma), each 64 rows of the tile with all its columns.
// When a tile's sums are complete they are set aside in registers, and f is computed and stored in
// between the products of the next tile, 32 columns after each of the first 64s of the depth: the
// tensor cores do not wait for it. Two thread blocks form a cluster: each copies its rows of a, and
// half of the rows of b for both.
//
// Tile    128 x 192, 5 stages of 64 of the depth; f needs no shared memory but for column sums
// HBM     a and b about once, where L2 holds the tiles in work (TileOrder); what f reads and writes
// Shared  5 (16 + 24) KiB, and 12 for column sums
// Grid    as many thread blocks as multiprocessors, in pairs
#include "strobe/cuda/gelu.cuh"
#include "strobe/cuda/log2.h"
#include "strobe/cuda/ptx.cuh"
#include "strobe/cuda/reduce.cuh"
#include "strobe/cuda/sm90_cluster.cuh"
#include "strobe/cuda/tensor_map.h"
#include "strobe/cuda/tiled_product.h"
#include "strobe/cuda/tiled_product_layout.h"
#include "strobe/cuda/vector.cuh"

namespace strobe::cuda {

namespace {

using Sizes = TileSizes;
constexpr int kGroups = Sizes::kGroups;
constexpr int kConsumers = 2;  // warpgroups
constexpr int kThreads = 128 * (1 + kConsumers);

using Accumulators = float[Sizes::kColumns / 2];

struct Call {
  int rows, columns, depth;
  bf16* c;
  bf16* post;
  const bf16* bias;
  const bf16* pre;
  float* sums;
  const float* shift;
  int used;
};

/// A thread's part of a warpgroup's 64 rows: rows `row` and row + 8, columns column(i) ... + 7 of
/// group i of 32.
struct Place {
  int row, first_column, sixty_four;  // sixty_four: which 64 rows of c

  __device__ int column(int group) const {
    return first_column + group * Sizes::kGroup + threadIdx.x % 4 * 8;
  }
  __device__ bool inside(const Call& c, int group, int half) const {
    return column(group) < c.columns && row + 8 * half < c.rows;
  }
  __device__ int64_t at(const Call& c, int group, int half) const {
    return int64_t{row + 8 * half} * c.columns + column(group);
  }
};

__device__ Floats values_of(const Accumulators& acc, int group, int half) {
  Floats x;
#pragma unroll
  for (int j = 0; j < 8; ++j) x[j] = acc[(4 * group + j / 2) * 4 + 2 * half + j % 2];
  return x;
}

// ---- f ---------------------------------------------------------------------------------------
//
// Registers that are set aside do not change in the loop that finish() is called from: pinned()
// keeps the compiler from computing f ahead of it.
//
// ahead()   while the last products of a tile run: fetch
// take()    the sums are complete: set aside what finish() needs of them
// finish()  one group in one of the thread's two rows, in order, while the next tile is multiplied

__device__ Packed<bf16> pinned(Packed<bf16> x) {
  ptx::pin(x.words.x), ptx::pin(x.words.y), ptx::pin(x.words.z), ptx::pin(x.words.w);
  return x;
}
__device__ Floats pinned(Floats x) {
#pragma unroll
  for (int j = 0; j < kLanes; ++j) ptx::pin(x[j]);
  return x;
}

constexpr int kSumFloats = 4 * Sizes::kColumns;  // of a warpgroup, twice: of columns

struct Bias {
  static constexpr bool kReadsPre = false;
  Packed<bf16> held[kGroups][2], bias[kGroups];
  __device__ explicit Bias(float*) {}

  __device__ void ahead(const Call& c, const Place& place) {
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      bias[group] = {};
      if (c.bias && place.column(group) < c.columns)
        bias[group] = load(c.bias + place.column(group));
    }
  }
  __device__ void take(const Accumulators& acc, const Call&, const Place&) {
#pragma unroll
    for (int group = 0; group < kGroups; ++group)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Floats x = values_of(acc, group, half);
        const Floats b = unpack(bias[group]);
#pragma unroll
        for (int j = 0; j < kLanes; ++j) x[j] += b[j];
        held[group][half] = pack<bf16>(x);
      }
  }
  __device__ void finish(int group, int half, const Call& c, const Place& place) {
    if (place.inside(c, group, half)) store(c.c + place.at(c, group, half), held[group][half]);
  }
};

template <Gelu kKind>
struct BiasGelu : Bias {
  using Bias::Bias;

  __device__ void finish(int group, int half, const Call& c, const Place& place) {
    Floats x = unpack(pinned(held[group][half]));
#pragma unroll
    for (int j = 0; j < kLanes; ++j) x[j] *= gelu_gate<kKind>(x[j]);
    if (!place.inside(c, group, half)) return;
    store(c.c + place.at(c, group, half), held[group][half]);
    store(c.post + place.at(c, group, half), pack<bf16>(x));
  }
};

template <Gelu kKind>
struct GeluBackward {
  static constexpr bool kReadsPre = true;
  Packed<bf16> held[kGroups][2], pre[2];  // pre of the next two pieces
  Floats total;                           // of a group's columns
  float* sums;                            // this warpgroup's, in shared memory
  int turn = 0;

  __device__ explicit GeluBackward(float* shared)
      : sums(shared + (threadIdx.x / 128 - 1) * 2 * kSumFloats) {}

  __device__ void fetch(int group, int half, const Call& c, const Place& place) {
    pre[half] = {};
    if (place.inside(c, group, half)) pre[half] = load(c.pre + place.at(c, group, half));
  }
  __device__ void ahead(const Call& c, const Place& place) {
    fetch(0, 0, c, place), fetch(0, 1, c, place);
  }
  __device__ void take(const Accumulators& acc, const Call&, const Place&) {
#pragma unroll
    for (int group = 0; group < kGroups; ++group)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        held[group][half] = pack<bf16>(values_of(acc, group, half));
  }
  __device__ void finish(int group, int half, const Call& c, const Place& place) {
    Floats x = unpack(pre[half]), d = unpack(pinned(held[group][half]));
#pragma unroll
    for (int j = 0; j < kLanes; ++j) {
      const float gate = gelu_gate<kKind>(x[j]), value = x[j] * gate;
      d[j] *= gelu_slope_at<kKind>(x[j], value, gate);
      x[j] = value;
    }
    const Packed<bf16> dpre = pack<bf16>(d);
    if (place.inside(c, group, half)) {
      store(c.c + place.at(c, group, half), dpre);
      if (c.post) store(c.post + place.at(c, group, half), pack<bf16>(x));
    }
    if (group + 1 < kGroups) fetch(group + 1, half, c, place);
    if (!c.sums) return;
    d = unpack(dpre);  // 0 beyond c
#pragma unroll
    for (int j = 0; j < kLanes; ++j) total[j] = half == 0 ? d[j] : total[j] + d[j];
    if (half == 1) add_columns(group, c, place);
  }
  __device__ void add_columns(int group, const Call& c, const Place& place) {
    // The eight lanes of a column share the sums out: each halving keeps half of the columns.
    const int warp = threadIdx.x / 32 % 4, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    float* const mine = sums + turn * kSumFloats;
    const bool third = g & 4, second = g & 2, first = g & 1;
    float four[4], two[2];
#pragma unroll
    for (int j = 0; j < 4; ++j)
      four[j] = (third ? total[4 + j] : total[j]) +
                __shfl_xor_sync(kFullWarp, third ? total[j] : total[4 + j], 16);
#pragma unroll
    for (int j = 0; j < 2; ++j)
      two[j] = (second ? four[2 + j] : four[j]) +
               __shfl_xor_sync(kFullWarp, second ? four[j] : four[2 + j], 8);
    const float one =
        (first ? two[1] : two[0]) + __shfl_xor_sync(kFullWarp, first ? two[0] : two[1], 4);
    mine[warp * Sizes::kColumns + group * Sizes::kGroup + 8 * t + g] = one;
    if (group + 1 < kGroups) return;
    sm90::bar_sync(1 + threadIdx.x / 128, 128);
    turn ^= 1;  // one barrier a tile is enough: the next tile writes elsewhere
    if (place.sixty_four * 64 >= c.rows) return;
    for (int i = threadIdx.x % 128; i < Sizes::kColumns; i += 128) {
      if (place.first_column + i >= c.columns) break;
      float sum = 0;
#pragma unroll
      for (int w = 0; w < 4; ++w) sum += mine[w * Sizes::kColumns + i];
      c.sums[int64_t{place.sixty_four} * c.columns + place.first_column + i] = sum;
    }
  }
};

template <bool kBiased>
struct Exponentials {
  static constexpr bool kReadsPre = false;
  Accumulators held;
  float shift[2], sum[2];
  Packed<bf16> bias;  // of the next group
  __device__ explicit Exponentials(float*) {}

  __device__ void fetch(int group, const Call& c, const Place& place) {
    bias = {};
    if (place.column(group) < c.columns) bias = load(c.bias + place.column(group));
  }
  __device__ void ahead(const Call& c, const Place& place) {
    if constexpr (kBiased) fetch(0, c, place);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = place.row + 8 * half;
      shift[half] = row < c.rows ? c.shift[row] * kLog2e : 0;
    }
  }
  __device__ void take(const Accumulators& acc, const Call&, const Place&) {
#pragma unroll
    for (int i = 0; i < Sizes::kColumns / 2; ++i) held[i] = acc[i];
    sum[0] = sum[1] = 0;
  }
  __device__ void finish(int group, int half, const Call& c, const Place& place) {
    constexpr float kMost = 115.0f;  // beyond 2^115 a sum over columns may overflow
    const int column = place.column(group);
    Floats x = pinned(values_of(held, group, half));
    if constexpr (kBiased) {
      const Floats b = unpack(pinned(bias));
#pragma unroll
      for (int j = 0; j < kLanes; ++j) x[j] += b[j];
      if (half == 1 && group + 1 < kGroups) fetch(group + 1, c, place);
    }
#pragma unroll
    for (int j = 0; j < kLanes; ++j) {
      const float power = fmaf(x[j], kLog2e, -shift[half]);
      x[j] = ptx::ex2_approx_ftz(power > kMost ? kMost : power);  // what is no number stays so
    }
    if (column + kLanes > c.used)
#pragma unroll
      for (int j = 0; j < kLanes; ++j)
        if (column + j >= c.used) x[j] = 0;
#pragma unroll
    for (int j = 0; j < kLanes; ++j) sum[half] += x[j];
    if (c.c && place.inside(c, group, half)) store(c.c + place.at(c, group, half), pack<bf16>(x));
    if (group + 1 < kGroups) return;
    const int row = place.row + 8 * half;
    float total = sum[half] + __shfl_xor_sync(kFullWarp, sum[half], 1);
    total += __shfl_xor_sync(kFullWarp, total, 2);
    if (threadIdx.x % 4 == 0 && row < c.rows)
      c.sums[int64_t{place.first_column / Sizes::kColumns} * c.rows + row] = total;
  }
};

// ---- the product -----------------------------------------------------------------------------

/// finish() with a constant for the group, which indexes registers.
template <class Finish>
__device__ void finish_group(Finish& f, int group, const Call& c, const Place& place) {
#pragma unroll
  for (int i = 0; i < kGroups; ++i)
    if (group == i) {
      Place here = place;
      ptx::pin(here.row), ptx::pin(here.first_column);
      f.finish(i, 0, c, here), f.finish(i, 1, c, here);
    }
}

template <class Finish>
__global__ void __cluster_dims__(Sizes::kCluster, 1, 1) __launch_bounds__(kThreads, 1)
    tiled_product_kernel(const __grid_constant__ CUtensorMap map_a,
                         const __grid_constant__ CUtensorMap map_b,
                         const __grid_constant__ CUtensorMap map_pre, const Call c) {
  extern __shared__ __align__(1024) char shared[];
  __shared__ __align__(8) uint64_t barriers[2][Sizes::kStages];
  __shared__ float sums[Finish::kReadsPre ? 4 * kSumFloats : 1];
  const uint32_t stages = ptx::shared_address(shared), full = ptx::shared_address(barriers);
  const uint32_t empty = full + 8 * Sizes::kStages;
  const int rank = static_cast<int>(sm90::cluster_ctarank());
  const TileOrder order(c.rows, c.columns);
  const int blocks = (c.depth + Sizes::kDepth - 1) / Sizes::kDepth;  // of the depth
  const int clusters = gridDim.x / Sizes::kCluster, cluster = blockIdx.x / Sizes::kCluster;

  if (threadIdx.x == 0) {
    for (int i = 0; i < Sizes::kStages; ++i) {
      sm90::mbarrier_init(full + 8 * i, 1);
      sm90::mbarrier_init(empty + 8 * i, kConsumers * Sizes::kCluster);
    }
    sm90::fence_mbarrier_init();
  }
  sm90::barrier_cluster_arrive();
  sm90::barrier_cluster_wait();

  int stage = 0;
  uint32_t phase = 0;
  const auto advance = [&] {
    if (++stage == Sizes::kStages) stage = 0, phase ^= 1;
  };

  if (threadIdx.x < 128) {
    sm90::setmaxnreg_dec<24>();
    if (threadIdx.x == 0) {
      constexpr int kShare = Sizes::kColumns / Sizes::kCluster;  // rows of b that are copied here
      for (int i = cluster; i < order.pairs(); i += clusters) {
        const TileOrder::Pair pair = order[i];
        const int row = (pair.row_pair * Sizes::kCluster + rank) * Sizes::kRows;
        const int group = (pair.column * Sizes::kColumns + rank * kShare) / Sizes::kGroup;
        if constexpr (Finish::kReadsPre)  // f will read it from L2
          for (int column = 0; column < Sizes::kColumns; column += 64)
            sm90::cp_async_bulk_prefetch_tensor_3d(&map_pre, pair.column * Sizes::kColumns + column,
                                                   row, 0);
        for (int k = 0; k < blocks; ++k) {
          const uint32_t to = stages + stage * Sizes::kStageBytes, bar = full + 8 * stage;
          sm90::mbarrier_wait(empty + 8 * stage, phase ^ 1);
          sm90::mbarrier_arrive_expect_tx(bar, Sizes::kStageBytes);
          sm90::cp_async_bulk_tensor_3d(to, &map_a, k * Sizes::kDepth, row, 0, bar);
          sm90::cp_async_bulk_tensor_5d_multicast(
              to + Sizes::kRowBytes + rank * (Sizes::kColumnBytes / Sizes::kCluster), &map_b,
              k * Sizes::kDepth, group, bar, (1 << Sizes::kCluster) - 1);
          advance();
        }
      }
    }
  } else {
    sm90::setmaxnreg_inc<240>();
    const int group = __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) / 128 - 1, 0);
    // Thread i of the warpgroup tells thread block i that a stage is read.
    const uint32_t remote_empty = sm90::mapa(empty, threadIdx.x % Sizes::kCluster);
    const bool tells = threadIdx.x % 128 < Sizes::kCluster;
    Finish finish(sums);
    Place held;
    bool holds = false;
    for (int i = cluster; i < order.pairs(); i += clusters) {
      const TileOrder::Pair pair = order[i];
      const int tile_row = pair.row_pair * Sizes::kCluster + rank;
      Place place;
      place.row =
          tile_row * Sizes::kRows + group * 64 + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
      place.first_column = pair.column * Sizes::kColumns;
      place.sixty_four = 2 * tile_row + group;
      Accumulators acc;
      uint32_t previous = 0;
      int finished = 0;  // groups of the tile before
#pragma unroll 1
      for (int k = 0; k < blocks; ++k) {
        sm90::mbarrier_wait(full + 8 * stage, phase);
        const uint32_t at = stages + stage * Sizes::kStageBytes;
        const uint64_t a = sm90::descriptor_k_major(at + group * 64 * Sizes::kDepth * 2);
        const uint64_t b = sm90::descriptor_k_major(at + Sizes::kRowBytes);
        sm90::wgmma_fence();
#pragma unroll
        for (int d = 0; d < Sizes::kDepth / 16; ++d)
          sm90::wgmma_m64k16_bf16<Sizes::kColumns, 0, 0>(acc, a + 2 * d, b + 2 * d, k + d > 0);
        sm90::wgmma_commit_group();
        if (k > 0) {
          sm90::wgmma_wait_group<1>();
          if (tells) sm90::mbarrier_arrive_cluster(remote_empty + previous);
        }
        previous = 8 * stage;
        advance();
        if (holds) {
          const int until = k == blocks - 1 ? kGroups : min(kGroups, k + 1);
#pragma unroll 1
          for (; finished < until; ++finished) finish_group(finish, finished, c, held);
        }
      }
      finish.ahead(c, place);
      sm90::wgmma_wait_group<0>();
      sm90::wgmma_fence_operand(acc);
      if (tells) sm90::mbarrier_arrive_cluster(remote_empty + previous);
      finish.take(acc, c, place);
      held = place, holds = true;
    }
    if (holds)
#pragma unroll 1
      for (int i = 0; i < kGroups; ++i) finish_group(finish, i, c, held);
  }
  // No thread block may end while others of its cluster still copy to it or arrive at its barriers.
  sm90::barrier_cluster_arrive();
  sm90::barrier_cluster_wait();
}

template <class Finish>
void launch(const Device& device, const TiledProduct& p, Call c, const char* what) {
  check(tiled_product_takes(device, p), what);
  HeadRows a;
  a.data = const_cast<bf16*>(p.a), a.row = p.a_row;
  const CUtensorMap map_a = head_rows_map(a, p.rows, 1, p.depth, Sizes::kRows);
  HeadRows pre;
  pre.data = const_cast<bf16*>(c.pre), pre.row = p.columns;
  const CUtensorMap map_pre =
      c.pre ? head_rows_map(pre, p.rows, 1, p.columns, Sizes::kRows) : map_a;
  const CUtensorMap map_b = regrouped_rows_map(p.b, p.columns, p.depth, p.b_row,
                                               Sizes::kColumns / Sizes::kCluster / Sizes::kGroup);
  c.rows = static_cast<int>(p.rows), c.columns = static_cast<int>(p.columns);
  c.depth = static_cast<int>(p.depth);
  constexpr int kShared = Sizes::kStages * Sizes::kStageBytes;
  static const bool allowed = [what] {
    check_cuda(cudaFuncSetAttribute(tiled_product_kernel<Finish>,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, kShared),
               what);
    return true;
  }();
  check(allowed, what);
  const int pairs = TileOrder(p.rows, p.columns).pairs();
  const int blocks = Sizes::kCluster * std::min(pairs, device.multiprocessors / Sizes::kCluster);
  tiled_product_kernel<Finish>
      <<<blocks, kThreads, kShared, device.stream>>>(map_a, map_b, map_pre, c);
  check_launch(what);
}

}  // namespace

bool tiled_product_takes(const Device& device, const TiledProduct& p) {
  constexpr int64_t kMost = 1 << 30;
  return device.compute_capability == 90 && p.columns % Sizes::kGroup == 0 && p.a_row % 8 == 0 &&
         p.b_row % 8 == 0 && aligned(p.a, p.b) && p.rows > 0 && p.depth > 0 && p.columns > 0 &&
         p.rows < kMost && p.columns < kMost && p.depth < kMost;
}

void product_bias(const Device& device, const TiledProduct& p, bf16* c, const bf16* bias) {
  launch<Bias>(device, p, {.c = c, .bias = bias}, "product");
}

void product_gelu(const Device& device, const TiledProduct& p, bf16* post, bf16* pre,
                  const bf16* bias, Gelu kind) {
  const Call call = {.c = pre, .post = post, .bias = bias};
  constexpr const char* kWhat = "product and GELU";
  kind == Gelu::tanh ? launch<BiasGelu<Gelu::tanh>>(device, p, call, kWhat)
                     : launch<BiasGelu<Gelu::erf>>(device, p, call, kWhat);
}

void product_gelu_backward(const Device& device, const TiledProduct& p, bf16* dpre, bf16* post,
                           const bf16* pre, float* sums, Gelu kind) {
  const Call call = {.c = dpre, .post = post, .pre = pre, .sums = sums};
  constexpr const char* kWhat = "product and GELU's backward";
  kind == Gelu::tanh ? launch<GeluBackward<Gelu::tanh>>(device, p, call, kWhat)
                     : launch<GeluBackward<Gelu::erf>>(device, p, call, kWhat);
}

void product_exponentials(const Device& device, const TiledProduct& p, bf16* c, float* sums,
                          const float* shift, const bf16* bias, int64_t used) {
  const Call call = {
      .c = c, .bias = bias, .sums = sums, .shift = shift, .used = static_cast<int>(used)};
  constexpr const char* kWhat = "product and exponentials";
  bias ? launch<Exponentials<true>>(device, p, call, kWhat)
       : launch<Exponentials<false>>(device, p, call, kWhat);
}

}  // namespace strobe::cuda
