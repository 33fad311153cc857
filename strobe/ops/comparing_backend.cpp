#include "strobe/ops/comparing_backend.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/error.h"

namespace strobe {

namespace {

// Bytes that a view spans in memory, gaps included.
int64_t span_of(const Tensor& x) {
  int64_t last = 0;
  for (int i = 0; i < x.rank; ++i) last += (x.shape[i] - 1) * x.strides[i];
  return x.numel() == 0 ? 0 : (last + 1) * size_of(x.dtype);
}

// The memory that a view spans, as a tensor that can be moved whole.
Tensor flat(const Tensor& x) {
  const int64_t bytes = span_of(x);
  return Tensor(x.data, x.dtype, {bytes / size_of(x.dtype)});
}

double element(const std::vector<char>& memory, DType dtype, int64_t i) {
  if (dtype == DType::f32) return reinterpret_cast<const float*>(memory.data())[i];
  if (dtype == DType::bf16) return to_float(reinterpret_cast<const bf16*>(memory.data())[i]);
  return reinterpret_cast<const int32_t*>(memory.data())[i];
}

// Calls f(offset) for every element of a view.
template <class F>
void for_each_offset(const Tensor& x, const F& f, int dimension = 0, int64_t offset = 0) {
  if (dimension == x.rank) return f(offset);
  for (int64_t i = 0; i < x.shape[dimension]; ++i)
    for_each_offset(x, f, dimension + 1, offset + i * x.strides[dimension]);
}

}  // namespace

void* ComparingBackend::allocate(int64_t bytes) {
  char* const memory = static_cast<char*>(first_.allocate(bytes));
  twins_[memory] = {bytes, second_.allocate(bytes)};
  return memory;
}

void ComparingBackend::release(void* memory) {
  const auto twin = twins_.find(static_cast<char*>(memory));
  check(twin != twins_.end(), "compare: memory of another backend");
  second_.release(twin->second.memory);
  twins_.erase(twin);
  first_.release(memory);
}

Tensor ComparingBackend::moved(Tensor x) const {
  if (!x) return x;
  char* const address = static_cast<char*>(x.data);
  const auto after = twins_.upper_bound(address);
  check(after != twins_.begin(), "compare: an operand of another backend");
  const auto& [begin, twin] = *std::prev(after);
  check(address < begin + std::max<int64_t>(twin.bytes, 1), "compare: an operand outside memory");
  x.data = static_cast<char*>(twin.memory) + (address - begin);
  return x;
}

AttentionOp ComparingBackend::Place::operator()(AttentionOp op) const {
  op.cu_q = (*this)(op.cu_q), op.cu_k = (*this)(op.cu_k);
  return op;
}

UpdateTarget ComparingBackend::Place::operator()(UpdateTarget target) const {
  for (Tensor* x : {&target.value, &target.compute, &target.grad, &target.state0, &target.state1,
                    &target.state2})
    *x = (*this)(*x);
  return target;
}

std::vector<UpdateTarget> ComparingBackend::Place::operator()(
    std::span<const UpdateTarget> targets) const {
  std::vector<UpdateTarget> out;
  for (const UpdateTarget& target : targets) out.push_back((*this)(target));
  return out;
}

std::vector<EmbeddingTable> ComparingBackend::Place::operator()(
    std::span<const EmbeddingTable> tables) const {
  std::vector<EmbeddingTable> out(tables.begin(), tables.end());
  for (EmbeddingTable& table : out) table = {(*this)(table.table), (*this)(table.ids)};
  return out;
}

void ComparingBackend::upload(Tensor dst, const void* src) {
  first_.upload(dst, src);
  second_.upload(moved(dst), src);
}

void ComparingBackend::set_step_state(const StepState& state) {
  first_.set_step_state(state);
  second_.set_step_state(state);
}

void ComparingBackend::set_step_input(const StepInput& input) {
  first_.set_step_input(input);
  second_.set_step_input(input);
}

template <class Op>
void ComparingBackend::both(const std::string& name, std::initializer_list<Tensor> outputs,
                            const Op& op) {
  ++calls_[name];
  op(first_, Place{this, false});
  op(second_, Place{this, true});
  for (const Tensor& output : outputs)
    if (output) compare(name, output);
}

void ComparingBackend::compare(const std::string& name, Tensor output) {
  const Tensor mine = flat(output), twin = moved(mine);
  std::vector<char> a(static_cast<size_t>(mine.bytes())), b(a.size());
  first_.download(a.data(), mine);
  second_.download(b.data(), twin);
  double largest = 0, difference = 0;
  bool finite_alike = true;
  for_each_offset(output, [&](int64_t i) {
    const double x = element(a, output.dtype, i), y = element(b, output.dtype, i);
    if (std::isfinite(x) && std::isfinite(y)) {
      largest = std::max(largest, std::abs(x));
      difference = std::max(difference, std::abs(x - y));
    } else if (!(x == y || (std::isnan(x) && std::isnan(y)))) {
      finite_alike = false;
    }
  });
  const double share = !finite_alike ? INFINITY : difference == 0 ? 0 : difference / largest;
  largest_[name] = std::max(largest_[name], share);
  const double allowed = output.dtype == DType::bf16 ? rounding_bf16_ : rounding_;
  if (!(share <= allowed) && difference_.empty())
    difference_ = fmt::format("{}, call {}: {} differs by {:.2g} of its largest element, {:.2g}",
                              name, calls_[name], to_string(output), share, largest);
  second_.upload(twin, a.data());
}

void ComparingBackend::compare_states(const std::string& name) {
  const StepState a = first_.step_state(), b = second_.step_state();
  const double share = std::abs(a.grad_norm - b.grad_norm) / std::max(1e-30f, a.grad_norm);
  largest_[name] = std::max(largest_[name], share);
  if ((!(share <= rounding_) || a.halt != b.halt) && difference_.empty())
    difference_ = fmt::format("{}, call {}: the norm is {} and {}", name, calls_[name], a.grad_norm,
                              b.grad_norm);
  second_.set_step_state(a);
}

void ComparingBackend::fill(Tensor y, float value) {
  both("fill", {y}, [&](Backend& ops, const Place& at) { ops.fill(at(y), value); });
}
void ComparingBackend::copy(Tensor y, Tensor x) {
  both("copy", {y}, [&](Backend& ops, const Place& at) { ops.copy(at(y), at(x)); });
}
void ComparingBackend::axpby(Tensor y, float a, Tensor x, float b) {
  both("axpby", {y}, [&](Backend& ops, const Place& at) { ops.axpby(at(y), a, at(x), b); });
}
void ComparingBackend::dropout(Tensor y, Tensor x, Dropout dropout) {
  both("dropout", {y}, [&](Backend& ops, const Place& at) { ops.dropout(at(y), at(x), dropout); });
}
void ComparingBackend::add_dropout(Tensor y, Tensor a, Tensor b, Dropout dropout) {
  both("add_dropout", {y},
       [&](Backend& ops, const Place& at) { ops.add_dropout(at(y), at(a), at(b), dropout); });
}
void ComparingBackend::gelu_forward(Tensor y, Tensor x, Gelu kind) {
  both("gelu_forward", {y},
       [&](Backend& ops, const Place& at) { ops.gelu_forward(at(y), at(x), kind); });
}
void ComparingBackend::gelu_backward(Tensor dx, Tensor dy, Tensor x, Gelu kind) {
  both("gelu_backward", {dx},
       [&](Backend& ops, const Place& at) { ops.gelu_backward(at(dx), at(dy), at(x), kind); });
}
void ComparingBackend::tanh_forward(Tensor y, Tensor x) {
  both("tanh_forward", {y}, [&](Backend& ops, const Place& at) { ops.tanh_forward(at(y), at(x)); });
}
void ComparingBackend::tanh_backward(Tensor dx, Tensor dy, Tensor y) {
  both("tanh_backward", {dx},
       [&](Backend& ops, const Place& at) { ops.tanh_backward(at(dx), at(dy), at(y)); });
}
void ComparingBackend::squared_error(Tensor losses, Tensor dx, Tensor x, Tensor targets) {
  both("squared_error", {losses, dx}, [&](Backend& ops, const Place& at) {
    ops.squared_error(at(losses), at(dx), at(x), at(targets));
  });
}
void ComparingBackend::matmul(Tensor c, Tensor a, Tensor b, bool accumulate) {
  both("matmul", {c},
       [&](Backend& ops, const Place& at) { ops.matmul(at(c), at(a), at(b), accumulate); });
}
void ComparingBackend::bias_forward(Tensor y, Tensor bias) {
  both("bias_forward", {y},
       [&](Backend& ops, const Place& at) { ops.bias_forward(at(y), at(bias)); });
}
void ComparingBackend::bias_backward(Tensor dbias, Tensor dy) {
  both("bias_backward", {dbias},
       [&](Backend& ops, const Place& at) { ops.bias_backward(at(dbias), at(dy)); });
}
void ComparingBackend::linear_forward(Tensor y, Tensor x, Tensor w, Tensor bias) {
  both("linear_forward", {y},
       [&](Backend& ops, const Place& at) { ops.linear_forward(at(y), at(x), at(w), at(bias)); });
}
void ComparingBackend::linear_backward(Tensor dx, Tensor dw, Tensor dbias, Tensor dy, Tensor x,
                                       Tensor w) {
  both("linear_backward", {dx, dw, dbias}, [&](Backend& ops, const Place& at) {
    ops.linear_backward(at(dx), at(dw), at(dbias), at(dy), at(x), at(w));
  });
}
void ComparingBackend::linear_gelu_forward(Tensor y, Tensor pre, Tensor x, Tensor w, Tensor bias,
                                           Gelu kind) {
  both("linear_gelu_forward", {y, pre}, [&](Backend& ops, const Place& at) {
    ops.linear_gelu_forward(at(y), at(pre), at(x), at(w), at(bias), kind);
  });
}
void ComparingBackend::gelu_linear_backward(Tensor dpre, Tensor dw, Tensor dbias, Tensor dpre_bias,
                                            Tensor dy, Tensor x, Tensor pre, Tensor w, Gelu kind,
                                            bool recompute) {
  both("gelu_linear_backward", {dpre, dw, dbias, dpre_bias, recompute ? x : Tensor{}},
       [&](Backend& ops, const Place& at) {
         ops.gelu_linear_backward(at(dpre), at(dw), at(dbias), at(dpre_bias), at(dy), at(x),
                                  at(pre), at(w), kind, recompute);
       });
}
void ComparingBackend::layernorm_forward(Tensor y, Tensor mean, Tensor rstd, Tensor x,
                                         Tensor weight, Tensor bias, float eps) {
  both("layernorm_forward", {y, mean, rstd}, [&](Backend& ops, const Place& at) {
    ops.layernorm_forward(at(y), at(mean), at(rstd), at(x), at(weight), at(bias), eps);
  });
}
void ComparingBackend::layernorm_backward(Tensor dx, Tensor dweight, Tensor dbias, Tensor dy,
                                          Tensor x, Tensor weight, Tensor mean, Tensor rstd,
                                          Tensor dresidual, const NormAgain& again) {
  both("layernorm_backward", {dx, dweight, dbias, again.y}, [&](Backend& ops, const Place& at) {
    ops.layernorm_backward(at(dx), at(dweight), at(dbias), at(dy), at(x), at(weight), at(mean),
                           at(rstd), at(dresidual), {at(again.y), at(again.bias), again.eps});
  });
}
void ComparingBackend::add_layernorm_forward(Tensor sum, Tensor y, Tensor mean, Tensor rstd,
                                             Tensor residual, Tensor branch, Tensor weight,
                                             Tensor bias, float eps, Dropout dropout) {
  both("add_layernorm_forward", {sum, y, mean, rstd}, [&](Backend& ops, const Place& at) {
    ops.add_layernorm_forward(at(sum), at(y), at(mean), at(rstd), at(residual), at(branch),
                              at(weight), at(bias), eps, dropout);
  });
}
void ComparingBackend::add_layernorm_backward(Tensor dresidual, Tensor dbranch, Tensor dweight,
                                              Tensor dbias, Tensor branch_bias, Tensor dy,
                                              Tensor dsum, Tensor sum, Tensor weight, Tensor mean,
                                              Tensor rstd, Dropout dropout, NormPlace place,
                                              const NormAgain& again) {
  both("add_layernorm_backward", {dresidual, dbranch, dweight, dbias, branch_bias, again.y},
       [&](Backend& ops, const Place& at) {
         ops.add_layernorm_backward(at(dresidual), at(dbranch), at(dweight), at(dbias),
                                    at(branch_bias), at(dy), at(dsum), at(sum), at(weight),
                                    at(mean), at(rstd), dropout, place,
                                    {at(again.y), at(again.bias), again.eps});
       });
}
void ComparingBackend::embedding_forward(Tensor y, std::span<const EmbeddingTable> tables) {
  both("embedding_forward", {y},
       [&](Backend& ops, const Place& at) { ops.embedding_forward(at(y), at(tables)); });
}
void ComparingBackend::embedding_backward(Tensor dtable, Tensor dy, Tensor ids) {
  both("embedding_backward", {dtable},
       [&](Backend& ops, const Place& at) { ops.embedding_backward(at(dtable), at(dy), at(ids)); });
}
void ComparingBackend::attention_forward(Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k,
                                         Tensor v, const AttentionOp& op, Tensor workspace) {
  both("attention_forward", {o, lse}, [&](Backend& ops, const Place& at) {
    ops.attention_forward(at(o), at(lse), at(saved), at(q), at(k), at(v), at(op), at(workspace));
  });
}
void ComparingBackend::attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q,
                                          Tensor k, Tensor v, Tensor o, Tensor lse, Tensor saved,
                                          const AttentionOp& op, Tensor workspace) {
  both("attention_backward", {dq, dk, dv}, [&](Backend& ops, const Place& at) {
    ops.attention_backward(at(dq), at(dk), at(dv), at(d_o), at(q), at(k), at(v), at(o), at(lse),
                           at(saved), at(op), at(workspace));
  });
}
void ComparingBackend::cross_entropy(Tensor losses, Tensor dlogits, Tensor logits, Tensor targets,
                                     const CrossEntropy& op) {
  both("cross_entropy", {losses, dlogits}, [&](Backend& ops, const Place& at) {
    ops.cross_entropy(at(losses), at(dlogits), at(logits), at(targets), op);
  });
}
void ComparingBackend::sum(Tensor out, Tensor x) {
  both("sum", {out}, [&](Backend& ops, const Place& at) { ops.sum(at(out), at(x)); });
}
void ComparingBackend::momentum(Tensor u, Tensor m, Tensor grad, float beta, bool nesterov) {
  both("momentum", {u, m}, [&](Backend& ops, const Place& at) {
    ops.momentum(at(u), at(m), at(grad), beta, nesterov);
  });
}
void ComparingBackend::normalize(Tensor y, Tensor x, float eps) {
  both("normalize", {y}, [&](Backend& ops, const Place& at) { ops.normalize(at(y), at(x), eps); });
}

