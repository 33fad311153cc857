// The parts of a transformer. Each has a forward and a backward side by side and a Saved that lists
// what is kept in between; memory is what can be read there.
#pragma once

#include <functional>
#include <string>

#include "strobe/core/param.h"
#include "strobe/model/context.h"

namespace strobe {

/// Standard deviation of GPT-2's and BERT's initial weights.
inline constexpr float kInitStd = 0.02f;

/// y = x weight + bias.  weight (in, out): Hugging Face's orientation for GPT-2.
struct Linear {
  Param weight, bias;  // (in, out), (out)

  Linear(const std::string& name, int64_t in, int64_t out, float init_std,
         ParamKind kind = ParamKind::matrix);

  void forward(Context& ctx, Tensor y, Tensor x) const;
  void backward(Context& ctx, Tensor dx, Tensor dy, Tensor x);
  /// Parts of it: dx, which needs no x; the weight's gradient; the bias's, unless what writes dy
  /// adds that up.
  void backward_input(Context& ctx, Tensor dx, Tensor dy) const;
  void backward_weight(Context& ctx, Tensor dy, Tensor x);
  void backward_bias(Context& ctx, Tensor dy);
  void for_each_param(const ParamVisitor& visit) { visit(weight), visit(bias); }
};

/// The residual stream at one point: x (N, C), and y = norm(x) with the norm's statistics (N).
struct Stream {
  Tensor x, y, mean, rstd;
  bool y_lost = false;  // overwritten since: the norm's backward writes it again

  /// `y` may be memory that streams share, one after another.
  static Stream allocate(Context& ctx, const std::string& what, int64_t rows, int64_t channels,
                         Tensor y = {});
};

/// y = (x - mean) / sqrt(var + eps) * weight + bias over channels. Ba et al. 2016,
/// arXiv:1607.06450.
struct LayerNorm {
  Param weight, bias;  // (C)
  float eps;

  LayerNorm(const std::string& name, int64_t channels, float eps = 1e-5f);

  /// out.x is already there.
  void forward(Context& ctx, Stream& out) const;
  /// dx = dresidual + the norm's gradient; dresidual may be empty, and may be dx.
  void backward(Context& ctx, Tensor dx, Tensor dy, const Stream& in, Tensor dresidual);

  /// out.x = x + dropout(branch);  out.y = norm(out.x).  branch may be out.y.
  void add_forward(Context& ctx, Stream& out, Tensor x, Tensor branch, Dropout dropout) const;
  /// dx += the norm's gradient, or = it where the stream ends here; dbranch = dropout(dx). The two
  /// may be one tensor when there is no dropout. `branch` is the layer that made the branch: its
  /// bias gets its gradient here. NormPlace::post: dx = the norm's gradient of dy + dx.
  void add_backward(Context& ctx, Tensor dx, Tensor dbranch, Linear& branch, Tensor dy,
                    const Stream& in, Dropout dropout, bool stream_ends,
                    NormPlace place = NormPlace::pre);

  void for_each_param(const ParamVisitor& visit) { visit(weight), visit(bias); }

 private:
  NormAgain again(const Stream& in) const;
};

/// Keys and values of the tokens decoded so far, of one layer: (capacity, Hkv, D).
struct KeyValueCache {
  Tensor k, v;
};

/// Views of queries (N, H, D), keys and values (N, Hkv, D), which lie side by side in one
/// projection.
struct Qkv {
  Tensor q, k, v;
};
Qkv split_qkv(Tensor projection, int64_t heads, int64_t kv_heads, int64_t head_dim);

/// What self-attention of either model is made of.
struct AttentionOptions {
  int64_t heads, kv_heads;
  AttentionAlgorithm algorithm;
  Dropout dropout;  // of the attention probabilities
  bool causal, deterministic;
};

/// Multi-head self-attention, by the algorithm asked for. c_attn makes queries, keys and values.
struct SelfAttention {
  AttentionOptions options;
  int64_t head_dim;
  Linear c_attn, c_proj;

  SelfAttention(const std::string& c_attn, const std::string& c_proj, int64_t channels,
                const AttentionOptions& options, float projection_std);

  struct Saved {
    Tensor x;     // (N, C)
    Tensor qkv;   // (N, C + 2 Hkv D)
    Tensor o;     // (N, C)
    Tensor lse;   // (H, N)
    Tensor kept;  // what the algorithm keeps beside: nothing but for naive
  };

  void forward(Context& ctx, Tensor y, Tensor x, const Batch& batch, Saved& saved) const;
  /// But for the gradient of c_proj's bias. `then` runs when dx is there and before x is read: the
  /// backward of the norm that made x may write it again.
  void backward(Context& ctx, Tensor dx, Tensor dy, const Batch& batch, const Saved& saved,
                const std::function<void()>& then);
  /// x holds the rows that follow the `past` ones in the cache, which receives theirs.
  /// cu_q = {0, rows}, cu_k = {0, past + rows}.
  void decode(Context& ctx, Tensor y, Tensor x, KeyValueCache& cache, int64_t past, Tensor cu_q,
              Tensor cu_k) const;

  void for_each_param(const ParamVisitor& visit) {
    c_attn.for_each_param(visit), c_proj.for_each_param(visit);
  }

 private:
  Qkv split(Tensor qkv) const { return split_qkv(qkv, options.heads, options.kv_heads, head_dim); }
  AttentionOp op(const Context& ctx, Tensor cu_q, Tensor cu_k, int64_t max_q, int64_t max_k) const;
  Tensor workspace(Context& ctx, const AttentionOp& op, const AttentionShape& shape,
                   bool backward) const;
};

/// y = gelu(x c_fc) c_proj. Hendrycks & Gimpel 2016, arXiv:1606.08415.
struct Mlp {
  Linear c_fc, c_proj;
  Gelu gelu;
  bool recompute_gelu;  // in the backward, of `pre`: F N elements less are kept

  Mlp(const std::string& c_fc, const std::string& c_proj, int64_t channels, int64_t feed_forward,
      float projection_std, Gelu gelu, bool recompute_gelu);

  struct Saved {
    Tensor x;          // (N, C)
    Tensor pre, post;  // (N, F), before and after the GELU; no `post` where it is recomputed
  };

  void forward(Context& ctx, Tensor y, Tensor x, Saved& saved) const;
  /// But for the gradient of c_proj's bias; `then` as in SelfAttention.
  void backward(Context& ctx, Tensor dx, Tensor dy, const Saved& saved,
                const std::function<void()>& then);
  void for_each_param(const ParamVisitor& visit) {
    c_fc.for_each_param(visit), c_proj.for_each_param(visit);
  }
};

}  // namespace strobe
