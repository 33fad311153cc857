#include "tests/reference/attention_trial.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"

namespace strobe::reference {

namespace {

std::vector<int> offsets(const std::vector<int>& lengths) {
  std::vector<int> cu{0};
  for (int n : lengths) cu.push_back(cu.back() + n);
  return cu;
}

/// Memory of the backend that starts out as NaN.
struct Memory {
  Memory(Backend& backend, int64_t size)
      : backend(backend), bytes((size + 63) / 64 * 64 + 64), data(backend.allocate(bytes)) {
    const std::vector<uint8_t> nan(bytes, 0xff);
    backend.upload(tensor(bytes), nan.data());
  }
  Memory(const Memory&) = delete;
  ~Memory() { backend.release(data); }
  Tensor tensor(int64_t size) const { return {data, DType::u8, {size}}; }
  void poison() {
    const std::vector<uint8_t> nan(bytes, 0xff);
    backend.upload(tensor(bytes), nan.data());
  }

  Backend& backend;
  int64_t bytes;
  void* data;
};

/// One operand, alone or as columns of a wider matrix.
struct Operand {
  Operand(Backend& backend, DType dtype, int64_t rows, int64_t heads, int64_t dim, bool strided)
      : host(rows * (heads * dim + (strided ? 40 : 0)) * size_of(dtype) + 128, 0xff),
        memory(backend, static_cast<int64_t>(host.size())) {
    tensor =
        Tensor(static_cast<char*>(memory.data) + (strided ? 48 : 0), dtype, {rows, heads, dim});
    tensor.strides[0] = heads * dim + (strided ? 40 : 0);
  }
  void set(const std::vector<double>& x) {
    for_each([&](int64_t i, char* at) {
      if (tensor.dtype == DType::f32) {
        const float y = static_cast<float>(x[i]);
        std::memcpy(at, &y, 4);
      } else {
        const bf16 y = to_bf16(static_cast<float>(x[i]));
        std::memcpy(at, &y, 2);
      }
    });
    memory.backend.upload(memory.tensor(static_cast<int64_t>(host.size())), host.data());
  }
  std::vector<double> get() {
    memory.backend.download(host.data(), memory.tensor(static_cast<int64_t>(host.size())));
    std::vector<double> x(tensor.numel());
    for_each([&](int64_t i, char* at) {
      float single;
      bf16 half;
      std::memcpy(&single, at, tensor.dtype == DType::f32 ? 4 : 0);
      std::memcpy(&half, at, 2);
      x[i] = tensor.dtype == DType::f32 ? single : to_float(half);
    });
    return x;
  }
  template <class Body>
  void for_each(const Body& body) {
    const int64_t begin = static_cast<char*>(tensor.data) - static_cast<char*>(memory.data);
    int64_t i = 0;
    for (int64_t r = 0; r < tensor.dim(0); ++r)
      for (int64_t c = 0; c < tensor.dim(1) * tensor.dim(2); ++c)
        body(i++, reinterpret_cast<char*>(host.data()) + begin +
                      (r * tensor.strides[0] + c) * size_of(tensor.dtype));
  }
  std::vector<uint8_t> host;
  Memory memory;
  Tensor tensor;
};

struct ChosenOp : AttentionOp {
  ChosenOp(const AttentionOp& op, AttentionAlgorithm chosen) : AttentionOp(op) {
    algorithm = chosen;
  }
};

/// All operands of a trial in a backend's memory.
struct Operands {
  Operands(Backend& backend, const AttentionTrial& t, AttentionAlgorithm algorithm)
      : backend(backend), c(t.c), shape(t.shape), op(t.op, algorithm) {
    q.set(t.values.q), k.set(t.values.k), v.set(t.values.v), d_o.set(t.values.d_o);
    const int64_t n = static_cast<int64_t>(t.cu_q.size());
    op.cu_q = Tensor(cu_q.data, DType::i32, {n}), op.cu_k = Tensor(cu_k.data, DType::i32, {n});
    backend.upload(op.cu_q, t.cu_q.data()), backend.upload(op.cu_k, t.cu_k.data());
    backend.set_step_state(t.state);
  }
  Operand queries() { return {backend, c.dtype, shape.total_q, c.heads, c.dim, c.strided}; }
  Operand keys() { return {backend, c.dtype, shape.total_k, c.kv_heads, c.dim, c.strided}; }
  void run() {
    const Tensor kept = saved.tensor(saved_bytes);
    const Tensor l(lse.data, DType::f32, {c.heads, shape.total_q});
    backend.attention_forward(o.tensor, l, kept, q.tensor, k.tensor, v.tensor, op,
                              work.tensor(forward_bytes));
    if (op.fp8) return;
    backend.attention_backward(dq.tensor, dk.tensor, dv.tensor, d_o.tensor, q.tensor, k.tensor,
                               v.tensor, o.tensor, l, kept, op, work2.tensor(backward_bytes));
  }
  AttentionResult get() {
    std::vector<float> l(c.heads * shape.total_q);
    backend.download(l.data(), Tensor(lse.data, DType::f32, {static_cast<int64_t>(l.size())}));
    return {o.get(), {l.begin(), l.end()}, dq.get(), dk.get(), dv.get()};
  }