void ComparingBackend::grad_norm(std::span<const Tensor> grads, float max_norm) {
  both("grad_norm", {}, [&](Backend& ops, const Place& at) {
    std::vector<Tensor> there;
    for (const Tensor& grad : grads) there.push_back(at(grad));
    ops.grad_norm(there, max_norm);
  });
  compare_states("grad_norm");
}

void ComparingBackend::update(const UpdateRule& rule, std::span<const UpdateTarget> targets) {
  both("update", {}, [&](Backend& ops, const Place& at) { ops.update(rule, at(targets)); });
  for (const UpdateTarget& target : targets)
    for (const Tensor& x :
         {target.value, target.compute, target.state0, target.state1, target.state2})
      if (x) compare("update", x);
}

void ComparingBackend::clamp(Tensor x, float limit) {
  both("clamp", {x}, [&](Backend& ops, const Place& at) { ops.clamp(at(x), limit); });
}
void ComparingBackend::scale_by_moments(Tensor u, Tensor rows, Tensor columns, Tensor x,
                                        const MomentScaling& op) {
  both("scale_by_moments", {u, rows, columns}, [&](Backend& ops, const Place& at) {
    ops.scale_by_moments(at(u), at(rows), at(columns), at(x), op);
  });
}
void ComparingBackend::orthogonalize(Tensor x, float scale, DType dtype, Tensor workspace) {
  both("orthogonalize", {x}, [&](Backend& ops, const Place& at) {
    ops.orthogonalize(at(x), scale, dtype, at(workspace));
  });
}
int64_t ComparingBackend::orthogonalize_workspace_bytes(int64_t n, int64_t rows, int64_t columns,
                                                        DType dtype) const {
  return std::max(first_.orthogonalize_workspace_bytes(n, rows, columns, dtype),
                  second_.orthogonalize_workspace_bytes(n, rows, columns, dtype));
}

