#include "strobe/model/gpt2.h"

#include <array>
#include <cmath>
#include <numeric>

#include "strobe/core/error.h"
#include "strobe/model/sizes.h"

namespace strobe {

void Gpt2Block::for_each_param(const ParamVisitor& visit) {
  ln_1.for_each_param(visit);
  attn.for_each_param(visit);
  ln_2.for_each_param(visit);
  mlp.for_each_param(visit);
}

void Gpt2Block::forward(Context& ctx, Stream& out, const Stream& in, const LayerNorm& next,
                        const Batch& batch, Saved& saved) const {
  const bool shares = recompute_norms && ctx.training;
  saved.middle =
      Stream::allocate(ctx, "block middle", in.x.dim(0), in.x.dim(1), shares ? in.y : Tensor{});
  saved.middle.y_lost = shares;
  // A branch ends where the norm after it will write its output.
  attn.forward(ctx, saved.middle.y, in.y, batch, saved.attn);
  ln_2.add_forward(ctx, saved.middle, in.x, saved.middle.y, attn_dropout);
  mlp.forward(ctx, out.y, saved.middle.y, saved.mlp);
  next.add_forward(ctx, out, saved.middle.x, out.y, mlp_dropout);
}

void Gpt2Block::backward(Context& ctx, Tensor dy, Tensor dx, Tensor dbranch, const Batch& batch,
                         const Saved& saved, const std::function<void()>& before) {
  mlp.backward(ctx, dy, dbranch, saved.mlp, [&] {
    ln_2.add_backward(ctx, dx, dbranch, attn.c_proj, dy, saved.middle, attn_dropout,
                      /*stream_ends=*/false);
  });
  attn.backward(ctx, dy, dbranch, batch, saved.attn, before);
}

Gpt2::Gpt2(const Config& config, int64_t vocab)
    : channels_(checked_sizes(config.model).channels),
      vocab_(vocab),
      context_(config.model.context),
      recompute_norms_(config.model.recompute == "gelu+norm"),
      recompute_blocks_(config.model.recompute == "block"),
      wte_(embedding_param("transformer.wte.weight", vocab, channels_, vocab_padding(vocab))),
      wpe_(embedding_param("transformer.wpe.weight", context_, channels_, 0)),
      ln_f_("transformer.ln_f", channels_) {
  const ModelConfig& m = config.model;
  loss_ = checked_loss(config.loss);
  const auto p_of = [&](const std::optional<double>& own) {
    return static_cast<float>(own.value_or(m.dropout));
  };
  const float p_attention = p_of(m.dropout_attention), p_residual = p_of(m.dropout_residual);
  uint32_t site = 0;
  embedding_dropout_ = {p_of(m.dropout_embedding), site++};
  const AttentionAlgorithm algorithm = attention_algorithm(config.attention.algorithm);
  const int64_t kv_heads = m.kv_heads > 0 ? m.kv_heads : m.heads;
  const int64_t feed_forward = m.feed_forward > 0 ? m.feed_forward : 4 * channels_;
  // GPT-2 scales the weights of residual projections by 1 / sqrt(number of residual branches).
  const float projection_std = kInitStd / std::sqrt(2.0f * static_cast<float>(m.layers));
  for (int64_t i = 0; i < m.layers; ++i) {
    const std::string name = fmt::format("transformer.h.{}", i);
    const Dropout probabilities{p_attention, site++}, attn_branch{p_residual, site++};
    const Dropout mlp_branch{p_residual, site++};
    blocks_.push_back({LayerNorm(name + ".ln_1", channels_), LayerNorm(name + ".ln_2", channels_),
                       SelfAttention(name + ".attn.c_attn", name + ".attn.c_proj", channels_,
                                     {m.heads, kv_heads, algorithm, probabilities, /*causal=*/true,
                                      config.attention.deterministic},
                                     projection_std),
                       Mlp(name + ".mlp.c_fc", name + ".mlp.c_proj", channels_, feed_forward,
                           projection_std, Gelu::tanh, m.recompute == "gelu" || recompute_norms_),
                       attn_branch, mlp_branch, recompute_norms_});
  }
}

void Gpt2::for_each_param(const ParamVisitor& visit) {
  visit(wte_), visit(wpe_);
  for (Gpt2Block& block : blocks_) block.for_each_param(visit);
  ln_f_.for_each_param(visit);
}

double Gpt2::flops_per_token(int64_t sequence) {
  return 6.0 * static_cast<double>(count_params(*this)) +
         6.0 * static_cast<double>(blocks_.size()) * static_cast<double>(channels_ * sequence);
}

void Gpt2::embed(Context& ctx, Stream& out, Tensor tokens, Tensor positions) const {
  const EmbeddingTable tables[] = {{wte_.compute, tokens}, {wpe_.compute, positions}};
  ctx.ops.embedding_forward(out.x, tables);
  if (const Dropout dropout = ctx.now(embedding_dropout_); dropout.p > 0)
    ctx.ops.dropout(out.x, out.x, dropout);
  blocks_[0].ln_1.forward(ctx, out);
}

void Gpt2::forward(Context& ctx, const Batch& batch, Saved& saved) const {
  saved.streams.push_back(Stream::allocate(ctx, "embedding", batch.rows(), channels_));
  embed(ctx, saved.streams[0], batch.tokens, batch.positions);
  const Tensor shared = recompute_norms_ || recompute_blocks_ ? saved.streams[0].y : Tensor{};
  for (size_t i = 0; i < blocks_.size(); ++i) {
    saved.streams.push_back(Stream::allocate(ctx, "block", batch.rows(), channels_, shared));
    const int64_t mark = ctx.arena.mark();
    Gpt2Block::Saved block;
    blocks_[i].forward(ctx, saved.streams[i + 1], saved.streams[i], norm_after(i), batch, block);
    if (recompute_blocks_)
      ctx.arena.rewind(mark);
    else
      saved.blocks.push_back(block);
    saved.streams[i].y_lost = recompute_norms_;
  }
}

void Gpt2::head_loss(Context& ctx, Tensor losses, Tensor dx, Tensor x, Tensor targets) {
  ArenaScope scope(ctx.arena);
  const int64_t bytes = ctx.ops.linear_cross_entropy_workspace_bytes(x.dim(0), channels_,
                                                                     wte_.value.dim(0), ctx.dtype);
  const Tensor workspace = ctx.arena.allocate("head workspace", DType::u8, {bytes});
  CrossEntropy op = {.vocab = vocab_};
  if (ctx.training) op.label_smoothing = loss_.label_smoothing, op.z_loss = loss_.z_loss;
  ctx.ops.linear_cross_entropy(losses, dx, dx ? wte_.grad : Tensor{}, {}, x, wte_.compute, {},
                               targets, op, workspace);
}

void Gpt2::forward_backward(Context& ctx, Tensor losses, const Batch& batch) {
  ArenaScope scope(ctx.arena);
  Saved saved;
  forward(ctx, batch, saved);
  const Tensor dy = ctx.allocate("normalised gradient", {batch.rows(), channels_});
  head_loss(ctx, losses, dy, saved.streams.back().y, batch.targets);
  backward(ctx, dy, batch, saved);
}

void Gpt2::backward(Context& ctx, Tensor dy, const Batch& batch, Saved& saved) {
  const bool dropping = embedding_dropout_.p > 0 || blocks_.back().mlp_dropout.p > 0;
  const Tensor dx = ctx.allocate("residual gradient", {batch.rows(), channels_});
  const Tensor dbranch = dropping ? ctx.allocate("branch gradient", {batch.rows(), channels_}) : dx;

  ln_f_.add_backward(ctx, dx, dbranch, blocks_.back().mlp.c_proj, dy, saved.streams.back(),
                     blocks_.back().mlp_dropout, /*stream_ends=*/true);
  for (size_t i = blocks_.size(); i-- > 0;) {
    ArenaScope scope(ctx.arena);
    Gpt2Block::Saved block;
    if (recompute_blocks_) {
      Stream again = Stream::allocate(ctx, "block recomputed", batch.rows(), channels_);
      blocks_[i].ln_1.forward(ctx, saved.streams[i]);
      blocks_[i].forward(ctx, again, saved.streams[i], norm_after(i), batch, block);
    } else {
      block = saved.blocks[i];
    }
    blocks_[i].backward(ctx, dy, dx, dbranch, batch, block, [&] {
      LayerNorm& norm = blocks_[i].ln_1;
      if (i == 0) return norm.backward(ctx, dx, dy, saved.streams[0], dx);
      norm.add_backward(ctx, dx, dbranch, blocks_[i - 1].mlp.c_proj, dy, saved.streams[i],
                        blocks_[i - 1].mlp_dropout, /*stream_ends=*/false);
    });
  }
  if (const Dropout dropout = ctx.now(embedding_dropout_); dropout.p > 0)
    ctx.ops.dropout(dx, dx, dropout);
  ctx.ops.embedding_backward(wte_.grad, dx, batch.tokens);
  ctx.ops.embedding_backward(wpe_.grad, dx, batch.positions);
}

Tensor Gpt2::infer(Context& inference, const Batch& batch) const {
  // Two streams taking turns: nothing is kept for a backward.
  std::array<Stream, 2> streams = {Stream::allocate(inference, "stream", batch.rows(), channels_),
                                   Stream::allocate(inference, "stream", batch.rows(), channels_)};
  embed(inference, streams[0], batch.tokens, batch.positions);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    ArenaScope block_scope(inference.arena);
    Gpt2Block::Saved block;
    blocks_[i].forward(inference, streams[(i + 1) % 2], streams[i % 2], norm_after(i), batch,
                       block);
  }
  return streams[blocks_.size() % 2].y;
}

