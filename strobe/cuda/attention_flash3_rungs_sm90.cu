// The rungs from flash2 to flash3's forward, for the benchmark only: the kernel with one of its two
// ideas taken away (Shah et al. 2024, Table 2).
//
// no_overlap: at head size 128 the product with the next keys waits for the softmax of these
// (Algorithm 1). At 64 softmax and products overlap between warpgroups only, so there the
// warpgroups begin their products all at once.
//
// no_specialisation: no producer and no scheduler. All warps compute; one of their threads issues
// the copies of a stage when all have left it, so that they meet at every tile. A thread block does
// one item, and no registers move. Tiles, stages and what overlaps are those of the whole kernel.
#include "strobe/cuda/attention_flash3.h"
#include "strobe/cuda/attention_flash3_launch.cuh"

namespace strobe::cuda {

namespace {

template <class Sizes>
class Flash3Unspecialised {
 public:
  static constexpr int D = Sizes::kHeadDim, kKeys = Sizes::kKeys, kStages = Sizes::kStages;
  using Operands = typename Sizes::Operands;
  struct Shared {
    uint64_t q_full, k_full[kStages], v_full[kStages];
  };

  __device__ Flash3Unspecialised(const AttentionCall& c, const Operands& operands, Shared& shared,
                                 uint32_t base, const Flash3Item<Sizes>& item)
      : c_(c),
        operands_(operands),
        shared_(shared),
        tiles_{base},
        item_(item),
        warpgroup_(threadIdx.x / 128),
        row_(item.block_row + 64 * warpgroup_ + 16 * (threadIdx.x / 32 % 4)) {}

  __device__ void run() {
    const int tiles = item_.tiles_of(c_.causal, warpgroup_);
    start();
    softmax_.clear();
    if (tiles > 0) wait(shared_.q_full, 0);
    for (int i = 0; i < item_.tiles; ++i) {
      const int tile = item_.tiles - 1 - i;
      if (tile < tiles) attend(i, tile, tile == tiles - 1);
      __syncthreads();
      if (threadIdx.x > 0) continue;
      if (i + kStages < item_.tiles) copy_k(i + kStages);
      const int left = Sizes::kOverlap ? i - 1 : i;
      if (left >= 0 && left + kStages < item_.tiles) copy_v(left + kStages);
    }
    if (Sizes::kOverlap && tiles > 0) {
      begin_output(item_.tiles - 1);
      sm90::wgmma_wait_group<0>();
    }
    store();
  }

 private:
  static __device__ uint32_t at(const uint64_t& barrier) { return ptx::shared_address(&barrier); }
  __device__ void wait(const uint64_t& barrier, uint32_t phase) const {
    sm90::mbarrier_wait(at(barrier), phase);
  }
  /// The copies of the i-th tile, counted from the last keys.
  __device__ void copy_k(int i) const {
    operands_.copy_keys(tiles_.k(i % kStages), 0, item_, item_.head / c_.group, key_of(i),
                        at(shared_.k_full[i % kStages]));
  }
  __device__ void copy_v(int i) const {
    operands_.copy_values(tiles_.v(i % kStages), item_, item_.head / c_.group, key_of(i),
                          at(shared_.v_full[i % kStages]));
  }
  __device__ int key_of(int i) const { return (item_.tiles - 1 - i) * kKeys; }
  /// The first copies; zeros where the last tile of V reaches into the next sequence.
  __device__ void start() const {
    if (threadIdx.x == 0) {
      sm90::mbarrier_init(at(shared_.q_full), Sizes::kWarpgroups);
      for (int i = 0; i < kStages; ++i)
        sm90::mbarrier_init(at(shared_.k_full[i]), 1),
            sm90::mbarrier_init(at(shared_.v_full[i]), 1);
      sm90::fence_mbarrier_init();
    }
    __syncthreads();
    if (threadIdx.x == 0 && item_.tiles > 0) {
      for (int w = 0; w < Sizes::kWarpgroups; ++w)
        operands_.copy_queries(tiles_.q(w, 0), item_, item_.block_row + 64 * w, at(shared_.q_full));
      for (int i = 0; i < least(kStages, item_.tiles); ++i) copy_k(i), copy_v(i);
    }
    const int first = item_.keys - (item_.tiles - 1) * kKeys;  // row that is not there
    if (item_.tiles == 0 || first >= kKeys) return;
    wait(shared_.v_full[0], 0);
    constexpr int kChunks = D / 8;
    for (int i = first * kChunks + threadIdx.x; i < kKeys * kChunks; i += blockDim.x)
      ptx::st_shared_u32x4(tiles_.v(0) + panel_chunk_byte(i / kChunks, i % kChunks, kKeys), {});
    sm90::fence_proxy_async_shared();
    __syncthreads();
  }

