// FlashAttention, backward, of flash1 and flash2. Dao 2023, Algorithm 2; Dao et al. 2022,
// Algorithm 4.
//
// A thread block owns a block of keys of one key-value head and walks over the queries that see
// them. It computes S^T and dP^T, keys down and queries across: rounded, P^T and dS^T are then A
// fragments of dV += P^T dO and dK += dS^T Q, and never leave the registers. Only dQ = dS K sums
// over keys of all warps: dS goes through shared memory, and dQ is summed over thread blocks in f32
// in device memory:
//
//   flash2, fixed  each warp adds to its part of a dQ block when its turn comes (BackwardOrder).
//                  The first one writes without reading, the last one writes dq itself.
//   flash2, free   atomic additions, between a pass that clears the sum and one that rounds it.
//   flash1         one thread block does all key blocks of a head (no split over the sequence).
//
// Block   128 keys by 4 warps (head size 64), by 8 (128); 64 by 4 at head size 256, where two
//         thread blocks share the columns of dK, dV and dQ; queries 64 (256: 32) at a time
// HBM     K, V, dK, dV once; per key block Q, dO and twice dQ in f32, from L2 where a head fits
// Shared  K, V, dS and 2 (Q + dO): 82 KiB at head size 64, 146 at 128, 134 at 256
// Grid    key blocks x heads x sequences
#include <cmath>

#include "strobe/cuda/attention_backward.cuh"
#include "strobe/cuda/attention_dropout.cuh"
#include "strobe/cuda/attention_flash.h"
#include "strobe/cuda/log2.h"

namespace strobe::cuda {

template <int D>
void prepare_backward(const Device& device, const AttentionBackwardCall& c);
template <int D>
void finish_backward(const Device& device, const AttentionBackwardCall& c);

namespace {

template <int Pieces, int Columns>
__device__ inline void clear(float (&x)[Pieces][Columns][4]) {
#pragma unroll
  for (int p = 0; p < Pieces; ++p)
#pragma unroll
    for (int n = 0; n < Columns; ++n)
      for (int e = 0; e < 4; ++e) x[p][n][e] = 0;
}

/// x += a b^T: a warp's rows of tile a; 16-row pieces [first, first + Columns / 2) of tile b.
template <int D, int Pieces, int Columns>
__device__ inline void multiply_transposed(float (&x)[Pieces][Columns][4], const TileReader<D>& a,
                                           const TileReader<D>& b, int first) {
#pragma unroll
  for (int d = 0; d < D / 16; ++d) {
    uint32_t left[Pieces][4];
#pragma unroll
    for (int p = 0; p < Pieces; ++p) ptx::ldmatrix_x4(left[p], a.at(p, d));
#pragma unroll
    for (int j = 0; j < Columns / 2; ++j) {
      uint32_t right[4];
      ptx::ldmatrix_x4(right, b.at(first + j, d));
#pragma unroll
      for (int p = 0; p < Pieces; ++p) {
        ptx::mma_m16n8k16_bf16(x[p][2 * j], left[p], right[0], right[1]);
        ptx::mma_m16n8k16_bf16(x[p][2 * j + 1], left[p], right[2], right[3]);
      }
    }
  }
}

/// x += a b: a in A fragments; 16-row pieces of tile b from `first`, its columns from 16 `column`.
template <int D, int Pieces, int Pairs, int Columns>
__device__ inline void multiply(float (&x)[Pieces][Columns][4],
                                const uint32_t (&a)[Pieces][Pairs][4], const TileReader<D>& b,
                                int first, int column) {
#pragma unroll
  for (int j = 0; j < Pairs; ++j)
#pragma unroll
    for (int d = 0; d < Columns / 2; ++d) {
      uint32_t right[4];
      ptx::ldmatrix_x4_trans(right, b.at(first + j, column + d));
#pragma unroll
      for (int p = 0; p < Pieces; ++p) {
        ptx::mma_m16n8k16_bf16(x[p][2 * d], a[p][j], right[0], right[1]);
        ptx::mma_m16n8k16_bf16(x[p][2 * d + 1], a[p][j], right[2], right[3]);
      }
    }
}

/// Gives the dropped elements of P, keys down, a negative sign: at 0 it makes no difference. Of
/// each piece of rows the lane has a pair of keys, `words`, in its two halves; `queries` are those
/// of its columns, four of each 16.
template <int Pieces, int Columns>
__device__ inline void sign_dropped(float (&s)[Pieces][Columns][4], const KeptNumbers& kept,
                                    const uint32_t (&words)[Pieces], const DropoutQuery* queries) {
  kept.dispatch([&](auto as_float) {
#pragma unroll
    for (int n = 0; n < Columns; n += 2) {
      const uint4* from = reinterpret_cast<const uint4*>(queries + 8 * n);
      const uint4 a = from[0], b = from[1];
      const DropoutQuery query[4] = {{a.x, a.y}, {a.z, a.w}, {b.x, b.y}, {b.z, b.w}};
#pragma unroll
      for (int p = 0; p < Pieces; ++p)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const uint32_t numbers = dropout_numbers(query[i], words[p]);
          const uint32_t drops = kept.of<as_float()>(numbers) ^ KeptNumbers::kKeeps;
          float(&x)[4] = s[p][n + i / 2];
          const uint32_t signs[2] = {drops << 18 & 0x80000000u, drops << 2 & 0x80000000u};
#pragma unroll
          for (int half = 0; half < 2; ++half)
            x[2 * half + i % 2] =
                __uint_as_float(__float_as_uint(x[2 * half + i % 2]) | signs[half]);
        }
    }
  });
}

template <int D, int Columns>
__device__ inline void store_keys(const float (&x)[BackwardSizes<D>::kPieces][Columns][4],
                                  const HeadRows& view, bf16* to, int row, int keys, int column,
                                  int head_dim, float scale, const Lane& lane) {
#pragma unroll
  for (int p = 0; p < BackwardSizes<D>::kPieces; ++p)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = row + row_of_row_slot(16 * p + 8 * half + lane.g, BackwardSizes<D>::kPieces);
      if (r >= keys) continue;
#pragma unroll
      for (int n = 0; n < Columns; ++n) {
        const int d = column + 8 * n + 2 * lane.t;
        if (d < head_dim)
          *reinterpret_cast<uint32_t*>(to + r * view.row + d) =
              ptx::cvt_rn_bf16x2(x[p][n][2 * half + 1] * scale, x[p][n][2 * half] * scale);
      }
    }
}