void Gpt2::evaluate(Context& ctx, Tensor losses, const Batch& batch) {
  ArenaScope scope(ctx.arena);
  Context inference{ctx.ops, ctx.arena, ctx.dtype, /*training=*/false};
  head_loss(inference, losses, {}, infer(inference, batch), batch.targets);
}

void Gpt2::predict(Context& ctx, Tensor out, const Batch& batch) {
  ArenaScope scope(ctx.arena);
  Context inference{ctx.ops, ctx.arena, ctx.dtype, /*training=*/false};
  ctx.ops.matmul(out, infer(inference, batch), wte_.compute.rows(0, vocab_).transposed());
}

struct DecodeCache {
  std::vector<KeyValueCache> layers;
  Tensor ids, positions, cu_q, cu_k;  // i32
  Tensor logits;                      // f32 (1, V)
  int64_t length = 0, capacity = 0;   // tokens
};

std::shared_ptr<DecodeCache> Gpt2::start_decoding(Context& ctx, int64_t capacity) {
  if (capacity > context_)
    fail("generate: {} tokens do not fit the model's context of {}", capacity, context_);
  auto cache = std::make_shared<DecodeCache>();
  cache->capacity = capacity;
  for (const Gpt2Block& block : blocks_) {
    const std::initializer_list<int64_t> shape = {capacity, block.attn.options.kv_heads,
                                                  block.attn.head_dim};
    cache->layers.push_back({ctx.allocate("key cache", shape), ctx.allocate("value cache", shape)});
  }
  cache->ids = ctx.arena.allocate("ids", DType::i32, {capacity});
  cache->positions = ctx.arena.allocate("positions", DType::i32, {capacity});
  cache->cu_q = ctx.arena.allocate("cu_q", DType::i32, {2});
  cache->cu_k = ctx.arena.allocate("cu_k", DType::i32, {2});
  cache->logits = ctx.arena.allocate("logits", DType::f32, {1, wte_.value.dim(0)});
  return cache;
}

