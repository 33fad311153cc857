#include "strobe/ops/counting_backend.h"

#include <algorithm>

namespace strobe {

namespace {

double bytes_of(std::initializer_list<Tensor> operands) {
  double bytes = 0;
  for (const Tensor& x : operands)
    if (x) bytes += static_cast<double>(x.bytes());
  return bytes;
}

// Operands read and written once, no products.
OpCost moving(std::initializer_list<Tensor> operands) { return {0, bytes_of(operands)}; }

double product_flops(const Tensor& a, const Tensor& b) {
  return 2.0 * static_cast<double>(a.dim(0)) * static_cast<double>(a.dim(1)) *
         static_cast<double>(b.dim(1));
}

OpCost attention_cost(const Tensor& q, const Tensor& k, const AttentionOp& op, bool backward,
                      double bytes) {
  return {attention_flops(attention_shape(q, k, op), backward), bytes};
}

// The rows that a lookup reads or adds to, not the whole table.
double rows_read(const Tensor& table, const Tensor& ids) {
  return static_cast<double>(ids.dim(0) * table.dim(1) * size_of(table.dtype));
}

OpCost update_cost(const UpdateTarget& target, const Tensor& u) {
  const bool copies = target.compute && target.compute.data != target.value.data;
  const double states = bytes_of({target.state0, target.state1, target.state2});
  const double read = states + bytes_of({target.value, target.grad, u});
  const double written = states + bytes_of({target.value});
  return {0, read + written + (copies ? bytes_of({target.compute}) : 0)};
}

// Without gradient and states.
OpCost apply_cost(UpdateTarget target, const Tensor& u) {
  target.grad = target.state0 = target.state1 = target.state2 = {};
  return update_cost(target, u);
}

}  // namespace

OpTotal total_of(const OpTotals& ops) {
  OpTotal sum;
  for (const auto& [name, total] : ops) {
    sum.calls += total.calls;
    sum.flops += total.flops, sum.bytes += total.bytes, sum.seconds += total.seconds;
  }
  return sum;
}

void CountingBackend::count(const std::string& name, OpCost cost,
                            const std::function<void()>& execute) {
  OpTotal& total = totals_[name];
  ++total.calls;
  total.flops += cost.flops;
  total.bytes += cost.bytes;
  run(name, total, execute);
}

void CountingBackend::fill(Tensor y, float value) {
  count("fill", moving({y}), [&] { real_.fill(y, value); });
}
void CountingBackend::copy(Tensor y, Tensor x) {
  count("copy", moving({y, x}), [&] { real_.copy(y, x); });
}
void CountingBackend::axpby(Tensor y, float a, Tensor x, float b) {
  count("axpby", moving({y, y, x}), [&] { real_.axpby(y, a, x, b); });
}
void CountingBackend::dropout(Tensor y, Tensor x, Dropout dropout) {
  count("dropout", moving({y, x}), [&] { real_.dropout(y, x, dropout); });
}
void CountingBackend::add_dropout(Tensor y, Tensor a, Tensor b, Dropout dropout) {
  count("add_dropout", moving({y, a, b}), [&] { real_.add_dropout(y, a, b, dropout); });
}
void CountingBackend::gelu_forward(Tensor y, Tensor x, Gelu kind) {
  count("gelu_forward", moving({y, x}), [&] { real_.gelu_forward(y, x, kind); });
}
void CountingBackend::gelu_backward(Tensor dx, Tensor dy, Tensor x, Gelu kind) {
  count("gelu_backward", moving({dx, dy, x}), [&] { real_.gelu_backward(dx, dy, x, kind); });
}
void CountingBackend::tanh_forward(Tensor y, Tensor x) {
  count("tanh_forward", moving({y, x}), [&] { real_.tanh_forward(y, x); });
}
void CountingBackend::tanh_backward(Tensor dx, Tensor dy, Tensor y) {
  count("tanh_backward", moving({dx, dy, y}), [&] { real_.tanh_backward(dx, dy, y); });
}

void CountingBackend::matmul(Tensor c, Tensor a, Tensor b, bool accumulate) {
  const OpCost cost = {product_flops(a, b), bytes_of({c, a, b, accumulate ? c : Tensor{}})};
  count("matmul", cost, [&] { real_.matmul(c, a, b, accumulate); });
}
void CountingBackend::bias_forward(Tensor y, Tensor bias) {
  count("bias_forward", moving({y, y, bias}), [&] { real_.bias_forward(y, bias); });
}
void CountingBackend::bias_backward(Tensor dbias, Tensor dy) {
  count("bias_backward", moving({dbias, dbias, dy}), [&] { real_.bias_backward(dbias, dy); });
}
void CountingBackend::linear_forward(Tensor y, Tensor x, Tensor w, Tensor bias) {
  count("linear_forward", {product_flops(x, w), bytes_of({y, x, w, bias})},
        [&] { real_.linear_forward(y, x, w, bias); });
}
void CountingBackend::linear_backward(Tensor dx, Tensor dw, Tensor dbias, Tensor dy, Tensor x,
                                      Tensor w) {
  const int products = (dx ? 1 : 0) + (dw ? 1 : 0);
  const OpCost cost = {
      product_flops(dy, w.transposed()) * products,
      bytes_of({dx, dw, dw, dbias, dbias, dy, dw ? x : Tensor{}, dx ? w : Tensor{}})};
  count("linear_backward", cost, [&] { real_.linear_backward(dx, dw, dbias, dy, x, w); });
}
void CountingBackend::linear_gelu_forward(Tensor y, Tensor pre, Tensor x, Tensor w, Tensor bias,
                                          Gelu kind) {
  count("linear_gelu_forward", {product_flops(x, w), bytes_of({y, pre, x, w, bias})},
        [&] { real_.linear_gelu_forward(y, pre, x, w, bias, kind); });
}
void CountingBackend::gelu_linear_backward(Tensor dpre, Tensor dw, Tensor dbias, Tensor dpre_bias,
                                           Tensor dy, Tensor x, Tensor pre, Tensor w, Gelu kind,
                                           bool recompute) {
  const OpCost cost = {2 * product_flops(x, w),
                       bytes_of({dpre, dw, dw, dbias, dbias, dpre_bias, dpre_bias, dy, x, pre, w})};
  count("gelu_linear_backward", cost, [&] {
    real_.gelu_linear_backward(dpre, dw, dbias, dpre_bias, dy, x, pre, w, kind, recompute);
  });
}

void CountingBackend::layernorm_forward(Tensor y, Tensor mean, Tensor rstd, Tensor x, Tensor weight,
                                        Tensor bias, float eps) {
  count("layernorm_forward", moving({y, mean, rstd, x, weight, bias}),
        [&] { real_.layernorm_forward(y, mean, rstd, x, weight, bias, eps); });
}
void CountingBackend::layernorm_backward(Tensor dx, Tensor dweight, Tensor dbias, Tensor dy,
                                         Tensor x, Tensor weight, Tensor mean, Tensor rstd,
                                         Tensor dresidual, const NormAgain& again) {
  count("layernorm_backward",
        moving({dx, dweight, dweight, dbias, dbias, dy, x, weight, mean, rstd, dresidual, again.y}),
        [&] {
          real_.layernorm_backward(dx, dweight, dbias, dy, x, weight, mean, rstd, dresidual, again);
        });
}
void CountingBackend::add_layernorm_forward(Tensor sum, Tensor y, Tensor mean, Tensor rstd,
                                            Tensor residual, Tensor branch, Tensor weight,
                                            Tensor bias, float eps, Dropout dropout) {
  count("add_layernorm_forward", moving({sum, y, mean, rstd, residual, branch, weight, bias}), [&] {
    real_.add_layernorm_forward(sum, y, mean, rstd, residual, branch, weight, bias, eps, dropout);
  });
}
void CountingBackend::add_layernorm_backward(Tensor dresidual, Tensor dbranch, Tensor dweight,
                                             Tensor dbias, Tensor branch_bias, Tensor dy,
                                             Tensor dsum, Tensor sum, Tensor weight, Tensor mean,
                                             Tensor rstd, Dropout dropout, NormPlace place,
                                             const NormAgain& again) {
  const Tensor branch = dbranch.data == dresidual.data ? Tensor{} : dbranch;
  count("add_layernorm_backward",
        moving({dresidual, branch, dweight, dweight, dbias, dbias, branch_bias, branch_bias, dy,
                dsum, sum, weight, mean, rstd, again.y}),
        [&] {
          real_.add_layernorm_backward(dresidual, dbranch, dweight, dbias, branch_bias, dy, dsum,
                                       sum, weight, mean, rstd, dropout, place, again);
        });
}

void CountingBackend::embedding_forward(Tensor y, std::span<const EmbeddingTable> tables) {
  double bytes = bytes_of({y});
  for (const EmbeddingTable& t : tables) bytes += rows_read(t.table, t.ids) + bytes_of({t.ids});
  count("embedding_forward", {0, bytes}, [&] { real_.embedding_forward(y, tables); });
}
void CountingBackend::embedding_backward(Tensor dtable, Tensor dy, Tensor ids) {
  count("embedding_backward", {0, 2 * rows_read(dtable, ids) + bytes_of({dy, ids})},
        [&] { real_.embedding_backward(dtable, dy, ids); });
}

std::string CountingBackend::attention_unsupported(AttentionAlgorithm algorithm,
                                                   const AttentionShape& shape, DType dtype) const {
  return real_.attention_unsupported(algorithm, shape, dtype);
}
int64_t CountingBackend::attention_saved_bytes(AttentionAlgorithm algorithm,
                                               const AttentionShape& shape, DType dtype) const {
  return real_.attention_saved_bytes(algorithm, shape, dtype);
}
int64_t CountingBackend::attention_workspace_bytes(AttentionAlgorithm algorithm,
                                                   const AttentionShape& shape, DType dtype,
                                                   bool backward) const {
  return real_.attention_workspace_bytes(algorithm, shape, dtype, backward);
}
void CountingBackend::attention_forward(Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k,
                                        Tensor v, const AttentionOp& op, Tensor workspace) {
  count("attention_forward",
        attention_cost(q, k, op, /*backward=*/false, bytes_of({o, lse, saved, q, k, v})),
        [&] { real_.attention_forward(o, lse, saved, q, k, v, op, workspace); });
}
void CountingBackend::attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q,
                                         Tensor k, Tensor v, Tensor o, Tensor lse, Tensor saved,
                                         const AttentionOp& op, Tensor workspace) {
  count("attention_backward",
        attention_cost(q, k, op, /*backward=*/true,
                       bytes_of({dq, dk, dv, d_o, q, k, v, o, lse, saved})),
        [&] { real_.attention_backward(dq, dk, dv, d_o, q, k, v, o, lse, saved, op, workspace); });
}