template <int D, bool Drop>
__global__ void __launch_bounds__(BackwardSizes<D>::kThreads, D == 64 ? 2 : 1)
    flash_backward_kernel(const AttentionBackwardCall c) {
  using Sizes = BackwardSizes<D>;
  constexpr int kPieces = Sizes::kPieces, kQueries = Sizes::kQueries, kKeys = Sizes::kKeys;
  constexpr int kColumns = Sizes::kColumns / 8;  // accumulators across
  extern __shared__ __align__(1024) char shared[];
  __shared__ int item;

  // A block waits only for those that took a ticket before it.
  if (threadIdx.x == 0)
    item = c.order == SumOrder::fixed ? atomicAdd(c.ticket, 1) : static_cast<int>(blockIdx.x);
  __syncthreads();
  const bool alone = c.order == SumOrder::alone;
  const int blocks = alone ? 1 : ceil_div(c.max_k, kKeys);
  const int part = item % Sizes::kParts, kv_heads = c.heads / c.group;
  const AttentionItem work =
      backward_item(item / Sizes::kParts, c.sequences * kv_heads, blocks, c.chunk, c.walk);
  const int sequence = work.pair / kv_heads, kv_head = work.pair % kv_heads;
  const int64_t first_q = c.cu_q[sequence], first_k = c.cu_k[sequence];
  const AttentionMask mask{static_cast<int>(c.cu_q[sequence + 1] - first_q),
                           static_cast<int>(c.cu_k[sequence + 1] - first_k), c.causal};
  const BackwardOrder order{mask, kQueries, kKeys, c.walk};

  const Lane lane;
  const int warp = threadIdx.x / 32;
  const uint32_t tile_k = ptx::shared_address(shared), tile_v = tile_k + Sizes::kKeyBytes;
  const uint32_t tile_ds = tile_v + Sizes::kKeyBytes, stages = tile_ds + kKeys * kQueries * 2;
  const int stages_at = 2 * Sizes::kKeyBytes + kKeys * kQueries * 2;

  const uint32_t rows_first = lane_offset<D>(lane, Order::rows_first);
  const uint32_t columns_first = lane_offset<D>(lane, Order::columns_first);
  const TileReader<D> k_rows(tile_k + warp * 16 * kPieces * D * 2, rows_first);
  const TileReader<D> v_rows(tile_v + warp * 16 * kPieces * D * 2, rows_first);
  const TileReader<D> k_all(tile_k, rows_first);
  const TileReader<kQueries> ds_all(tile_ds, lane_offset<kQueries>(lane, Order::columns_first));
  const PairWriter<kQueries> ds_rows(tile_ds + warp * 16 * kPieces * kQueries * 2, lane);
  const TileLoader<kQueries, D, Sizes::kThreads, Placing::columns> load_q(
      c.q.at(first_q, kv_head * c.group), c.q.row, c.head_dim, threadIdx.x);
  const TileLoader<kQueries, D, Sizes::kThreads, Placing::columns> load_do(
      c.d_o.at(first_q, kv_head * c.group), c.d_o.row, c.head_dim, threadIdx.x);
  const int dq_row = warp % Sizes::kQueryWarps * 32;  // this warp's 32 x 32 of dQ
  const int dq_column = part * Sizes::kPart + warp / Sizes::kQueryWarps * 32;
  const float scale2 = c.scale * kLog2e;

  const int begin = alone ? 0 : work.block, end = alone ? order.key_blocks() : work.block + 1;
  for (int j = begin; j < end; ++j) {
    const int block_key = j * kKeys;
    if (block_key >= mask.keys) return;
    const int key = block_key + warp * 16 * kPieces;  // the warp's first
    const int visits = mask.queries > 0 ? order.visits(j) : 0;
    const int steps = visits * c.group;

    // Loads the t-th visited block of the g-th head of the group.
    const auto load = [&](int g, int t, uint32_t to) {
      const int i = order.visited(j, t), row = i * kQueries;
      load_q(to, row, mask.queries - row, g * c.q.head);
      load_do(to + Sizes::kQueryBytes, row, mask.queries - row, g * c.d_o.head);
      if (threadIdx.x < kQueries / 4 * (Drop ? 4 : 2)) {
        const BackwardBlocks<D> at(c, sequence, kv_head * c.group + g, i);
        const int part = threadIdx.x / (kQueries / 4), chunk = threadIdx.x % (kQueries / 4);
        const void* from = (part ? c.delta : c.lse2) + at.row() + 4 * chunk;
        if (part >= 2) from = c.dropout_queries + at.row() + 2 * (threadIdx.x - kQueries / 2);
        const int byte =
            part < 2 ? 256 * part + 16 * chunk : 512 + 16 * (threadIdx.x - kQueries / 2);
        ptx::cp_async_cg_16(to + 2 * Sizes::kQueryBytes + byte, from, 16);
      }
    };
    __syncthreads();
    {
      const TileLoader<kKeys, D, Sizes::kThreads, Sizes::kRowPlacing> k(
          c.k.at(first_k, kv_head), c.k.row, c.head_dim, threadIdx.x);
      k(tile_k, block_key, mask.keys - block_key);
      const TileLoader<kKeys, D, Sizes::kThreads, Sizes::kRowPlacing> v(
          c.v.at(first_k, kv_head), c.v.row, c.head_dim, threadIdx.x);
      v(tile_v, block_key, mask.keys - block_key);
    }
    if (visits > 0) load(0, 0, stages);
    ptx::cp_async_commit_group();
    uint32_t words[kPieces];  // of the lane's pairs of keys
#pragma unroll
    for (int p = 0; p < kPieces; ++p)
      words[p] =
          Drop
              ? __ldg(c.dropout_words +
                      attention_dropout_slot((key + row_of_row_slot(16 * p + lane.g, kPieces)) / 2))
              : 0;

    float dk[kPieces][Sizes::kPart / 8][4], dv[kPieces][Sizes::kPart / 8][4];
    clear(dk), clear(dv);
    // A turn is given away half a step later, when what it tells of has long been written.
    int *given_turn = nullptr, given_rank = 0;
    const auto give_turn = [&] {
      if (given_turn && lane.id == 0) ptx::st_release_gpu(given_turn, given_rank);
      given_turn = nullptr;
    };
    for (int step = 0, g = 0, t = 0; step < steps; ++step) {
      const int head = kv_head * c.group + g, i = order.visited(j, t), row = i * kQueries;
      if (++g == c.group) g = 0, ++t;
      const uint32_t stage = step % 2 * Sizes::kStageBytes, tile_q = stages + stage;
      ptx::cp_async_wait_group<0>();
      __syncthreads();
      if (step + 1 < steps) load(g, t, stages + (Sizes::kStageBytes - stage));
      ptx::cp_async_commit_group();

      const float* statistics =
          reinterpret_cast<const float*>(shared + stages_at + stage + 2 * Sizes::kQueryBytes);
      const TileReader<D> q_rows(tile_q, rows_first), q_columns(tile_q, columns_first);
      const TileReader<D> do_rows(tile_q + Sizes::kQueryBytes, rows_first);
      const TileReader<D> do_columns(tile_q + Sizes::kQueryBytes, columns_first);

#pragma unroll
      for (int half = 0; half < kQueries / Sizes::kColumns; ++half) {
        const int query = row + half * Sizes::kColumns;
        if (half + 1 == kQueries / Sizes::kColumns) give_turn();
        uint32_t ds[kPieces][kColumns / 2][4];
        if (mask.keys_seen(query + Sizes::kColumns - 1) > key) {
          float s[kPieces][kColumns][4];
          clear(s);
          multiply_transposed<D>(s, k_rows, q_columns, half * kColumns / 2);

          const bool masked = mask.keys_seen(query) < key + 16 * kPieces;
          if (masked) {
#pragma unroll
            for (int p = 0; p < kPieces; ++p)
#pragma unroll
              for (int upper = 0; upper < 2; ++upper) {
                const int this_key = key + row_of_row_slot(16 * p + 8 * upper + lane.g, kPieces);
                const int first = this_key >= mask.keys ? 1 << 30 : mask.first_query(this_key);
                const int hidden = first - query - 4 * lane.t;
#pragma unroll
                for (int n = 0; n < kColumns; ++n)
#pragma unroll
                  for (int e = 0; e < 2; ++e)
                    if (16 * (n / 2) + 2 * (n % 2) + e < hidden) s[p][n][2 * upper + e] = -INFINITY;
              }
          }
#pragma unroll
          for (int n = 0; n < kColumns; n += 2) {
            const float4 lse = *reinterpret_cast<const float4*>(
                statistics + half * Sizes::kColumns + 8 * n + 4 * lane.t);
#pragma unroll
            for (int p = 0; p < kPieces; ++p)
#pragma unroll
              for (int e = 0; e < 4; ++e) {
                s[p][n][e] = ptx::ex2_approx_ftz(fmaf(s[p][n][e], scale2, e % 2 ? -lse.y : -lse.x));
                s[p][n + 1][e] =
                    ptx::ex2_approx_ftz(fmaf(s[p][n + 1][e], scale2, e % 2 ? -lse.w : -lse.z));
              }
          }

          if constexpr (Drop)
            sign_dropped(s, KeptNumbers(c.keep), words,
                         reinterpret_cast<const DropoutQuery*>(statistics + 128) +
                             half * Sizes::kColumns + 4 * lane.t);

          {
            uint32_t probabilities[kPieces][kColumns / 2][4];
#pragma unroll
            for (int p = 0; p < kPieces; ++p)
#pragma unroll
              for (int n = 0; n < kColumns / 2; ++n)
                if constexpr (Drop)
                  to_a_relu(probabilities[p][n], s[p][2 * n], s[p][2 * n + 1]);
                else
                  to_a(probabilities[p][n], s[p][2 * n], s[p][2 * n + 1]);
            multiply<D>(dv, probabilities, do_rows, half * kColumns / 2, part * Sizes::kPart / 16);
          }

          float dp[kPieces][kColumns][4];
          clear(dp);
          multiply_transposed<D>(dp, v_rows, do_columns, half * kColumns / 2);
#pragma unroll
          for (int n = 0; n < kColumns; n += 2) {
            const float4 delta4 = *reinterpret_cast<const float4*>(
                statistics + 64 + half * Sizes::kColumns + 8 * n + 4 * lane.t);
            const float delta[4] = {delta4.x, delta4.y, delta4.z, delta4.w};
#pragma unroll
            for (int p = 0; p < kPieces; ++p)
#pragma unroll
              for (int e = 0; e < 8; ++e) {
                const float x = s[p][n + e / 4][e % 4], d = delta[e / 4 * 2 + e % 2];
                float& y = dp[p][n + e / 4][e % 4];
                y = Drop ? fmaf(fmaxf(x, 0.0f), y, -fabsf(x) * d) : x * (y - d);
              }
          }
#pragma unroll
          for (int p = 0; p < kPieces; ++p)
#pragma unroll
            for (int n = 0; n < kColumns / 2; ++n) to_a(ds[p][n], dp[p][2 * n], dp[p][2 * n + 1]);
          multiply<D>(dk, ds, q_rows, half * kColumns / 2, part * Sizes::kPart / 16);
        } else {
#pragma unroll
          for (int p = 0; p < kPieces; ++p)
#pragma unroll
            for (int n = 0; n < kColumns / 2; ++n)
              ds[p][n][0] = ds[p][n][1] = ds[p][n][2] = ds[p][n][3] = 0;
        }
#pragma unroll
        for (int p = 0; p < kPieces; ++p)
#pragma unroll
          for (int n = 0; n < kColumns / 2; ++n)
#pragma unroll
            for (int e = 0; e < 4; ++e)
              ds_rows.write(p, e % 2, half * kColumns + 2 * n + e / 2, ds[p][n][e]);
      }

      const BackwardBlocks<D> at(c, sequence, head, i);
      const int rank = c.order == SumOrder::fixed ? order.rank(i, j) : j;
      float* sum = c.dq_sum + at.sum(part, warp);
      int* turn = c.turns + at.turn(part, warp);
      QueryGradient dq;
      if (c.order == SumOrder::free || rank == 0) {
        dq.clear();
      } else {
        if (c.order == SumOrder::fixed) {
          while (ptx::ld_acquire_gpu(turn) < rank) {
          }
          __syncwarp();
        }
        dq.load(sum, lane);
      }
      __syncthreads();
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
        uint32_t left[2][4];
#pragma unroll
        for (int m = 0; m < 2; ++m) ptx::ldmatrix_x4_trans(left[m], ds_all.at(n, dq_row / 16 + m));
#pragma unroll
        for (int d = 0; d < 2; ++d) {
          uint32_t right[4];
          ptx::ldmatrix_x4_trans(right, k_all.at(n, dq_column / 16 + d));
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            ptx::mma_m16n8k16_bf16(dq.sum[m][2 * d], left[m], right[0], right[1]);
            ptx::mma_m16n8k16_bf16(dq.sum[m][2 * d + 1], left[m], right[2], right[3]);
          }
        }
      }
      if (c.order == SumOrder::free) {
        dq.add(sum, lane);
      } else if (rank + 1 == order.contributions(i)) {
        dq.finish(c.dq, c.dq.at(first_q, head), row + dq_row, mask.queries, dq_column, c.head_dim,
                  c.scale * c.keep_scale, lane);
      } else {
        dq.store(sum, lane);
        if (c.order == SumOrder::fixed) {
          __syncwarp();
          given_turn = turn, given_rank = rank + 1;
        }
      }
    }
    give_turn();
    ptx::cp_async_wait_group<0>();

    store_keys<D>(dk, c.dk, c.dk.at(first_k, kv_head), key, mask.keys, part * Sizes::kPart,
                  c.head_dim, c.scale * c.keep_scale, lane);
    store_keys<D>(dv, c.dv, c.dv.at(first_k, kv_head), key, mask.keys, part * Sizes::kPart,
                  c.head_dim, c.keep_scale, lane);
  }
}