  __device__ void begin_scores(int i) {
    wait(shared_.k_full[i % kStages], i / kStages & 1);
    cuda::begin_scores<D, kKeys>(s_, tiles_.q(warpgroup_, 0), tiles_.k(i % kStages));
  }
  __device__ void begin_output(int i) {
    wait(shared_.v_full[i % kStages], i / kStages & 1);
    cuda::begin_output<D, kKeys>(rows_.o, p_, tiles_.v(i % kStages), accumulate_);
    accumulate_ = 1;
  }
  __device__ bool softmax(int key, float (&factor)[2]) {
    const WarpMask mask(item_.mask(c_.causal), row_);
    return online_softmax<kKeys>(
        s_, softmax_, factor, Flash3Scale{c_.scale}, key + kKeys > mask.whole,
        [&](int half) { return mask.keys_seen(lane_.g + 8 * half) - key - 2 * lane_.t; });
  }
  __device__ void attend(int i, int tile, bool first) {
    float factor[2];
    begin_scores(i);
    if constexpr (Sizes::kOverlap) {
      begin_output(first ? i : i - 1);  // if first, the result is not used
      sm90::wgmma_wait_group<1>();
      const bool grown = softmax(tile * kKeys, factor);
      sm90::wgmma_wait_group<0>();
      if (first)
        accumulate_ = 0;
      else if (grown)
        rows_.rescale(factor);
      to_fragments<kKeys>(p_, s_);
    } else {
      sm90::wgmma_wait_group<0>();
      if (first) accumulate_ = 0;
      if (softmax(tile * kKeys, factor) && !first) rows_.rescale(factor);
      to_fragments<kKeys>(p_, s_);
      begin_output(i);
      sm90::wgmma_wait_group<0>();
    }
  }
  /// O / l and the log-sum-exp.
  __device__ void store() const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = row_ + lane_.g + 8 * half;
      const float l = row_sum(softmax_.l[half]), m = softmax_.m[half];
      const bool nothing = m == -INFINITY;
      const float inverse = nothing ? 0 : __fdividef(1, l);
      if (row < 0 || row >= item_.queries) continue;
      bf16* const to = c_.o.at(item_.first_q + row, item_.head);
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        const float* o = &rows_.o[4 * n + 2 * half];
        const uint32_t pair = nothing ? 0 : ptx::cvt_rn_bf16x2(o[1] * inverse, o[0] * inverse);
        if (8 * n < c_.head_dim) *reinterpret_cast<uint32_t*>(to + 8 * n + 2 * lane_.t) = pair;
      }
      if (lane_.t == 0)
        c_.lse[item_.head * c_.lse_stride + item_.first_q + row] =
            nothing ? -INFINITY : (m + __log2f(l)) * kLn2;
    }
  }

  const AttentionCall& c_;
  const Operands& operands_;
  Shared& shared_;
  const Flash3Tiles<Sizes> tiles_;
  const Flash3Item<Sizes>& item_;
  const int warpgroup_, row_;
  const Lane lane_;
  float s_[kKeys / 2];
  Flash3Softmax softmax_;
  Flash3Rows<D> rows_;
  uint32_t p_[kKeys / 16][4];
  int accumulate_ = 0;
};

template <class Sizes>
__global__ void __launch_bounds__(128 * Sizes::kWarpgroups, 1)
    flash3_unspecialised_kernel(const AttentionCall c,
                                const __grid_constant__ typename Sizes::Operands operands,
                                int chunk) {
  extern __shared__ __align__(1024) char dynamic[];
  __shared__ typename Flash3Unspecialised<Sizes>::Shared shared;
  const auto item = Flash3Item<Sizes>::make(c, blockIdx.x, chunk);
  if (item.block_row >= item.queries) return;
  Flash3Unspecialised<Sizes>(c, operands, shared, ptx::shared_address(dynamic), item).run();
}

template <class Sizes>
void launch_unspecialised(const Device& device, AttentionCall c) {
  const auto kernel = flash3_unspecialised_kernel<Sizes>;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  Sizes::kSharedBytes),
             "attention forward");
  const Flash3Launch<Sizes> of(c, forward_chunk(c));
  if (of.items == 0) return;
  const auto operands = flash3_operands<Sizes>(c);
  c.scale *= kLog2e;
  kernel<<<of.items, 128 * Sizes::kWarpgroups, Sizes::kSharedBytes, device.stream>>>(c, operands,
                                                                                     of.chunk);
  check_launch("attention forward");
}

}  // namespace

void flash3_forward_rung(const Device& device, const AttentionCall& c, AttentionVariant variant) {
  using Narrow = Flash3Sizes<64, 3, 128, 4, false>;
  using NarrowInStep = Flash3Sizes<64, 3, 128, 4, false, Flash3Turns::in_step>;
  using Wide = Flash3Sizes<128, 2, 128, 2, true>;
  using WideInSequence = Flash3Sizes<128, 2, 128, 2, false>;
  const bool wide = c.head_dim > 64;
  switch (variant) {
    case AttentionVariant::full: return flash3_forward(device, c);
    case AttentionVariant::no_overlap:
      return wide ? launch_flash3_forward<WideInSequence>(device, c)
                  : launch_flash3_forward<NarrowInStep>(device, c);
    case AttentionVariant::no_specialisation:
      return wide ? launch_unspecialised<Wide>(device, c) : launch_unspecialised<Narrow>(device, c);
  }
}

}  // namespace strobe::cuda
