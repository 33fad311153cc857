// Dropout of P held as A fragments of wgmma (attention_dropout.cuh). A lane holds two queries of a
// warp's 16 and of every 8 keys a pair, so that of a register of P the halves are a pair's: one
// multiply-add of integers, one of halves that decides, one product that clears.
#pragma once

#include "strobe/cuda/attention_dropout.cuh"
#include "strobe/cuda/sm90.cuh"

namespace strobe::cuda {

/// Of a warp's 16 queries, tile after tile of `Keys` keys.
template <int Keys>
class Flash3Dropout {
  static_assert(kDropoutTileKeys % Keys == 0 && Keys % 32 == 0);

 public:
  /// `words`: those of the call. `row` is the warp's first query, counted from the start of its
  /// sequence.
  __device__ Flash3Dropout(const uint32_t* words, uint64_t key, uint32_t stream, int keep, int row,
                           const Lane& lane)
      : kept_(keep), words_(reinterpret_cast<const uint4*>(words) + lane.t) {
    const Philox::Block x = attention_dropout_queries(key, stream, row / 16 * 8 + lane.g);
    queries_[0] = {x[0], x[1]}, queries_[1] = {x[2], x[3]};
  }

  /// Fetches the words of the tile of keys from `key` on.
  __device__ void fetch(int key) {
#pragma unroll
    for (int i = 0; i < Keys / 32; ++i) tile_[i] = __ldg(words_ + key / 8 + 4 * i);
  }
  /// clear(AsFloat, p, i).
  template <class F>
  __device__ void dispatch(const F& f) const {
    kept_.dispatch(f);
  }
  /// Clears the dropped elements of P's fragment of the keys [16 i, 16 i + 16) of the tile, and
  /// divides the others by KeptNumbers::kScale.
  template <bool AsFloat>
  __device__ void clear(uint32_t (&p)[4], int i) const {
    const uint4 four = tile_[i / 2];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint32_t word = i % 2 ? (k / 2 ? four.w : four.z) : (k / 2 ? four.y : four.x);
      const uint32_t numbers = dropout_numbers(queries_[k % 2], word);
      p[k] = sm90::mul_bf16x2(p[k], kept_.of<AsFloat>(numbers));
    }
  }

 private:
  KeptNumbers kept_;
  const uint4* words_;
  DropoutQuery queries_[2];
  uint4 tile_[Keys / 32];
};

/// In its place where nothing is dropped.
struct Flash3NoDropout {
  template <class... Args>
  __device__ explicit Flash3NoDropout(const Args&...) {}
};

}  // namespace strobe::cuda
