#include "strobe/model/bert_head.h"

#include "strobe/core/error.h"
#include "strobe/model/sizes.h"

namespace strobe {

namespace {

constexpr float kEps = 1e-12f;

// tanh(x W + b), of the first row of a sequence.
struct Pooler {
  Linear dense;
  explicit Pooler(int64_t channels) : dense("bert.pooler.dense", channels, channels, kInitStd) {}
  void forward(Context& ctx, Tensor y, Tensor x) const {
    dense.forward(ctx, y, x);
    ctx.ops.tanh_forward(y, y);
  }
};

// logits = norm(gelu(x W + b)) words^T + bias
class MaskedLmHead final : public BertHead {
 public:
  MaskedLmHead(const Config& config, int64_t vocab, Param& words)
      : words_(words),
        vocab_(vocab),
        loss_(checked_loss(config.loss)),
        dense_("cls.predictions.transform.dense", config.model.channels, config.model.channels,
               kInitStd),
        norm_("cls.predictions.transform.LayerNorm", config.model.channels, kEps) {
    bias_.name = "cls.predictions.bias", bias_.kind = ParamKind::bias;
    bias_.padding = vocab_padding(vocab);
    bias_.value = Tensor(nullptr, DType::f32, {vocab + bias_.padding});
    if (config.model.pooler) pooler_ = std::make_unique<Pooler>(config.model.channels);
  }

  void for_each_param(const ParamVisitor& visit) override {
    if (pooler_) pooler_->dense.for_each_param(visit);
    visit(bias_), dense_.for_each_param(visit), norm_.for_each_param(visit);
  }

  void loss(Context& ctx, Tensor losses, Tensor dx, Tensor x, const Batch& batch) override {
    ArenaScope scope(ctx.arena);
    Tensor pre;
    const Stream out = transform(ctx, pre, x);
    CrossEntropy op = {.vocab = vocab_};
    if (ctx.training) op.label_smoothing = loss_.label_smoothing, op.z_loss = loss_.z_loss;
    const Tensor dy = dx ? ctx.allocate("head gradient", {x.dim(0), x.dim(1)}) : Tensor{};
    {
      ArenaScope inner(ctx.arena);
      const int64_t bytes = ctx.ops.linear_cross_entropy_workspace_bytes(
          x.dim(0), x.dim(1), words_.value.dim(0), ctx.dtype);
      const Tensor workspace = ctx.arena.allocate("head workspace", DType::u8, {bytes});
      ctx.ops.linear_cross_entropy(losses, dy, dx ? words_.grad : Tensor{},
                                   dx ? bias_.grad : Tensor{}, out.y, words_.compute, bias_.compute,
                                   batch.targets, op, workspace);
    }
    if (!dx) return;
    const Tensor dpre = ctx.allocate("head gradient", {x.dim(0), x.dim(1)});
    norm_.backward(ctx, dpre, dy, out, {});
    ctx.ops.gelu_backward(dpre, dpre, pre, Gelu::erf);
    dense_.backward(ctx, dx, dpre, x);
  }

  int64_t outputs() const override { return vocab_; }

  void predict(Context& ctx, Tensor out, Tensor x) override {
    ArenaScope scope(ctx.arena);
    Tensor pre;
    const Stream stream = transform(ctx, pre, x);
    ctx.ops.matmul(out, stream.y, words_.compute.rows(0, vocab_).transposed());
    const Tensor bias = ctx.arena.allocate("head bias", DType::f32, {vocab_});
    ctx.ops.copy(bias, bias_.compute.rows(0, vocab_));
    ctx.ops.bias_forward(out, bias);
  }

 private:
  Stream transform(Context& ctx, Tensor& pre, Tensor x) const {
    Stream out = Stream::allocate(ctx, "head", x.dim(0), x.dim(1));
    pre = ctx.allocate("head before gelu", {x.dim(0), x.dim(1)});
    ctx.ops.linear_gelu_forward(out.x, pre, x, dense_.weight.compute, dense_.bias.compute,
                                Gelu::erf);
    norm_.forward(ctx, out);
    return out;
  }

  Param& words_;
  int64_t vocab_;
  LossOptions loss_;
  Linear dense_;
  LayerNorm norm_;
  Param bias_;
  std::unique_ptr<Pooler> pooler_;
};

// classifier(dropout(pooler(x))): logits of classes, or a score. They are f32 whatever the rest is:
// a row a sequence costs nothing.
class PooledHead final : public BertHead {
 public:
  PooledHead(const Config& config, int64_t outputs, bool regression, uint32_t site)
      : regression_(regression),
        dropout_{static_cast<float>(config.model.dropout_residual.value_or(config.model.dropout)),
                 site},
        loss_(checked_loss(config.loss)),
        pooler_(config.model.channels),
        classifier_("classifier", config.model.channels, outputs, kInitStd, ParamKind::head) {}

