// Rows of the op table: what matrix optimizers do to several matrices together. Here two, side by
// side in one parameter as queries, keys and values are.
#include <cmath>

#include "tests/reference/op_table.h"

namespace strobe::reference {

namespace {

using enum Role;
constexpr int64_t kMatrices = 2;
constexpr float kLrScale = 0.5f, kDecay = 0.1f;

// Matrix k of x, whose columns are those of all matrices.
Tensor part(Tensor x, int64_t k) {
  const int64_t width = x.dim(1) / kMatrices;
  return x.narrow(1, k * width, width);
}

std::vector<UpdateTarget> targets_of(const Operands& t) {
  std::vector<UpdateTarget> out(kMatrices);
  for (int64_t k = 0; k < kMatrices; ++k) {
    UpdateTarget& target = out[static_cast<size_t>(k)];
    if (t.of.contains("value")) {
      target.value = part(t["value"], k);
      const bool copies = t["compute"].dtype != DType::f32;
      target.compute = copies ? part(t["compute"], k) : target.value;
    }
    if (t.of.contains("grad")) target.grad = part(t["grad"], k), target.state0 = part(t["m"], k);
    if (t.of.contains("moments")) {
      const Tensor all = t.flat("moments");
      const int64_t width = all.dim(0) / kMatrices;
      target.state1 = all.narrow(0, k * width, width);
    }
    target.lr_scale = kLrScale, target.weight_decay = kDecay;
  }
  return out;
}

Tensor matrices(Tensor u) { return u.reshape({kMatrices, u.dim(0) / kMatrices, u.dim(1)}); }

// Calls body(i of u, i of the wide arrays, j, column of the wide arrays) for every element.
template <class Body>
void for_elements(const Array& u, Body body) {
  const int64_t rows = u.rows / kMatrices;
  for (int64_t k = 0; k < kMatrices; ++k)
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < u.columns; ++j) body(k * rows + i, i, j, k * u.columns + j);
}

void scale_each(Arrays& a, const MomentScaling& op) {
  Array &u = a["u"], &moments = a["moments"];
  const int64_t rows = u.rows / kMatrices;
  std::vector<double> before(kMatrices), after(kMatrices);
  Array squares(1, moments.columns);
  for_elements(u, [&](int64_t at, int64_t, int64_t j, int64_t column) {
    squares[column] += u(at, j) * u(at, j) / static_cast<double>(rows);
    before[static_cast<size_t>(at / rows)] += u(at, j) * u(at, j);
  });
  for (int64_t c = 0; c < moments.columns; ++c)
    moments[c] = double{op.beta} * moments[c] + (1 - double{op.beta}) * squares[c];
  for_elements(u, [&](int64_t at, int64_t, int64_t j, int64_t column) {
    u(at, j) /= std::sqrt(moments[column]) + op.eps;
    after[static_cast<size_t>(at / rows)] += u(at, j) * u(at, j);
  });
  for_elements(u, [&](int64_t at, int64_t, int64_t j, int64_t) {
    const auto k = static_cast<size_t>(at / rows);
    u(at, j) *= op.scale * std::sqrt(before[k] / after[k]);
  });
}

void momenta_of(Arrays& a, const StepState& state) {
  const double beta = double{0.95f} * state.momentum_scale;
  for_elements(a["u"], [&](int64_t at, int64_t i, int64_t j, int64_t column) {
    const double g = a["grad"](i, column) * state.grad_scale;
    double& m = a["m"](i, column);
    m = beta * m + g;
    a["u"](at, j) = g + beta * m;
  });
}

}  // namespace

void add_matrix_batches(std::vector<OpRow>& table) {
  table.push_back({.name = "momenta",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"u", out, kMatrices * r, c, Type::f32},
                             {"m", in_out, r, kMatrices * c, Type::f32},
                             {"grad", in, r, kMatrices * c, Type::f32}};
                   },
                   .run =
                       [](Backend& ops, const Operands& t) {
                         ops.momenta(matrices(t["u"]), targets_of(t), 0.95f, /*nesterov=*/true);
                       },
                   .meaning = momenta_of,
                   .composed =
                       [](Backend& ops, const Operands& t) {
                         ops.Backend::momenta(matrices(t["u"]), targets_of(t), 0.95f,
                                              /*nesterov=*/true);
                       },
                   .only_f32 = true});
  // In the backend's own type, which may be f32.
  table.push_back({.name = "momenta_as_directions",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"u", out, kMatrices * r, c},
                             {"room", scratch, kMatrices * r, c, Type::f32},
                             {"m", in_out, r, kMatrices * c, Type::f32},
                             {"grad", in, r, kMatrices * c, Type::f32}};
                   },
                   .run =
                       [](Backend& ops, const Operands& t) {
                         const bool same = ops.direction_dtype(t["u"].dtype) == t["u"].dtype;
                         const Tensor u = same ? t["u"] : t["room"];
                         ops.momenta(matrices(u), targets_of(t), 0.95f, /*nesterov=*/true);
                         if (!same) ops.copy(t["u"], u);
                       },
                   .meaning = momenta_of});
  MomentScaling scaling;
  scaling.eps = 1e-10f, scaling.keep_norm = true, scaling.scale = 1.5f;
  table.push_back({.name = "scale_each_by_moments",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"u", in_out, kMatrices * r, c, Type::f32},
                             {"moments", in_out, 1, kMatrices * c, Type::f32, 0, false, true}};
                   },
                   .run =
                       [=](Backend& ops, const Operands& t) {
                         ops.scale_each_by_moments(matrices(t["u"]), targets_of(t), scaling);
                       },
                   .meaning = [=](Arrays& a, const StepState&) { scale_each(a, scaling); },
                   .composed =
                       [=](Backend& ops, const Operands& t) {
                         ops.Backend::scale_each_by_moments(matrices(t["u"]), targets_of(t),
                                                            scaling);
                       },
                   .only_f32 = true});
  table.push_back({.name = "apply_updates",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"value", in_out, r, kMatrices * c, Type::f32},
                             {"compute", out, r, kMatrices * c},
                             {"u", in, kMatrices * r, c, Type::f32}};
                   },
                   .run =
                       [](Backend& ops, const Operands& t) {
                         ops.apply_updates(targets_of(t), matrices(t["u"]));
                         if (t["compute"].dtype == DType::f32) ops.copy(t["compute"], t["value"]);
                       },
                   .meaning =
                       [](Arrays& a, const StepState& state) {
                         const double lr = double{state.lr} * kLrScale;
                         for_elements(a["u"], [&](int64_t at, int64_t i, int64_t j, int64_t c) {
                           double& w = a["value"](i, c);
                           w -= lr * (a["u"](at, j) + kDecay * state.decay_scale * w);
                           a["compute"](i, c) = w;
                         });
                       },
                   .composed =
                       [](Backend& ops, const Operands& t) {
                         ops.Backend::apply_updates(targets_of(t), matrices(t["u"]));
                         if (t["compute"].dtype == DType::f32) ops.copy(t["compute"], t["value"]);
                       }});
}

}  // namespace strobe::reference