void ComparingBackend::apply_update(const UpdateTarget& target, Tensor u) {
  both("apply_update", {target.value, target.compute},
       [&](Backend& ops, const Place& at) { ops.apply_update(at(target), at(u)); });
}

DType ComparingBackend::direction_dtype(DType dtype) const {
  const DType type = first_.direction_dtype(dtype);
  return type == second_.direction_dtype(dtype) ? type : DType::f32;
}
void ComparingBackend::momenta(Tensor u, std::span<const UpdateTarget> targets, float beta,
                               bool nesterov) {
  both("momenta", {u},
       [&](Backend& ops, const Place& at) { ops.momenta(at(u), at(targets), beta, nesterov); });
  for (const UpdateTarget& target : targets) compare("momenta", target.state0);
}
void ComparingBackend::scale_each_by_moments(Tensor u, std::span<const UpdateTarget> targets,
                                             const MomentScaling& op) {
  both("scale_each_by_moments", {u},
       [&](Backend& ops, const Place& at) { ops.scale_each_by_moments(at(u), at(targets), op); });
  for (const UpdateTarget& target : targets) compare("scale_each_by_moments", target.state1);
}
void ComparingBackend::apply_updates(std::span<const UpdateTarget> targets, Tensor u) {
  both("apply_updates", {},
       [&](Backend& ops, const Place& at) { ops.apply_updates(at(targets), at(u)); });
  for (const UpdateTarget& target : targets)
    for (const Tensor& x : {target.value, target.compute})
      if (x) compare("apply_updates", x);
}

std::string ComparingBackend::attention_unsupported(AttentionAlgorithm algorithm,
                                                    const AttentionShape& shape,
                                                    DType dtype) const {
  const std::string reason = first_.attention_unsupported(algorithm, shape, dtype);
  return reason.empty() ? second_.attention_unsupported(algorithm, shape, dtype) : reason;
}

int64_t ComparingBackend::attention_saved_bytes(AttentionAlgorithm algorithm,
                                                const AttentionShape& shape, DType dtype) const {
  return std::max(first_.attention_saved_bytes(algorithm, shape, dtype),
                  second_.attention_saved_bytes(algorithm, shape, dtype));
}

int64_t ComparingBackend::attention_workspace_bytes(AttentionAlgorithm algorithm,
                                                    const AttentionShape& shape, DType dtype,
                                                    bool backward) const {
  return std::max(first_.attention_workspace_bytes(algorithm, shape, dtype, backward),
                  second_.attention_workspace_bytes(algorithm, shape, dtype, backward));
}

}  // namespace strobe