  void for_each_param(const ParamVisitor& visit) override {
    pooler_.dense.for_each_param(visit), classifier_.for_each_param(visit);
  }

  void loss(Context& ctx, Tensor losses, Tensor dx, Tensor x, const Batch& batch) override {
    ArenaScope scope(ctx.arena);
    const int64_t rows = x.dim(0), width = outputs();
    const Tensor pooled = ctx.allocate("pooled", {rows, x.dim(1)});
    const Tensor read = ctx.allocate("pooled, dropped", {rows, x.dim(1)});
    const Tensor logits = ctx.arena.allocate("logits", DType::f32, {rows, width});
    pooler_.forward(ctx, pooled, x);
    ctx.ops.dropout(read, pooled, ctx.now(dropout_));
    classify(ctx, logits, read);
    const Tensor dlogits = dx ? logits : Tensor{};
    CrossEntropy op = {.vocab = width};
    if (ctx.training) op.label_smoothing = loss_.label_smoothing, op.z_loss = loss_.z_loss;
    if (regression_)
      ctx.ops.squared_error(losses, dlogits, logits, batch.scores);
    else
      ctx.ops.cross_entropy(losses, dlogits, logits, batch.targets, op);
    if (!dx) return;
    const Tensor rounded = ctx.allocate("logits' gradient", {rows, width});
    ctx.ops.copy(rounded, dlogits);
    const Tensor dpooled = ctx.allocate("pooled gradient", {rows, x.dim(1)});
    classifier_.backward(ctx, dpooled, rounded, read);
    ctx.ops.dropout(dpooled, dpooled, ctx.now(dropout_));
    ctx.ops.tanh_backward(dpooled, dpooled, pooled);
    pooler_.dense.backward(ctx, dx, dpooled, x);
  }

  int64_t outputs() const override { return classifier_.bias.value.dim(0); }

  void predict(Context& ctx, Tensor out, Tensor x) override {
    ArenaScope scope(ctx.arena);
    const Tensor pooled = ctx.allocate("pooled", {x.dim(0), x.dim(1)});
    pooler_.forward(ctx, pooled, x);
    classify(ctx, out, pooled);
  }

 private:
  void classify(Context& ctx, Tensor logits, Tensor pooled) const {
    const Tensor bias = ctx.arena.allocate("head bias", DType::f32, {logits.dim(1)});
    ctx.ops.matmul(logits, pooled, classifier_.weight.compute);
    ctx.ops.copy(bias, classifier_.bias.compute);
    ctx.ops.bias_forward(logits, bias);
  }

  bool regression_;
  Dropout dropout_;
  LossOptions loss_;
  Pooler pooler_;
  Linear classifier_;
};

// The encoder alone, perhaps with a pooler, as files have it: to be read, and to start others from.
class NoHead final : public BertHead {
 public:
  explicit NoHead(const ModelConfig& model) : channels_(model.channels) {
    if (model.pooler) pooler_ = std::make_unique<Pooler>(channels_);
  }
  void for_each_param(const ParamVisitor& visit) override {
    if (pooler_) pooler_->dense.for_each_param(visit);
  }
  void loss(Context&, Tensor, Tensor, Tensor, const Batch&) override {
    fail("model.head: a model with none has no loss; lm, classification and regression have");
  }
  int64_t outputs() const override { return channels_; }
  void predict(Context& ctx, Tensor out, Tensor x) override { ctx.ops.copy(out, x); }

 private:
  int64_t channels_;
  std::unique_ptr<Pooler> pooler_;
};

}  // namespace

std::unique_ptr<BertHead> make_bert_head(const Config& config, int64_t vocab, Param& words,
                                         uint32_t site) {
  const std::string& head = config.model.head;
  constexpr int64_t kMostClasses = 1000;
  if (head == "lm") return std::make_unique<MaskedLmHead>(config, vocab, words);
  if (head == "regression")
    return std::make_unique<PooledHead>(config, 1, /*regression=*/true, site);
  if (head == "none") return std::make_unique<NoHead>(config.model);
  if (head != "classification")
    fail("model.head: '{}' is unknown; known are lm, classification, regression, none", head);
  if (config.model.classes < 2 || config.model.classes > kMostClasses)
    fail("model.classes: {} is not a number of classes; it takes 2 to {}", config.model.classes,
         kMostClasses);
  return std::make_unique<PooledHead>(config, config.model.classes, /*regression=*/false, site);
}

}  // namespace strobe
