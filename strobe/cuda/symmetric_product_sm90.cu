// c = alpha X X^T + beta addend + gamma I for Hopper, a batch of matrices at a time.
//
// Thread blocks stay and walk over tiles of c on one side of the diagonal. One warp copies (TMA) 64
// of the depth at a time into a ring of stages; three warpgroups multiply (wgmma), each 64 rows of
// the tile with all its columns. Two thread blocks form a cluster, whose tiles share an operand:
// each copies half of it for both. A tile on the diagonal has one operand.
//
// A warpgroup's part of c goes through shared memory twice, as it is and transposed, and is stored
// by TMA, the second time while the next tile is multiplied. The addend comes the other way, into
// the same place, during the products.
//
// Tile    192 x 192, 3 stages of 64 of the depth
// HBM     X once and c once, where L2 holds a matrix; the addend
// Shared  3 (24 + 24) KiB of operands, 3 x 24 KiB of c
// Grid    as many thread blocks as multiprocessors, in pairs
#include <algorithm>

#include "strobe/cuda/ptx.cuh"
#include "strobe/cuda/reduce.cuh"
#include "strobe/cuda/sm90_cluster.cuh"
#include "strobe/cuda/symmetric_product.h"
#include "strobe/cuda/symmetric_product_layout.h"
#include "strobe/cuda/tensor_map.h"
#include "strobe/cuda/vector.cuh"

namespace strobe::cuda {

namespace {

using Tile = SymmetricTile;
constexpr int kConsumers = Tile::kGroups;  // warpgroups
constexpr int kThreads = 128 * (1 + kConsumers);
constexpr int kSixteens = Tile::kSide / 16;

using Accumulators = float[Tile::kSide / 2];

struct Call {
  int side, depth, batch;
  bool adds;  // an addend
  float alpha, beta, gamma;
  const float* factors;
  int power;
};

/// A tile of work: which matrix, which rows of X are each operand.
struct Work {
  int matrix, own, shared;
  bool stores;

  __device__ Work(const SymmetricPairs& pairs, int i, int rank) {
    const int count = pairs.count();
    matrix = i / count;
    const SymmetricPairs::Pair pair = pairs[i - matrix * count];
    own = pair.own_of(rank), shared = pair.shared;
    stores = rank == 0 || pair.own[1] >= 0;
  }
};

// ---- copies ------------------------------------------------------------------------------------

template <bool kTransposed, class Copy>
__device__ void copy_half(int half, int first, int k, Copy copy) {
#pragma unroll
  for (int i = 0; i < OperandCopy::count(kTransposed); ++i)
    copy(OperandCopy::part(kTransposed, half, i, first, k));
}

template <bool kTransposed>
__device__ void produce(const CUtensorMap& map, const Call& c, uint32_t stages, uint32_t full,
                        uint32_t empty, int rank) {
  const SymmetricPairs pairs(c.side);
  const int blocks = (c.depth + Tile::kDepth - 1) / Tile::kDepth;
  const int clusters = gridDim.x / Tile::kCluster;
  int stage = 0;
  uint32_t phase = 0;
  for (int i = blockIdx.x / Tile::kCluster; i < c.batch * pairs.count(); i += clusters) {
    const Work work(pairs, i, rank);
    const bool diagonal = work.own == work.shared;
    for (int k = 0; k < blocks; ++k) {
      const uint32_t to = stages + stage * Tile::kStageBytes, bar = full + 8 * stage;
      sm90::mbarrier_wait(empty + 8 * stage, phase ^ 1);
      sm90::mbarrier_arrive_expect_tx(bar, (diagonal ? 1 : 2) * Tile::kOperandBytes);
      copy_half<kTransposed>(
          rank, work.shared * Tile::kSide, k * Tile::kDepth, [&](const OperandCopy& copy) {
            sm90::cp_async_bulk_tensor_3d_multicast(to + Tile::kOperandBytes + copy.at, &map,
                                                    copy.x, copy.y, work.matrix, bar,
                                                    (1 << Tile::kCluster) - 1);
          });
      for (int half = 0; !diagonal && half < 2; ++half)
        copy_half<kTransposed>(
            half, work.own * Tile::kSide, k * Tile::kDepth, [&](const OperandCopy& copy) {
              sm90::cp_async_bulk_tensor_3d(to + copy.at, &map, copy.x, copy.y, work.matrix, bar);
            });
      if (++stage == Tile::kStages) stage = 0, phase ^= 1;
    }
  }
}

// ---- a warpgroup's part of c -------------------------------------------------------------------

/// 64 rows of c by 192 columns on their way to memory, or back, in `staging`. One thread, `leads`,
/// starts the copies and waits for them.
struct Part {
  const CUtensorMap &c, &addend;  // boxes of 64 x 64
  uint32_t staging, ready;
  int group, row, column, matrix;  // of c
  float factor;
  bool leads;

