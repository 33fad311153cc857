// FlashAttention-3, forward. Shah, Bikshandi, Zhang, Thakkar, Ramani, Dao, "FlashAttention-3: Fast
// and Accurate Attention with Asynchrony and Low-precision", 2024, Algorithms 1 and 2.
//
// Against flash2: products by wgmma, whose operands lie in shared memory and which run while their
// warps do something else; copies by TMA, issued by a producer warp; consumer warpgroups, 64
// queries each, that share the stages of K and V. A thread block stays and draws one item after
// another, the longest first (a block of queries of one head), so that the copies for the next run
// ahead. Registers move from the producer to the consumers (setmaxnreg).
//
// Where the head size is 128 a warpgroup also begins the product with the next keys before the
// softmax of these (Algorithm 2), and short sequences take turns with the products (ping-pong). At
// 64 a third or fourth warpgroup in the same registers gains more.
//
// Block   D 64: 3 warpgroups, tiles of 128 keys; 4 and 64 for short sequences. D 128: 2, 128
// HBM     Q, K, V once and O once, where a chunk of heads fits L2; lse
// Shared  O and 2 Q, 4 (D 128: 2) stages of K and V: 200 to 224 KiB
// Grid    one block a multiprocessor
//
// Differs from the paper: the maximum is of the first tiles and followed only where it grows by
// 2^32 (attention_flash3_softmax.cuh); dropout (attention_flash3_dropout.cuh).
#include "strobe/cuda/attention_flash3.h"
#include "strobe/cuda/attention_flash3_launch.cuh"

namespace strobe::cuda {

void flash3_forward(const Device& device, const AttentionCall& c) {
  using enum Flash3Turns;
  using Three = Flash3Sizes<64, 3, 128, 4, false>;
  using Four = Flash3Sizes<64, 4, 64, 4, false>;
  using Wide = Flash3Sizes<128, 2, 128, 2, true>;
  using WideInTurns = Flash3Sizes<128, 2, 128, 2, true, ping_pong>;
  using ThreeWithDropout = Flash3Sizes<64, 3, 128, 4, false, Flash3Turns::free, true>;
  using WideWithDropout = Flash3Sizes<128, 2, 128, 2, true, Flash3Turns::free, true>;
  const bool drop = c.keep < 256;
  switch (flash3_forward_plan(c.head_dim, c.max_k, drop)) {
    case Flash3Plan::three_warpgroups:
      return drop ? launch_flash3_forward<ThreeWithDropout>(device, c)
                  : launch_flash3_forward<Three>(device, c);
    case Flash3Plan::four_warpgroups: return launch_flash3_forward<Four>(device, c);
    case Flash3Plan::wide_heads:
      return drop ? launch_flash3_forward<WideWithDropout>(device, c)
                  : launch_flash3_forward<Wide>(device, c);
    case Flash3Plan::wide_heads_in_turns: return launch_flash3_forward<WideInTurns>(device, c);
  }
}

}  // namespace strobe::cuda
