#include "strobe/model/bert.h"

#include "strobe/core/error.h"
#include "strobe/model/sizes.h"

namespace strobe {

namespace {

constexpr float kEps = 1e-12f;

const ModelConfig& checked(const ModelConfig& model) {
  checked_sizes(model);
  if (model.kv_heads != 0 && model.kv_heads != model.heads)
    fail("model.kv_heads: BERT has as many as heads ({}), not {}", model.heads, model.kv_heads);
  return model;
}

}  // namespace

void BertBlock::for_each_param(const ParamVisitor& visit) {
  attn.for_each_param(visit);
  attn_norm.for_each_param(visit);
  mlp.for_each_param(visit);
  mlp_norm.for_each_param(visit);
}

void BertBlock::forward(Context& ctx, Tensor x, const Batch& batch, Saved& saved, Tensor y) const {
  saved.middle = Stream::allocate(ctx, "block middle", x.dim(0), x.dim(1));
  saved.out = Stream::allocate(ctx, "block", x.dim(0), x.dim(1), y);
  // A branch ends where the norm after it will write its output.
  attn.forward(ctx, saved.middle.y, x, batch, saved.attn);
  attn_norm.add_forward(ctx, saved.middle, x, saved.middle.y, attn_dropout);
  mlp.forward(ctx, saved.out.y, saved.middle.y, saved.mlp);
  mlp_norm.add_forward(ctx, saved.out, saved.middle.y, saved.out.y, mlp_dropout);
}

void BertBlock::backward(Context& ctx, Tensor dy, Tensor dsum, Tensor dbranch, const Batch& batch,
                         Saved& saved, bool stream_ends) {
  mlp_norm.add_backward(ctx, dsum, dbranch, mlp.c_proj, dy, saved.out, mlp_dropout, stream_ends,
                        NormPlace::post);
  mlp.backward(ctx, dy, dbranch, saved.mlp, [] {});
  attn_norm.add_backward(ctx, dsum, dbranch, attn.c_proj, dy, saved.middle, attn_dropout,
                         /*stream_ends=*/false, NormPlace::post);
  attn.backward(ctx, dy, dbranch, batch, saved.attn, [] {});
}

Bert::Bert(const Config& config, int64_t vocab)
    : channels_(checked(config.model).channels),
      recompute_blocks_(config.model.recompute == "block"),
      words_(embedding_param("bert.embeddings.word_embeddings.weight", vocab, channels_,
                             vocab_padding(vocab))),
      positions_(embedding_param("bert.embeddings.position_embeddings.weight", config.model.context,
                                 channels_, 0)),
      types_(embedding_param("bert.embeddings.token_type_embeddings.weight", 2, channels_, 0)),
      norm_("bert.embeddings.LayerNorm", channels_, kEps) {
  const ModelConfig& m = config.model;
  const auto p_of = [&](const std::optional<double>& own) {
    return static_cast<float>(own.value_or(m.dropout));
  };
  const float p_attention = p_of(m.dropout_attention), p_residual = p_of(m.dropout_residual);
  uint32_t site = 0;
  embedding_dropout_ = {p_of(m.dropout_embedding), site++};
  const AttentionAlgorithm algorithm = attention_algorithm(config.attention.algorithm);
  const int64_t feed_forward = m.feed_forward > 0 ? m.feed_forward : 4 * channels_;
  for (int64_t i = 0; i < m.layers; ++i) {
    const std::string name = fmt::format("bert.encoder.layer.{}", i);
    const Dropout probabilities{p_attention, site++}, attn_branch{p_residual, site++};
    const Dropout mlp_branch{p_residual, site++};
    blocks_.push_back(
        {SelfAttention(name + ".attention.self.c_attn", name + ".attention.output.dense", channels_,
                       {m.heads, m.heads, algorithm, probabilities,
                        /*causal=*/false, config.attention.deterministic},
                       kInitStd),
         LayerNorm(name + ".attention.output.LayerNorm", channels_, kEps),
         Mlp(name + ".intermediate.dense", name + ".output.dense", channels_, feed_forward,
             kInitStd, Gelu::erf, m.recompute == "gelu"),
         LayerNorm(name + ".output.LayerNorm", channels_, kEps), attn_branch, mlp_branch});
  }
  head_ = make_bert_head(config, vocab, words_, site);
}

void Bert::for_each_param(const ParamVisitor& visit) {
  visit(words_), visit(positions_), visit(types_);
  norm_.for_each_param(visit);
  for (BertBlock& block : blocks_) block.for_each_param(visit);
  head_->for_each_param(visit);
}

double Bert::flops_per_token(int64_t sequence) {
  int64_t matrices = 0;
  for (BertBlock& block : blocks_)
    block.for_each_param([&](Param& param) { matrices += param.value.numel(); });
  return 6.0 * static_cast<double>(matrices) +
         12.0 * static_cast<double>(blocks_.size()) * static_cast<double>(channels_ * sequence);
}

void Bert::embed(Context& ctx, Stream& out, const Batch& batch) const {
  const EmbeddingTable tables[] = {{words_.compute, batch.tokens},
                                   {positions_.compute, batch.positions},
                                   {types_.compute, batch.types}};
  ctx.ops.embedding_forward(out.x, tables);
  norm_.forward(ctx, out);
  if (const Dropout dropout = ctx.now(embedding_dropout_); dropout.p > 0)
    ctx.ops.dropout(out.y, out.y, dropout);
}

Tensor Bert::forward(Context& ctx, const Batch& batch, Saved& saved) const {
  saved.embedding = Stream::allocate(ctx, "embedding", batch.rows(), channels_);
  embed(ctx, saved.embedding, batch);
  Tensor x = saved.embedding.y;
  saved.blocks.resize(blocks_.size());
  for (size_t i = 0; i < blocks_.size(); ++i) {
    saved.inputs.push_back(x);
    const Tensor y =
        recompute_blocks_ ? ctx.allocate("block normalised", {batch.rows(), channels_}) : Tensor{};
    const int64_t mark = ctx.arena.mark();
    blocks_[i].forward(ctx, x, batch, saved.blocks[i], y);
    x = saved.blocks[i].out.y;
    if (recompute_blocks_) ctx.arena.rewind(mark);
  }
  return x;
}

Tensor Bert::pick(Context& ctx, Tensor x, const Batch& batch) const {
  const Tensor out = ctx.allocate("picked rows", {batch.picks.dim(0), channels_});
  const EmbeddingTable rows[] = {{x, batch.picks}};
  ctx.ops.embedding_forward(out, rows);
  return out;
}

void Bert::forward_backward(Context& ctx, Tensor losses, const Batch& batch) {
  ArenaScope scope(ctx.arena);
  Saved saved;
  const Tensor x = forward(ctx, batch, saved);
  const Tensor dy = ctx.allocate("stream gradient", {batch.rows(), channels_});
  {
    ArenaScope head_scope(ctx.arena);
    const int64_t picked = batch.picks.dim(0);
    // One row more, of zeros, is the gradient of every row that the head does not read.
    const Tensor dpicked = ctx.allocate("picked rows' gradient", {picked + 1, channels_});
    ctx.ops.fill(dpicked.rows(picked, picked + 1), 0);
    head_->loss(ctx, losses, dpicked.rows(0, picked), pick(ctx, x, batch), batch);
    const EmbeddingTable rows[] = {{dpicked, batch.places}};
    ctx.ops.embedding_forward(dy, rows);
  }
  backward(ctx, dy, batch, saved);
}

void Bert::backward(Context& ctx, Tensor dy, const Batch& batch, Saved& saved) {
  const Dropout dropout = ctx.now(embedding_dropout_);
  const bool dropping = blocks_.back().mlp_dropout.p > 0;
  const Tensor dsum = ctx.allocate("residual gradient", {batch.rows(), channels_});
  const Tensor dbranch =
      dropping ? ctx.allocate("branch gradient", {batch.rows(), channels_}) : dsum;
  for (size_t i = blocks_.size(); i-- > 0;) {
    ArenaScope scope(ctx.arena);
    BertBlock::Saved& block = saved.blocks[i];
    if (recompute_blocks_) {
      const Tensor y = block.out.y;
      block = {};
      blocks_[i].forward(ctx, saved.inputs[i], batch, block, y);
    }
    blocks_[i].backward(ctx, dy, dsum, dbranch, batch, block,
                        /*stream_ends=*/i + 1 == blocks_.size());
  }
  ctx.ops.add_dropout(dy, dy, dsum, {});
  if (dropout.p > 0) ctx.ops.dropout(dy, dy, dropout);
  norm_.backward(ctx, dsum, dy, saved.embedding, {});
  ctx.ops.embedding_backward(words_.grad, dsum, batch.tokens);
  ctx.ops.embedding_backward(positions_.grad, dsum, batch.positions);
  ctx.ops.embedding_backward(types_.grad, dsum, batch.types);
}

Tensor Bert::infer(Context& inference, const Batch& batch) const {
  Tensor x = inference.allocate("stream", {batch.rows(), channels_});
  const Tensor picked = inference.allocate("picked rows", {batch.picks.dim(0), channels_});
  ArenaScope scope(inference.arena);
  {
    ArenaScope embedding_scope(inference.arena);
    Stream embedding = Stream::allocate(inference, "embedding", batch.rows(), channels_, x);
    embed(inference, embedding, batch);
  }
  for (const BertBlock& block : blocks_) {
    ArenaScope block_scope(inference.arena);
    BertBlock::Saved saved;
    block.forward(inference, x, batch, saved);
    inference.ops.copy(x, saved.out.y);
  }
  const EmbeddingTable rows[] = {{x, batch.picks}};
  inference.ops.embedding_forward(picked, rows);
  return picked;
}

void Bert::evaluate(Context& ctx, Tensor losses, const Batch& batch) {
  ArenaScope scope(ctx.arena);
  Context inference{ctx.ops, ctx.arena, ctx.dtype, /*training=*/false};
  head_->loss(inference, losses, {}, infer(inference, batch), batch);
}

void Bert::predict(Context& ctx, Tensor out, const Batch& batch) {
  ArenaScope scope(ctx.arena);
  Context inference{ctx.ops, ctx.arena, ctx.dtype, /*training=*/false};
  head_->predict(inference, out, infer(inference, batch));
}

std::shared_ptr<DecodeCache> Bert::start_decoding(Context&, int64_t) {
  fail("model.kind: bert reads a text as a whole and does not continue it; gpt2 does");
}

void Bert::decode(Context&, DecodeCache&, std::span<const int32_t>, std::vector<float>&) {
  check(false, "bert: nothing is decoded");
}

}  // namespace strobe
