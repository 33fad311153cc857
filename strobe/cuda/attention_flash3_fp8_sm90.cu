// FlashAttention-3's forward in FP8 (e4m3), section 3.3 of the paper: products of e4m3 with sums
// in f32, twice the rate of bf16. The main loop is the bf16 forward's
// (attention_flash3_forward.cuh); what it multiplies and how a tile is scaled is
// attention_flash3_fp8.cuh.
//
// Cycles of a multiprocessor for a tile of 64 queries x 128 keys, head size 128: tensor cores 512,
// exponentials 512, instructions 64 x (multiply-add, exponential, sum, three quarters of a
// conversion, half a maximum) + 150 = 420, shared memory 40 KiB or 320, L2 32 KiB by three
// warpgroups 270. That is head size 64 in bf16, and so is the cut: 3 warpgroups, which hide each
// other's softmax, and no overlap inside one. Head size 64 would halve the first alone, against
// exponentials that stay.
//
// Block   3 warpgroups, tiles of 128 keys
// HBM     the pass: 3 bytes an element of q, k, v. Forward: a byte each, O twice
// Shared  O, 2 Q, 4 stages of K and V: 224 KiB
// Grid    one block a multiprocessor
#include "strobe/cuda/attention_flash3.h"
#include "strobe/cuda/attention_flash3_fp8.cuh"
#include "strobe/cuda/attention_flash3_fp8_quantize.cuh"
#include "strobe/cuda/attention_flash3_launch.cuh"

namespace strobe::cuda {

namespace {

template <class Sizes>
typename Sizes::Operands quantize(const Device& device, const AttentionCall& c, char* workspace,
                                  bool rotated) {
  constexpr int kKeys = Sizes::kKeys;
  const int kv_heads = c.heads / c.group;
  const Fp8Workspace at =
      fp8_workspace(c.sequences, c.total_q, c.total_k, c.heads, kv_heads, kKeys);
  const auto part = [&](int64_t offset) { return reinterpret_cast<uint8_t*>(workspace + offset); };
  uint8_t *q = part(at.q), *k = part(at.k), *v = part(at.v);
  auto* q_scales = reinterpret_cast<float*>(part(at.q_scales));
  auto* kv_scales = reinterpret_cast<float*>(part(at.kv_scales));
  const int64_t q_tiles = block_capacity(c.total_q, c.sequences, kFp8QueryRows);
  const int64_t kv_tiles = block_capacity(c.total_k, c.sequences, kKeys);
  constexpr Philox::Block kSigns = rotation_signs();
  const uint4 signs = {kSigns[0], kSigns[1], kSigns[2], kSigns[3]};

  const int q_blocks = ceil_div(c.max_q, kFp8QueryRows), kv_blocks = ceil_div(c.max_k, kKeys);
  const dim3 q_grid(q_blocks * c.sequences, c.heads), kv_grid(kv_blocks * c.sequences, kv_heads);
  quantize_rows_kernel<kFp8QueryRows><<<q_grid, 4 * kFp8QueryRows, 0, device.stream>>>(
      c.q, c.cu_q, q_blocks, q_tiles, c.head_dim, rotated, signs, q, q_scales, 1);
  if (kv_blocks > 0) {
    quantize_rows_kernel<kKeys><<<kv_grid, 4 * kKeys, 0, device.stream>>>(
        c.k, c.cu_k, kv_blocks, kv_tiles, c.head_dim, rotated, signs, k, kv_scales, 4);
    quantize_values_kernel<kKeys><<<kv_grid, 4 * kKeys, 0, device.stream>>>(
        c.v, c.cu_k, kv_blocks, kv_tiles, c.head_dim, v, kv_scales + 1, 4);
  }
  check_launch("attention forward");
  return {q, k, v, q_scales, reinterpret_cast<float4*>(kv_scales), q_tiles, kv_tiles};
}

using Sizes =
    Flash3Sizes<kFp8HeadDim, 3, 128, 4, false, Flash3Turns::free, false, Flash3Fp8Operands>;

}  // namespace

int64_t flash3_fp8_workspace_bytes(const AttentionShape& s) {
  return fp8_workspace(s.sequences, s.total_q, s.total_k, s.heads, s.kv_heads, Sizes::kKeys).bytes;
}

void flash3_fp8_forward(const Device& device, const AttentionCall& c, char* workspace,
                        bool rotated) {
  if (c.sequences == 0 || c.heads == 0 || c.max_q == 0 || c.total_q == 0) return;
  launch_flash3_forward<Sizes>(device, c, quantize<Sizes>(device, c, workspace, rotated),
                               2 * forward_chunk(c));
}

}  // namespace strobe::cuda