  Backend& backend;
  const AttentionCase& c;
  const AttentionShape& shape;
  ChosenOp op;
  Operand q = queries(), d_o = queries(), o = queries(), dq = queries();
  Operand k = keys(), v = keys(), dk = keys(), dv = keys();
  Memory cu_q{backend, (shape.sequences + 1) * 4}, cu_k{backend, (shape.sequences + 1) * 4};
  Memory lse{backend, c.heads* shape.total_q * 4};
  int64_t saved_bytes = backend.attention_saved_bytes(op.algorithm, shape, c.dtype);
  int64_t forward_bytes = backend.attention_workspace_bytes(op.algorithm, shape, c.dtype, false);
  int64_t backward_bytes = backend.attention_workspace_bytes(op.algorithm, shape, c.dtype, true);
  Memory saved{backend, saved_bytes}, work{backend, forward_bytes}, work2{backend, backward_bytes};
};

}  // namespace

std::string name_of(const AttentionCase& c) {
  std::string lengths;
  for (size_t i = 0; i < c.queries.size(); ++i)
    lengths += fmt::format("{}x{} ", c.queries[i], c.keys.empty() ? c.queries[i] : c.keys[i]);
  return fmt::format("T {}H {} Hkv {} D {} {} {}{}{}{}", lengths, c.heads, c.kv_heads, c.dim,
                     name_of(c.dtype), name_of(c.variant), c.causal ? " causal" : "",
                     c.dropout > 0 ? " dropout" : "", c.strided ? " strided" : "");
}

AttentionTrial::AttentionTrial(const AttentionCase& c) : c(c) {
  cu_q = offsets(c.queries), cu_k = c.keys.empty() ? cu_q : offsets(c.keys);
  op.causal = c.causal, op.fp8 = c.fp8, op.variant = c.variant;
  op.scale = 1 / std::sqrt(static_cast<float>(c.dim));
  op.dropout = {c.dropout, 3};
  op.cu_q = Tensor(cu_q.data(), DType::i32, {int64_t(cu_q.size())});
  op.cu_k = Tensor(cu_k.data(), DType::i32, {int64_t(cu_k.size())});
  for (size_t i = 0; i + 1 < cu_q.size(); ++i) {
    op.max_q = std::max<int64_t>(op.max_q, cu_q[i + 1] - cu_q[i]);
    op.max_k = std::max<int64_t>(op.max_k, cu_k[i + 1] - cu_k[i]);
  }
  shape = {int64_t(cu_q.size()) - 1,
           op.max_q,
           op.max_k,
           cu_q.back(),
           cu_k.back(),
           c.heads,
           c.kv_heads,
           c.dim,
           c.causal,
           c.fp8};
  state.seed = 7, state.step = 11, state.micro_step = 1;
  RandomSequence random(5, RandomUse::init, static_cast<uint32_t>(c.dim));
  const auto draw = [&](std::vector<double>& x, int64_t n) {
    x.resize(n);
    for (double& y : x) {
      const float value = random.normal();
      y = c.dtype == DType::f32 ? value : to_float(to_bf16(value));
    }
  };
  draw(values.q, shape.total_q * c.heads * c.dim),
      draw(values.k, shape.total_k * c.kv_heads * c.dim);
  draw(values.v, shape.total_k * c.kv_heads * c.dim), draw(values.d_o, values.q.size());
}

AttentionResult AttentionTrial::operator()(Backend& backend, AttentionAlgorithm algorithm) {
  Operands operands(backend, *this, algorithm);
  operands.run();
  return operands.get();
}

int AttentionTrial::differing(Backend& backend, AttentionAlgorithm algorithm, int times) {
  Operands operands(backend, *this, algorithm);
  operands.run();
  const AttentionResult first = operands.get();
  int count = 0;
  for (int i = 1; i < times; ++i) {
    operands.work2.poison(), operands.dq.memory.poison();
    operands.run();
    count += !(operands.get() == first);
  }
  return count;
}

AttentionValues AttentionTrial::reference(Precision precision) const {
  AttentionValues x = values;
  reference::attention(x, shape, op, cu_q, cu_k, state, precision);
  return x;
}

double largest_error(const std::vector<double>& x, const std::vector<double>& y) {
  double worst = x.size() == y.size() ? 0 : INFINITY;
  for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
    const double e = x[i] == y[i] ? 0 : std::abs(x[i] - y[i]);
    if (!(e <= worst)) worst = std::isnan(e) ? INFINITY : e;
  }
  return worst;
}

