// BERT: Devlin et al. 2019, arXiv:1810.04805. Learned positions, post-norm blocks, erf GELU.
//
//   x = dropout(norm(word[token] + position[position] + type[type]))
//   each block:   x = norm(x + dropout(attn(x)));   x = norm(x + dropout(mlp(x)))
//   a head reads some of the rows (Batch::picks): bert_head.h
#pragma once

#include <memory>
#include <vector>

#include "strobe/model/bert_head.h"
#include "strobe/model/layers.h"
#include "strobe/model/model.h"

namespace strobe {

struct BertBlock {
  SelfAttention attn;
  LayerNorm attn_norm;
  Mlp mlp;
  LayerNorm mlp_norm;
  Dropout attn_dropout, mlp_dropout;  // of the two residual branches

  struct Saved {
    SelfAttention::Saved attn;
    Stream middle, out;  // after attention, and after the MLP
    Mlp::Saved mlp;
  };

  /// From x to saved.out.y, which is `y` where that is given.
  void forward(Context& ctx, Tensor x, const Batch& batch, Saved& saved, Tensor y = {}) const;
  /// dy + dsum is the gradient of the block's output on entry (dy alone where the stream ends),
  /// that of its input on exit. dbranch is overwritten, and is dsum where nothing is dropped.
  void backward(Context& ctx, Tensor dy, Tensor dsum, Tensor dbranch, const Batch& batch,
                Saved& saved, bool stream_ends);

  void for_each_param(const ParamVisitor& visit);
};

class Bert : public Model {
 public:
  Bert(const Config& config, int64_t vocab);

  void for_each_param(const ParamVisitor& visit) override;
  void forward_backward(Context& ctx, Tensor losses, const Batch& batch) override;
  void evaluate(Context& ctx, Tensor losses, const Batch& batch) override;
  bool picks_rows() const override { return true; }
  int64_t outputs() const override { return head_->outputs(); }
  void predict(Context& ctx, Tensor out, const Batch& batch) override;
  std::shared_ptr<DecodeCache> start_decoding(Context& ctx, int64_t capacity) override;
  void decode(Context& ctx, DecodeCache& cache, std::span<const int32_t> tokens,
              std::vector<float>& logits) override;
  /// 6 N_params but for the tables and the words' head, which reads few rows, + 12 L C T.
  double flops_per_token(int64_t sequence) override;

 private:
  struct Saved {
    Stream embedding;
    std::vector<Tensor> inputs;  // of the blocks
    std::vector<BertBlock::Saved> blocks;
  };

  void embed(Context& ctx, Stream& out, const Batch& batch) const;
  Tensor forward(Context& ctx, const Batch& batch, Saved& saved) const;
  void backward(Context& ctx, Tensor dy, const Batch& batch, Saved& saved);
  /// The picked rows of the last block's output.
  Tensor infer(Context& inference, const Batch& batch) const;
  Tensor pick(Context& ctx, Tensor x, const Batch& batch) const;

  int64_t channels_;
  bool recompute_blocks_;  // of each block, only its output is kept
  Dropout embedding_dropout_;
  Param words_, positions_, types_;
  LayerNorm norm_;
  std::vector<BertBlock> blocks_;
  std::unique_ptr<BertHead> head_;
};

}  // namespace strobe