  __device__ void sync() const { sm90::bar_sync(1 + group, 128); }

  /// When the copies of the part before have read `staging`.
  __device__ void fetch_addend() const {
    if (!leads) return;
    sm90::cp_async_bulk_wait_group_read<0>();
    sm90::mbarrier_arrive_expect_tx(ready, Tile::kStagingBytes);
    for (int i = 0; i < Tile::kGroups; ++i)
      sm90::cp_async_bulk_tensor_3d(staging + i * Tile::kPanelBytes, &addend, column + 64 * i, row,
                                    matrix, ready);
  }
  /// What all threads wrote to `staging`: three panels beside each other, or below.
  __device__ void store(bool mirrored) const {
    sm90::fence_proxy_async_shared();
    sync();
    if (!leads) return;
    for (int i = 0; i < Tile::kGroups; ++i)
      sm90::cp_async_bulk_tensor_3d_store(&c, staging + i * Tile::kPanelBytes,
                                          mirrored ? row : column + 64 * i,
                                          mirrored ? column + 64 * i : row, matrix);
    sm90::cp_async_bulk_commit_group();
  }
  __device__ void wait_until_read() const {
    if (leads) sm90::cp_async_bulk_wait_group_read<0>();
    sync();
  }
};

/// Two accumulators 16x8 beside each other, as an A fragment.
__device__ void pack_sixteen(uint32_t (&r)[4], const Accumulators& acc, int i) {
  const float* x = acc + 8 * i;
  r[0] = pack_pair(x[0], x[1]), r[1] = pack_pair(x[2], x[3]);
  r[2] = pack_pair(x[4], x[5]), r[3] = pack_pair(x[6], x[7]);
}
__device__ uint32_t staged_row(int i) { return cuda::staged_row(i, warp_id() % 4, lane_id()); }
__device__ uint32_t staged_column(int i) {
  return cuda::staged_column(i, warp_id() % 4, lane_id());
}

__device__ float factor_of(const Call& c, int matrix) {
  const float f = c.factors ? c.factors[matrix] : 1.0f;
  return c.power == 2 ? f * f : f;
}

/// acc = f (alpha acc + beta addend + gamma I)
__device__ void combine(Accumulators& acc, const Call& c, const Part& part, uint32_t parity) {
  const float alpha = part.factor * c.alpha, beta = part.factor * c.beta;
  const float gamma = part.factor * c.gamma;
#pragma unroll
  for (int i = 0; i < Tile::kSide / 2; ++i) acc[i] *= alpha;
  if (c.adds) {
    sm90::mbarrier_wait(part.ready, parity);
#pragma unroll
    for (int i = 0; i < kSixteens; ++i) {
      uint32_t r[4];
      ptx::ldmatrix_x4(r, part.staging + staged_row(i));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        acc[8 * i + 2 * j] = fmaf(beta, low_half(r[j]), acc[8 * i + 2 * j]);
        acc[8 * i + 2 * j + 1] = fmaf(beta, high_half(r[j]), acc[8 * i + 2 * j + 1]);
      }
    }
  }
  const int ahead = part.row - part.column;  // of the first row: where the diagonal passes
  if (c.gamma == 0 || ahead < 0 || ahead >= Tile::kSide) return;
  const int row = ahead + warp_id() % 4 * 16 + lane_id() / 4, column = lane_id() % 4 * 2;
#pragma unroll
  for (int i = 0; i < Tile::kSide / 2; ++i)
    if (row + i % 4 / 2 * 8 == column + i / 4 * 8 + i % 2) acc[i] += gamma;
}

__device__ void put(const Accumulators& acc, const Part& part, bool mirror) {
  uint32_t packed[kSixteens][4];
#pragma unroll
  for (int i = 0; i < kSixteens; ++i) {
    pack_sixteen(packed[i], acc, i);
    sm90::stmatrix_x4(part.staging + staged_row(i), packed[i]);
  }
  part.store(false);
  if (!mirror) return;
  part.wait_until_read();
#pragma unroll
  for (int i = 0; i < kSixteens; ++i)
    sm90::stmatrix_x4_trans(part.staging + staged_column(i), packed[i]);
  part.store(true);
}

// ---- the product -------------------------------------------------------------------------------

template <bool kTransposed>
__global__ void __cluster_dims__(Tile::kCluster, 1, 1) __launch_bounds__(kThreads, 1)
    symmetric_product_kernel(const __grid_constant__ CUtensorMap map_a,
                             const __grid_constant__ CUtensorMap map_c,
                             const __grid_constant__ CUtensorMap map_addend, const Call c) {
  extern __shared__ __align__(1024) char shared[];
  __shared__ __align__(8) uint64_t barriers[2 * Tile::kStages + kConsumers];
  const uint32_t stages = ptx::shared_address(shared), full = ptx::shared_address(barriers);
  const uint32_t empty = full + 8 * Tile::kStages, ready = empty + 8 * Tile::kStages;
  const int rank = static_cast<int>(sm90::cluster_ctarank());

  if (threadIdx.x == 0) {
    for (int i = 0; i < Tile::kStages; ++i) {
      sm90::mbarrier_init(full + 8 * i, 1);
      sm90::mbarrier_init(empty + 8 * i, kConsumers * Tile::kCluster);
    }
    for (int i = 0; i < kConsumers; ++i) sm90::mbarrier_init(ready + 8 * i, 1);
    sm90::fence_mbarrier_init();
  }
  sm90::barrier_cluster_arrive();
  sm90::barrier_cluster_wait();

  if (threadIdx.x < 128) {
    sm90::setmaxnreg_dec<32>();
    if (threadIdx.x == 0) produce<kTransposed>(map_a, c, stages, full, empty, rank);
  } else {
    sm90::setmaxnreg_inc<160>();
    const int group = __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) / 128 - 1, 0);
    // Thread i of the warpgroup tells thread block i that a stage is read.
    const uint32_t remote_empty = sm90::mapa(empty, threadIdx.x % Tile::kCluster);
    const bool tells = threadIdx.x % 128 < Tile::kCluster;
    const SymmetricPairs pairs(c.side);
    const int blocks = (c.depth + Tile::kDepth - 1) / Tile::kDepth;
    const int clusters = gridDim.x / Tile::kCluster;
    int stage = 0;
    uint32_t phase = 0, parity = 0;
    for (int i = blockIdx.x / Tile::kCluster; i < c.batch * pairs.count(); i += clusters) {
      const Work work(pairs, i, rank);
      const bool diagonal = work.own == work.shared;
      const Part part = {map_c,
                         map_addend,
                         stages + Tile::kStages * Tile::kStageBytes + group * Tile::kStagingBytes,
                         ready + 8 * group,
                         group,
                         work.own * Tile::kSide + 64 * group,
                         work.shared * Tile::kSide,
                         work.matrix,
                         factor_of(c, work.matrix),
                         threadIdx.x % 128 == 0};
      Accumulators acc;
      uint32_t previous = 0;
#pragma unroll 1
      for (int k = 0; k < blocks; ++k) {
        sm90::mbarrier_wait(full + 8 * stage, phase);
        const uint32_t right = stages + stage * Tile::kStageBytes + Tile::kOperandBytes;
        const uint32_t left =
            (diagonal ? right : right - Tile::kOperandBytes) + group * Tile::kPanelBytes;
        sm90::wgmma_fence();
        if constexpr (kTransposed) {
          const uint64_t a = sm90::descriptor_mn_major(left, Tile::kPanelBytes);
          const uint64_t b = sm90::descriptor_mn_major(right, Tile::kPanelBytes);
#pragma unroll
          for (int d = 0; d < Tile::kDepth / 16; ++d)
            sm90::wgmma_m64k16_bf16<Tile::kSide, 1, 1>(acc, a + 128 * d, b + 128 * d, k + d > 0);
        } else {
          const uint64_t a = sm90::descriptor_k_major(left), b = sm90::descriptor_k_major(right);
#pragma unroll
          for (int d = 0; d < Tile::kDepth / 16; ++d)
            sm90::wgmma_m64k16_bf16<Tile::kSide, 0, 0>(acc, a + 2 * d, b + 2 * d, k + d > 0);
        }
        sm90::wgmma_commit_group();
        if (k == 0 && c.adds) part.fetch_addend();
        if (k > 0) {
          sm90::wgmma_wait_group<1>();
          if (tells) sm90::mbarrier_arrive_cluster(remote_empty + previous);
        }
        previous = 8 * stage;
        if (++stage == Tile::kStages) stage = 0, phase ^= 1;
      }
      sm90::wgmma_wait_group<0>();
      sm90::wgmma_fence_operand(acc);
      if (tells) sm90::mbarrier_arrive_cluster(remote_empty + previous);
      combine(acc, c, part, parity);
      if (c.adds)
        parity ^= 1;
      else
        part.wait_until_read();
      if (work.stores) put(acc, part, !diagonal);
    }
    if (threadIdx.x % 128 == 0) sm90::cp_async_bulk_wait_group<0>();
  }
  // No thread block may end while others of its cluster still copy to it or arrive at its barriers.
  sm90::barrier_cluster_arrive();
  sm90::barrier_cluster_wait();
}