std::string broken_rule(const char* what, const std::vector<double>& x,
                        const std::vector<double>& exact, const std::vector<double>& plain,
                        double factor, double epsilon, double floor) {
  double most = 0;
  for (double y : exact)
    if (std::isfinite(y)) most = std::max(most, std::abs(y));
  const double error = largest_error(x, exact);
  const double limit = factor * largest_error(plain, exact) + 2 * epsilon * most + floor;
  if (error <= limit) return "";
  return fmt::format("{}: error {:.3g}, at most {:.3g} allowed\n", what, error, limit);
}

std::string broken_rules(Backend& backend, const AttentionCase& c,
                         const std::vector<AttentionAlgorithm>& algorithms) {
  AttentionTrial trial(c);
  const AttentionValues exact = trial.reference(Precision::exact);
  const AttentionValues plain =
      trial.reference(c.dtype == DType::f32 ? Precision::f32 : Precision::bf16);
  const double epsilon = c.dtype == DType::f32 ? 0x1p-23 : 0x1p-8;
  // dS is a difference: where it cancels, f32 rounding of dP remains.
  const double cancelled = 4 * 0x1p-23 * trial.op.scale * exact.largest_dp;
  const auto largest = [](const std::vector<double>& x) {
    double most = 0;
    for (double y : x) most = std::max(most, std::abs(y));
    return most;
  };
  const double dq_floor = cancelled * largest(exact.k), dk_floor = cancelled * largest(exact.q);
  std::string all;
  for (AttentionAlgorithm algorithm : algorithms) {
    // Where scores are stored in bf16, the plain formula is the one that does so too.
    const bool rounded = backend.info().kind == "cuda" && algorithm == AttentionAlgorithm::naive &&
                         c.dtype == DType::bf16;
    const AttentionValues base = rounded ? trial.reference(Precision::bf16_scores) : plain;
    trial.op.deterministic = true;
    AttentionResult r = trial(backend, algorithm);
    std::string broken;
    if (backend.info().kind == "cuda" &&
        (algorithm == AttentionAlgorithm::flash2 || algorithm == AttentionAlgorithm::flash3)) {
      trial.op.deterministic = false;
      const AttentionResult free = trial(backend, algorithm);
      if (free.o != r.o || free.dk != r.dk || free.dv != r.dv)
        broken = "the order of dQ's sum changes other results\n";
      broken += broken_rule("dq in any order", free.dq, exact.dq, base.dq, 3, epsilon, dq_floor);
    }
    broken += broken_rule("o", r.o, exact.o, base.o, 2, epsilon);
    broken += broken_rule("lse", r.lse, exact.lse, base.lse, 2, 0x1p-20);
    broken += broken_rule("dq", r.dq, exact.dq, base.dq, 3, epsilon, dq_floor);
    broken += broken_rule("dk", r.dk, exact.dk, base.dk, 3, epsilon, dk_floor);
    broken += broken_rule("dv", r.dv, exact.dv, base.dv, 3, epsilon);
    if (!broken.empty()) all += fmt::format("{} {}:\n{}", name_of(algorithm), name_of(c), broken);
  }
  return all;
}

}  // namespace strobe::reference