void CountingBackend::cross_entropy(Tensor losses, Tensor dlogits, Tensor logits, Tensor targets,
                                    const CrossEntropy& op) {
  count("cross_entropy", moving({losses, dlogits, logits, targets}),
        [&] { real_.cross_entropy(losses, dlogits, logits, targets, op); });
}
void CountingBackend::squared_error(Tensor losses, Tensor dx, Tensor x, Tensor targets) {
  count("squared_error", moving({losses, dx, x, targets}),
        [&] { real_.squared_error(losses, dx, x, targets); });
}
void CountingBackend::linear_cross_entropy(Tensor losses, Tensor dx, Tensor dw, Tensor dbias,
                                           Tensor x, Tensor w, Tensor bias, Tensor targets,
                                           const CrossEntropy& op, Tensor workspace) {
  const OpCost cost = {product_flops(x, w.transposed()) * (dx ? 3 : 1),
                       bytes_of({losses, dx, dx ? dw : Tensor{}, dx ? dw : Tensor{}, x, w, bias})};
  count("linear_cross_entropy", cost, [&] {
    real_.linear_cross_entropy(losses, dx, dw, dbias, x, w, bias, targets, op, workspace);
  });
}
int64_t CountingBackend::linear_cross_entropy_workspace_bytes(int64_t rows, int64_t channels,
                                                              int64_t vocab, DType dtype) const {
  return real_.linear_cross_entropy_workspace_bytes(rows, channels, vocab, dtype);
}
void CountingBackend::sum(Tensor out, Tensor x) {
  count("sum", moving({out, x}), [&] { real_.sum(out, x); });
}

