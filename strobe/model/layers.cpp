#include "strobe/model/layers.h"

#include <cmath>

#include "strobe/core/error.h"

namespace strobe {

namespace {

Param make_param(const std::string& name, ParamKind kind, std::initializer_list<int64_t> shape,
                 float init_std, float init_mean = 0) {
  Param param;
  param.name = name, param.kind = kind;
  param.init_std = init_std, param.init_mean = init_mean;
  param.value = Tensor(nullptr, DType::f32, shape);
  return param;
}

}  // namespace

Linear::Linear(const std::string& name, int64_t in, int64_t out, float init_std, ParamKind kind)
    : weight(make_param(name + ".weight", kind, {in, out}, init_std)),
      bias(make_param(name + ".bias", ParamKind::bias, {out}, 0)) {}

void Linear::forward(Context& ctx, Tensor y, Tensor x) const {
  ctx.ops.linear_forward(y, x, weight.compute, bias.compute);
}

void Linear::backward(Context& ctx, Tensor dx, Tensor dy, Tensor x) {
  ctx.ops.linear_backward(dx, weight.grad, bias.grad, dy, x, weight.compute);
}

void Linear::backward_input(Context& ctx, Tensor dx, Tensor dy) const {
  ctx.ops.linear_backward(dx, {}, {}, dy, {}, weight.compute);
}

void Linear::backward_weight(Context& ctx, Tensor dy, Tensor x) {
  ctx.ops.linear_backward({}, weight.grad, {}, dy, x, weight.compute);
}

void Linear::backward_bias(Context& ctx, Tensor dy) { ctx.ops.bias_backward(bias.grad, dy); }

Stream Stream::allocate(Context& ctx, const std::string& what, int64_t rows, int64_t channels,
                        Tensor y) {
  Stream out;
  out.x = ctx.allocate(what + " residual", {rows, channels});
  out.y = y ? y : ctx.allocate(what + " normalised", {rows, channels});
  out.mean = ctx.arena.allocate(what + " mean", DType::f32, {rows});
  out.rstd = ctx.arena.allocate(what + " rstd", DType::f32, {rows});
  return out;
}

LayerNorm::LayerNorm(const std::string& name, int64_t channels, float eps)
    : weight(make_param(name + ".weight", ParamKind::norm, {channels}, 0, 1)),
      bias(make_param(name + ".bias", ParamKind::norm, {channels}, 0)),
      eps(eps) {}

void LayerNorm::forward(Context& ctx, Stream& out) const {
  ctx.ops.layernorm_forward(out.y, out.mean, out.rstd, out.x, weight.compute, bias.compute, eps);
}

void LayerNorm::backward(Context& ctx, Tensor dx, Tensor dy, const Stream& in, Tensor dresidual) {
  ctx.ops.layernorm_backward(dx, weight.grad, bias.grad, dy, in.x, weight.compute, in.mean, in.rstd,
                             dresidual, again(in));
}

void LayerNorm::add_forward(Context& ctx, Stream& out, Tensor x, Tensor branch,
                            Dropout dropout) const {
  ctx.ops.add_layernorm_forward(out.x, out.y, out.mean, out.rstd, x, branch, weight.compute,
                                bias.compute, eps, ctx.now(dropout));
}

void LayerNorm::add_backward(Context& ctx, Tensor dx, Tensor dbranch, Linear& branch, Tensor dy,
                             const Stream& in, Dropout dropout, bool stream_ends, NormPlace place) {
  ctx.ops.add_layernorm_backward(dx, dbranch, weight.grad, bias.grad, branch.bias.grad, dy,
                                 stream_ends ? Tensor{} : dx, in.x, weight.compute, in.mean,
                                 in.rstd, ctx.now(dropout), place, again(in));
}

NormAgain LayerNorm::again(const Stream& in) const {
  return {in.y_lost ? in.y : Tensor{}, bias.compute, eps};
}

Qkv split_qkv(Tensor projection, int64_t heads, int64_t kv_heads, int64_t head_dim) {
  const auto part = [&](int64_t first, int64_t count) {
    return projection.narrow(1, first * head_dim, count * head_dim).split(1, head_dim);
  };
  return {part(0, heads), part(heads, kv_heads), part(heads + kv_heads, kv_heads)};
}

SelfAttention::SelfAttention(const std::string& c_attn, const std::string& c_proj, int64_t channels,
                             const AttentionOptions& options, float projection_std)
    : options(options),
      head_dim(channels / options.heads),
      c_attn(c_attn, channels, channels + 2 * options.kv_heads * head_dim, kInitStd),
      c_proj(c_proj, channels, channels, projection_std) {
  if (options.kv_heads == options.heads) this->c_attn.weight.maps = 3;
}

AttentionOp SelfAttention::op(const Context& ctx, Tensor cu_q, Tensor cu_k, int64_t max_q,
                              int64_t max_k) const {
  AttentionOp op;
  op.causal = options.causal;
  op.deterministic = options.deterministic;
  op.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  op.dropout = ctx.now(options.dropout);
  op.cu_q = cu_q, op.cu_k = cu_k;
  op.max_q = max_q, op.max_k = max_k;
  return op;
}

Tensor SelfAttention::workspace(Context& ctx, const AttentionOp& op, const AttentionShape& shape,
                                bool backward) const {
  const int64_t bytes = ctx.ops.attention_workspace_bytes(op.algorithm, shape, ctx.dtype, backward);
  return bytes == 0 ? Tensor{} : ctx.arena.allocate("attention workspace", DType::u8, {bytes});
}

void SelfAttention::forward(Context& ctx, Tensor y, Tensor x, const Batch& batch,
                            Saved& saved) const {
  const int64_t rows = x.dim(0);
  saved.x = x;
  saved.qkv = ctx.allocate("attention qkv", {rows, c_attn.bias.value.dim(0)});
  saved.o = ctx.allocate("attention output", {rows, x.dim(1)});
  saved.lse = ctx.arena.allocate("attention log-sum-exp", DType::f32, {options.heads, rows});
  c_attn.forward(ctx, saved.qkv, x);

  const auto [q, k, v] = split(saved.qkv);
  AttentionOp attention = op(ctx, batch.cu_seqlens, batch.cu_seqlens, batch.longest, batch.longest);
  const AttentionShape shape = attention_shape(q, k, attention);
  attention.algorithm = ctx.ops.choose_attention(options.algorithm, shape, ctx.dtype);
  const int64_t kept = ctx.ops.attention_saved_bytes(attention.algorithm, shape, ctx.dtype);
  if (ctx.training && kept > 0)
    saved.kept = ctx.arena.allocate("attention probabilities", DType::u8, {kept});
  {
    ArenaScope scope(ctx.arena);
    ctx.ops.attention_forward(saved.o.split(1, head_dim), saved.lse, saved.kept, q, k, v, attention,
                              workspace(ctx, attention, shape, /*backward=*/false));
  }
  c_proj.forward(ctx, y, saved.o);
}

void SelfAttention::backward(Context& ctx, Tensor dx, Tensor dy, const Batch& batch,
                             const Saved& saved, const std::function<void()>& then) {
  ArenaScope scope(ctx.arena);
  const Tensor d_o = ctx.allocate("attention output gradient", {dy.dim(0), dy.dim(1)});
  c_proj.backward_weight(ctx, dy, saved.o);
  c_proj.backward_input(ctx, d_o, dy);

  const Tensor dqkv = ctx.allocate("attention qkv gradient", {dy.dim(0), saved.qkv.dim(1)});
  const auto [q, k, v] = split(saved.qkv);
  AttentionOp attention = op(ctx, batch.cu_seqlens, batch.cu_seqlens, batch.longest, batch.longest);
  const AttentionShape shape = attention_shape(q, k, attention);
  attention.algorithm = ctx.ops.choose_attention(options.algorithm, shape, ctx.dtype);
  const auto [dq, dk, dv] = split(dqkv);
  ctx.ops.attention_backward(dq, dk, dv, d_o.split(1, head_dim), q, k, v,
                             saved.o.split(1, head_dim), saved.lse, saved.kept, attention,
                             workspace(ctx, attention, shape, /*backward=*/true));
  c_attn.backward_bias(ctx, dqkv);
  c_attn.backward_input(ctx, dx, dqkv);
  then();
  c_attn.backward_weight(ctx, dqkv, saved.x);
}

void SelfAttention::decode(Context& ctx, Tensor y, Tensor x, KeyValueCache& cache, int64_t past,
                           Tensor cu_q, Tensor cu_k) const {
  ArenaScope scope(ctx.arena);
  const int64_t rows = x.dim(0), kv_width = options.kv_heads * head_dim;
  const Tensor qkv = ctx.allocate("attention qkv", {rows, c_attn.bias.value.dim(0)});
  const Tensor o = ctx.allocate("attention output", {rows, x.dim(1)});
  const Tensor lse = ctx.arena.allocate("attention log-sum-exp", DType::f32, {options.heads, rows});
  c_attn.forward(ctx, qkv, x);
  ctx.ops.copy(cache.k.rows(past, past + rows).reshape({rows, kv_width}),
               qkv.narrow(1, options.heads * head_dim, kv_width));
  ctx.ops.copy(cache.v.rows(past, past + rows).reshape({rows, kv_width}),
               qkv.narrow(1, options.heads * head_dim + kv_width, kv_width));

  const Tensor q = split(qkv).q, k = cache.k.rows(0, past + rows), v = cache.v.rows(0, past + rows);
  AttentionOp attention = op(ctx, cu_q, cu_k, rows, past + rows);
  const AttentionShape shape = attention_shape(q, k, attention);
  attention.algorithm = ctx.ops.choose_attention(AttentionAlgorithm::automatic, shape, ctx.dtype);
  ctx.ops.attention_forward(o.split(1, head_dim), lse, {}, q, k, v, attention,
                            workspace(ctx, attention, shape, /*backward=*/false));
  c_proj.forward(ctx, y, o);
}

Mlp::Mlp(const std::string& c_fc, const std::string& c_proj, int64_t channels, int64_t feed_forward,
         float projection_std, Gelu gelu, bool recompute_gelu)
    : c_fc(c_fc, channels, feed_forward, kInitStd),
      c_proj(c_proj, feed_forward, channels, projection_std),
      gelu(gelu),
      recompute_gelu(recompute_gelu) {}

void Mlp::forward(Context& ctx, Tensor y, Tensor x, Saved& saved) const {
  const int64_t width = c_fc.bias.value.dim(0);
  saved.x = x;
  saved.pre = ctx.allocate("mlp before gelu", {x.dim(0), width});
  const int64_t mark = ctx.arena.mark();
  const Tensor post = ctx.allocate("mlp after gelu", {x.dim(0), width});
  ctx.ops.linear_gelu_forward(post, saved.pre, x, c_fc.weight.compute, c_fc.bias.compute, gelu);
  c_proj.forward(ctx, y, post);
  if (recompute_gelu && ctx.training)
    ctx.arena.rewind(mark);
  else
    saved.post = post;
}

void Mlp::backward(Context& ctx, Tensor dx, Tensor dy, const Saved& saved,
                   const std::function<void()>& then) {
  ArenaScope scope(ctx.arena);
  const Tensor dpre = ctx.allocate("mlp gradient", {dy.dim(0), saved.pre.dim(1)});
  const bool recompute = !saved.post;
  const Tensor post =
      recompute ? ctx.allocate("mlp after gelu", {dy.dim(0), saved.pre.dim(1)}) : saved.post;
  ctx.ops.gelu_linear_backward(dpre, c_proj.weight.grad, {}, c_fc.bias.grad, dy, post, saved.pre,
                               c_proj.weight.compute, gelu, recompute);
  c_fc.backward_input(ctx, dx, dpre);
  then();
  c_fc.backward_weight(ctx, dpre, saved.x);
}

}  // namespace strobe