struct Workspace {
  template <int D>
  static Workspace of(const AttentionShape& shape) {
    using Sizes = BackwardSizes<D>;
    const int64_t blocks =
        shape.heads * block_capacity(shape.total_q, shape.sequences, Sizes::kQueries);
    const auto rounded = [](int64_t bytes) { return ceil_div(bytes, int64_t{256}) * 256; };
    return {rounded(blocks * Sizes::kQueries * 4), rounded(blocks * Sizes::kQueries * D * 4),
            rounded(blocks * Sizes::kParts * Sizes::kWarps * 4)};
  }
  int64_t statistics, sum, turns;
  int64_t bytes() const { return 4 * statistics + sum + turns + 256; }
};

template <int D, bool Drop>
void launch(const Device& device, AttentionBackwardCall& c, char* workspace) {
  using Sizes = BackwardSizes<D>;
  const AttentionShape shape{.sequences = c.sequences, .total_q = c.total_q, .heads = c.heads};
  const Workspace sizes = Workspace::of<D>(shape);
  c.lse2 = reinterpret_cast<float*>(workspace);
  c.delta = reinterpret_cast<float*>(workspace + sizes.statistics);
  c.dropout_queries = reinterpret_cast<DropoutQuery*>(workspace + 2 * sizes.statistics);
  c.dq_sum = reinterpret_cast<float*>(workspace + 4 * sizes.statistics);
  c.turns = reinterpret_cast<int*>(workspace + 4 * sizes.statistics + sizes.sum);
  c.ticket = reinterpret_cast<int*>(workspace + sizes.bytes() - 256);

  const auto kernel = flash_backward_kernel<D, Drop>;
  check_cuda(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Sizes::kShared),
      "attention backward");
  const int key_blocks = ceil_div(c.max_k, Sizes::kKeys);
  const int kv_heads = c.heads / c.group, pairs = c.sequences * kv_heads;
  const int places = device.multiprocessors / Sizes::kParts;
  if (c.order != SumOrder::alone) c.walk = backward_walk(c.causal, key_blocks <= places, c.group);
  if (c.walk == BackwardWalk::falling)
    c.chunk = backward_chunk(pairs, key_blocks, (D == 64 ? 2 : 1) * places,
                             int64_t{8} * c.max_q * D * c.group);
  prepare_backward<D>(device, c);  // the ticket too, which keys without queries also draw
  const int blocks = (c.order == SumOrder::alone ? 1 : key_blocks) * Sizes::kParts * pairs;
  if (blocks > 0) {
    kernel<<<blocks, Sizes::kThreads, Sizes::kShared, device.stream>>>(c);
    check_launch("attention backward");
  }
  if (c.order == SumOrder::free && c.max_q > 0) finish_backward<D>(device, c);
}

}  // namespace

int flash_shared_bytes(int head_dim) {
  return head_dim <= 64    ? most(112 << 10, BackwardSizes<64>::kShared)
         : head_dim <= 128 ? most(120 << 10, BackwardSizes<128>::kShared)
                           : most(160 << 10, BackwardSizes<256>::kShared);
}

int64_t flash_backward_workspace_bytes(const AttentionShape& shape) {
  if (shape.head_dim <= 64) return Workspace::of<64>(shape).bytes();
  return (shape.head_dim <= 128 ? Workspace::of<128>(shape) : Workspace::of<256>(shape)).bytes();
}

void flash_backward(const Device& device, AttentionBackwardCall c, char* workspace) {
  if (c.max_q == 0 && c.max_k == 0) return;
  const bool drop = c.keep < 256;
  if (c.head_dim <= 64)
    drop ? launch<64, true>(device, c, workspace) : launch<64, false>(device, c, workspace);
  else if (c.head_dim <= 128)
    drop ? launch<128, true>(device, c, workspace) : launch<128, false>(device, c, workspace);
  else
    drop ? launch<256, true>(device, c, workspace) : launch<256, false>(device, c, workspace);
}

}  // namespace strobe::cuda