void CountingBackend::clamp(Tensor x, float limit) {
  count("clamp", moving({x, x}), [&] { real_.clamp(x, limit); });
}
void CountingBackend::grad_norm(std::span<const Tensor> grads, float max_norm) {
  double bytes = 0;
  for (const Tensor& grad : grads) bytes += bytes_of({grad});
  count("grad_norm", {0, bytes}, [&] { real_.grad_norm(grads, max_norm); });
}
void CountingBackend::update(const UpdateRule& rule, std::span<const UpdateTarget> targets) {
  OpCost cost;
  for (const UpdateTarget& target : targets) cost.bytes += update_cost(target, {}).bytes;
  count("update", cost, [&] { real_.update(rule, targets); });
}
void CountingBackend::momentum(Tensor u, Tensor m, Tensor grad, float beta, bool nesterov) {
  count("momentum", moving({u, m, m, grad}), [&] { real_.momentum(u, m, grad, beta, nesterov); });
}
void CountingBackend::normalize(Tensor y, Tensor x, float eps) {
  count("normalize", moving({y, x, x}), [&] { real_.normalize(y, x, eps); });
}
void CountingBackend::scale_by_moments(Tensor u, Tensor rows, Tensor columns, Tensor x,
                                       const MomentScaling& op) {
  count("scale_by_moments", moving({u, rows, rows, columns, columns, x, x}),
        [&] { real_.scale_by_moments(u, rows, columns, x, op); });
}
void CountingBackend::orthogonalize(Tensor x, float scale, DType dtype, Tensor workspace) {
  constexpr double kIterations = 5;
  const auto n = static_cast<double>(x.dim(0));
  const auto side = static_cast<double>(std::min(x.dim(1), x.dim(2)));
  const auto elements = static_cast<double>(x.dim(1) * x.dim(2));
  const double flops = n * kIterations * (4 * side * elements + 2 * side * side * side);
  count("orthogonalize", {flops, bytes_of({x, x})},
        [&] { real_.orthogonalize(x, scale, dtype, workspace); });
}
int64_t CountingBackend::orthogonalize_workspace_bytes(int64_t n, int64_t rows, int64_t columns,
                                                       DType dtype) const {
  return real_.orthogonalize_workspace_bytes(n, rows, columns, dtype);
}
void CountingBackend::apply_update(const UpdateTarget& target, Tensor u) {
  count("apply_update", apply_cost(target, u), [&] { real_.apply_update(target, u); });
}
void CountingBackend::momenta(Tensor u, std::span<const UpdateTarget> targets, float beta,
                              bool nesterov) {
  const OpCost cost = {0, bytes_of({u}) + 12 * static_cast<double>(u.numel())};
  count("momenta", cost, [&] { real_.momenta(u, targets, beta, nesterov); });
}
void CountingBackend::scale_each_by_moments(Tensor u, std::span<const UpdateTarget> targets,
                                            const MomentScaling& op) {
  count("scale_each_by_moments", moving({u, u, u}),
        [&] { real_.scale_each_by_moments(u, targets, op); });
}
void CountingBackend::apply_updates(std::span<const UpdateTarget> targets, Tensor u) {
  OpCost cost = moving({u});
  for (const UpdateTarget& target : targets) cost.bytes += apply_cost(target, {}).bytes;
  count("apply_updates", cost, [&] { real_.apply_updates(targets, u); });
}

}  // namespace strobe
