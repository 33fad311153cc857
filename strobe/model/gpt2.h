// GPT-2: Radford et al. 2019. Learned positions, pre-norm blocks, tanh GELU, tied head.
//
//   x = dropout(wte[token] + wpe[position])
//   each block:   x += dropout(attn(ln_1(x)));   x += dropout(mlp(ln_2(x)))
//   logits = ln_f(x) wte^T
//
// A sum and the norm that follows it are one op, so a block takes the stream already normalised by
// its ln_1 and leaves it normalised by the next block's (or ln_f).
#pragma once

#include <vector>

#include "strobe/model/layers.h"
#include "strobe/model/model.h"
#include "strobe/model/sizes.h"

namespace strobe {

struct Gpt2Block {
  LayerNorm ln_1, ln_2;
  SelfAttention attn;
  Mlp mlp;
  Dropout attn_dropout, mlp_dropout;  // of the two residual branches
  bool recompute_norms;               // in the backward: all norms of the model write to one tensor

  struct Saved {
    SelfAttention::Saved attn;
    Stream middle;  // after attention, normalised by ln_2
    Mlp::Saved mlp;
  };

  /// `in` and `out` are the stream before and after; `next` is the norm that follows the block.
  void forward(Context& ctx, Stream& out, const Stream& in, const LayerNorm& next,
               const Batch& batch, Saved& saved) const;
  /// On entry dx is the gradient of the stream after the block and dbranch that of the MLP's
  /// output. Where `before` is called dx is the gradient of the stream before the block that passes
  /// by its ln_1, and dy the one that passes through it: `before` is the backward of ln_1, and
  /// writes dbranch for the block before.
  void backward(Context& ctx, Tensor dy, Tensor dx, Tensor dbranch, const Batch& batch,
                const Saved& saved, const std::function<void()>& before);

  void for_each_param(const ParamVisitor& visit);
};

class Gpt2 : public Model {
 public:
  Gpt2(const Config& config, int64_t vocab);

  void for_each_param(const ParamVisitor& visit) override;
  void forward_backward(Context& ctx, Tensor losses, const Batch& batch) override;
  void evaluate(Context& ctx, Tensor losses, const Batch& batch) override;
  int64_t outputs() const override { return vocab_; }
  void predict(Context& ctx, Tensor out, const Batch& batch) override;
  std::shared_ptr<DecodeCache> start_decoding(Context& ctx, int64_t capacity) override;
  void decode(Context& ctx, DecodeCache& cache, std::span<const int32_t> tokens,
              std::vector<float>& logits) override;
  double flops_per_token(int64_t sequence) override;

 private:
  /// What the backward needs of the whole network.
  struct Saved {
    std::vector<Stream> streams;           // streams[i] enters block i; the last one, the head.
                                           // Where norms are recomputed all have one y
    std::vector<Gpt2Block::Saved> blocks;  // empty where recomputed
  };

  void embed(Context& ctx, Stream& out, Tensor tokens, Tensor positions) const;
  void forward(Context& ctx, const Batch& batch, Saved& saved) const;
  void backward(Context& ctx, Tensor dy, const Batch& batch, Saved& saved);
  /// The stream at the head, of a context that does not train.
  Tensor infer(Context& inference, const Batch& batch) const;
  void head_loss(Context& ctx, Tensor losses, Tensor dx, Tensor x, Tensor targets);
  const LayerNorm& norm_after(size_t block) const {
    return block + 1 < blocks_.size() ? blocks_[block + 1].ln_1 : ln_f_;
  }

  int64_t channels_, vocab_, context_;
  bool recompute_norms_, recompute_blocks_;
  Dropout embedding_dropout_;
  LossOptions loss_;  // of training
  Param wte_, wpe_;
  std::vector<Gpt2Block> blocks_;
  LayerNorm ln_f_;
};

}  // namespace strobe