void Gpt2::decode(Context& ctx, DecodeCache& cache, std::span<const int32_t> tokens,
                  std::vector<float>& logits) {
  ArenaScope scope(ctx.arena);
  Context inference{ctx.ops, ctx.arena, ctx.dtype, /*training=*/false};
  const auto rows = static_cast<int64_t>(tokens.size());
  check(rows > 0 && cache.length + rows <= cache.capacity, "gpt2: decoding beyond the cache");
  std::vector<int32_t> places(tokens.size());
  std::iota(places.begin(), places.end(), static_cast<int32_t>(cache.length));
  const int32_t cu_q[] = {0, static_cast<int32_t>(rows)};
  const int32_t cu_k[] = {0, static_cast<int32_t>(cache.length + rows)};
  const Tensor ids = cache.ids.rows(0, rows), positions = cache.positions.rows(0, rows);
  ctx.ops.upload(ids, tokens.data());
  ctx.ops.upload(positions, places.data());
  ctx.ops.upload(cache.cu_q, cu_q);
  ctx.ops.upload(cache.cu_k, cu_k);

  Stream stream = Stream::allocate(inference, "stream", rows, channels_);
  const Tensor branch = inference.allocate("branch", {rows, channels_});
  const Dropout none;
  embed(inference, stream, ids, positions);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    ArenaScope block_scope(ctx.arena);
    const Gpt2Block& block = blocks_[i];
    Mlp::Saved mlp;
    block.attn.decode(inference, branch, stream.y, cache.layers[i], cache.length, cache.cu_q,
                      cache.cu_k);
    block.ln_2.add_forward(inference, stream, stream.x, branch, none);
    block.mlp.forward(inference, branch, stream.y, mlp);
    norm_after(i).add_forward(inference, stream, stream.x, branch, none);
  }
  ctx.ops.matmul(cache.logits, stream.y.rows(rows - 1, rows), wte_.compute.transposed());
  logits.resize(static_cast<size_t>(wte_.value.dim(0)));
  ctx.ops.download(logits.data(), cache.logits);
  logits.resize(static_cast<size_t>(vocab_));
  cache.length += rows;
}

}  // namespace strobe