CUtensorMap map_of(const bf16* x, int64_t batch, int64_t rows, int64_t columns, int box_rows) {
  HeadRows view;
  view.data = const_cast<bf16*>(x), view.row = columns, view.head = rows * columns;
  return head_rows_map(view, rows, batch, columns, box_rows);
}

template <bool kTransposed>
void launch(const Device& device, const SymmetricProduct& p) {
  constexpr const char* kWhat = "symmetric product";
  const CUtensorMap map_a =
      map_of(p.a, p.batch, kTransposed ? p.depth : p.side, kTransposed ? p.side : p.depth,
             OperandCopy::box_rows(kTransposed));
  const CUtensorMap map_c = map_of(p.c, p.batch, p.side, p.side, 64);
  const CUtensorMap map_addend = p.addend ? map_of(p.addend, p.batch, p.side, p.side, 64) : map_c;
  static const bool allowed = [] {
    check_cuda(
        cudaFuncSetAttribute(symmetric_product_kernel<kTransposed>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes),
        kWhat);
    return true;
  }();
  check(allowed, kWhat);
  const Call c = {static_cast<int>(p.side),
                  static_cast<int>(p.depth),
                  static_cast<int>(p.batch),
                  p.addend != nullptr,
                  p.alpha,
                  p.beta,
                  p.gamma,
                  p.factors,
                  p.power};
  const int pairs = static_cast<int>(p.batch) * SymmetricPairs(p.side).count();
  const int blocks = Tile::kCluster * std::min(pairs, device.multiprocessors / Tile::kCluster);
  symmetric_product_kernel<kTransposed>
      <<<blocks, kThreads, Tile::kSharedBytes, device.stream>>>(map_a, map_c, map_addend, c);
  check_launch(kWhat);
}

}  // namespace

bool symmetric_product_takes(const Device& device, const SymmetricProduct& p) {
  constexpr int64_t kMost = 1 << 15;  // numbers of tiles stay within 32 bits
  return device.compute_capability == 90 && p.side % 8 == 0 && p.depth % 8 == 0 && p.side > 0 &&
         p.depth > 0 && p.batch > 0 && p.side < kMost && p.depth < (1 << 30) && p.batch < kMost &&
         aligned(p.a, p.c, p.addend);
}

void symmetric_product(const Device& device, const SymmetricProduct& p) {
  check(symmetric_product_takes(device, p), "symmetric product: a shape that it does not take");
  p.transposed ? launch<true>(device, p) : launch<false>(device, p);
}

}  // namespace strobe::cuda
