// Rows of the op table: sums and updates. The formulas are the papers', in double, and know nothing
// of ops/update_rules.h.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "strobe/core/round_up.h"
#include "tests/reference/formulas.h"
#include "tests/reference/op_table.h"

namespace strobe::reference {

namespace {

using enum Role;
constexpr float kLrScale = 0.5f, kDecay = 0.1f;

double square_sum(const Array& x) {
  double sum = 0;
  for (const double v : x.values) sum += v * v;
  return sum;
}

// What is subtracted beside the update itself.
double decay_of(double w, double u, const StepState& state, bool cautious) {
  return cautious && u * w < 0 ? 0 : kDecay * state.decay_scale * w;
}

UpdateTarget target_of(const Operands& t, bool cautious = false) {
  UpdateTarget target;
  target.value = t["value"];
  // In f32 the compute copy is the value itself.
  target.compute = t["compute"].dtype == DType::f32 ? t["value"] : t["compute"];
  if (t.of.contains("grad")) target.grad = t["grad"];
  if (t.of.contains("m")) target.state0 = t["m"];
  if (t.of.contains("v")) target.state1 = t["v"];
  target.lr_scale = kLrScale, target.weight_decay = kDecay, target.cautious = cautious;
  return target;
}

void update(Backend& ops, const UpdateRule& rule, const Operands& t, bool cautious = false) {
  const UpdateTarget target = target_of(t, cautious);
  ops.update(rule, {&target, 1});
  if (target.compute.data == target.value.data) ops.copy(t["compute"], t["value"]);
}

// Arxiv 1711.05101, Algorithm 2; with Nesterov momentum as Dozat 2016 has it.
void adamw(Arrays& a, const StepState& state, bool nesterov, bool cautious) {
  const double b1 = double{0.9f} * state.momentum_scale, b2 = 0.95f, eps = 1e-8f;
  const double lr = double{state.lr} * kLrScale, t = static_cast<double>(state.step) + 1;
  for (int64_t i = 0; i < a["value"].size(); ++i) {
    const double g = a["grad"][i] * state.grad_scale;
    double &m = a["m"][i], &v = a["v"][i], &w = a["value"][i];
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g * g;
    const double v_hat = v / (1 - std::pow(b2, t));
    const double m_hat =
        nesterov ? b1 * m / (1 - std::pow(b1, t + 1)) + (1 - b1) * g / (1 - std::pow(b1, t))
                 : m / (1 - std::pow(b1, t));
    const double u = m_hat / (std::sqrt(v_hat) + eps);
    w -= lr * (u + decay_of(w, u, state, cautious));
    a["compute"][i] = w;
  }
}

// Arxiv 2302.06675, Algorithm 2.
void lion(Arrays& a, const StepState& state) {
  const double b1 = double{0.9f} * state.momentum_scale, b2 = 0.99f;
  const double lr = double{state.lr} * kLrScale;
  for (int64_t i = 0; i < a["value"].size(); ++i) {
    const double g = a["grad"][i] * state.grad_scale;
    double &m = a["m"][i], &w = a["value"][i];
    const double c = b1 * m + (1 - b1) * g;
    w -= lr * ((c > 0) - (c < 0) + decay_of(w, 0, state, false));
    m = b2 * m + (1 - b2) * g;
    a["compute"][i] = w;
  }
}

// Arxiv 2405.15682, Algorithm 1, written with x: y = (1 - beta1) z + beta1 x. "m" is z.
void schedule_free(Arrays& a, const StepState& state) {
  const double b1 = 0.9f, b2 = 0.95f, eps = 1e-8f, c = state.average;
  const double lr = double{state.lr} * kLrScale, t = static_cast<double>(state.step) + 1;
  for (int64_t i = 0; i < a["value"].size(); ++i) {
    const double g = a["grad"][i] * state.grad_scale;
    double &z = a["m"][i], &v = a["v"][i], &y = a["value"][i];
    double x = (y - (1 - b1) * z) / b1;
    v = b2 * v + (1 - b2) * g * g;
    const double u = g / (std::sqrt(v / (1 - std::pow(b2, t))) + eps);
    z -= lr * (u + decay_of(y, u, state, false));
    x = (1 - c) * x + c * z;
    y = (1 - b1) * z + b1 * x;
    a["compute"][i] = y;
  }
}

// Arxiv 1804.04235, Algorithms 4 and 5; without rows, arXiv:2510.05491.
void scale_by_moments(Arrays& a, const StepState& state, const MomentScaling& op) {
  Array &u = a["u"], x = a["x"], &columns = a["columns"];
  const bool factored = a.of.contains("rows");
  const double t = static_cast<double>(state.step) + 1;
  const double beta = op.exponent < 0 ? 1 - std::pow(t, double{op.exponent}) : double{op.beta};
  if (op.gradient)
    for (double& g : x.values) g *= state.grad_scale;
  const auto square = [&](int64_t i, int64_t j) { return x(i, j) * x(i, j) + op.eps_square; };
  for (int64_t j = 0; j < x.columns; ++j) {
    double mean = 0;
    for (int64_t i = 0; i < x.rows; ++i) mean += square(i, j) / static_cast<double>(x.rows);
    columns[j] = beta * columns[j] + (1 - beta) * mean;
  }
  double row_mean = 0;
  for (int64_t i = 0; factored && i < x.rows; ++i) {
    double mean = 0;
    for (int64_t j = 0; j < x.columns; ++j) mean += square(i, j) / static_cast<double>(x.columns);
    a["rows"][i] = beta * a["rows"][i] + (1 - beta) * mean;
    row_mean += a["rows"][i] / static_cast<double>(x.rows);
  }
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.columns; ++j) {
      const double v = factored ? a["rows"][i] * columns[j] / row_mean : columns[j];
      u(i, j) = x(i, j) / (std::sqrt(v) + op.eps);
    }
  const double norm = std::sqrt(square_sum(u)),
               rms = norm / std::sqrt(static_cast<double>(u.size()));
  double factor = op.most_rms > 0 ? 1 / std::max(1.0, rms / op.most_rms) : 1;
  if (op.keep_norm) factor = std::sqrt(square_sum(x)) / norm;
  for (double& value : u.values) value *= factor;
}

// kellerjordan.github.io/posts/muon, one matrix after the other.
void orthogonalize(Array& all, int64_t count, double scale) {
  const int64_t rows = all.rows / count, size = rows * all.columns;
  for (int64_t k = 0; k < count; ++k) {
    Array x(rows, all.columns);
    std::copy_n(all.values.begin() + k * size, size, x.values.begin());
    const double norm = std::sqrt(square_sum(x)) + 1e-7;
    for (double& v : x.values) v /= norm;
    const bool tall = rows > all.columns;
    const int64_t side = std::min(rows, all.columns);
    for (int i = 0; i < 5; ++i) {
      Array gram(side, side), square = gram, next(rows, all.columns);
      matmul(gram, x, tall, x, !tall, false);
      matmul(square, gram, false, gram, false, false);
      for (int64_t j = 0; j < square.size(); ++j)
        square[j] = double{-4.7750f} * gram[j] + double{2.0315f} * square[j];
      tall ? matmul(next, x, false, square, false, false)
           : matmul(next, square, false, x, false, false);
      for (int64_t j = 0; j < size; ++j) x[j] = double{3.4445f} * x[j] + next[j];
    }
    for (int64_t j = 0; j < size; ++j) all[k * size + j] = scale * x[j];
  }
}

/// Of `count` matrices, in products of `dtype`. Sizes are rounded up to `multiple`; x is turned
/// into the backend's type of directions where `directed`.
OpRow orthogonalize_row(const std::string& name, DType dtype, int64_t count, int64_t multiple,
                        bool tall, bool directed) {
  return {.name = name,
          .operands = [=](int64_t r, int64_t c) -> std::vector<Operand> {
            r = round_up(r, multiple), c = round_up(c, multiple);
            if (tall) std::swap(r, c);
            const int64_t side = std::min(r, c), room = 256;  // of either backend, alignment too
            return {{"x", in_out, count * r, c, Type::f32},
                    {"room", scratch, count * r, directed ? c : 1, Type::f32},
                    {"workspace", scratch, 1, count * (2 * r * c + 4 * side * side) + 5 * room,
                     Type::f32}};
          },
          .run =
              [=](Backend& ops, const Operands& t) {
                const Tensor x = t["x"], w = t["workspace"];
                const Tensor direction(t["room"].data, ops.direction_dtype(dtype),
                                       {x.dim(0), x.dim(1)});
                if (directed) ops.copy(direction, x);
                ops.orthogonalize(
                    (directed ? direction : x).reshape({count, x.dim(0) / count, x.dim(1)}), 1.5f,
                    dtype, Tensor(w.data, DType::u8, {w.bytes()}));
                if (directed) ops.copy(x, direction);
              },
          .meaning = [=](Arrays& a, const StepState&) { orthogonalize(a["x"], count, 1.5); },
          .only_f32 = true,
          // Small singular values grow by 3.4^5; roundings of A move large ones by 10 %, and more
          // by their place: elements, not singular values, are compared.
          .noise = dtype == DType::bf16 ? 0.15 * 0x1p24 : 4096};
}

std::vector<Operand> update_operands(int64_t r, int64_t c, int states) {
  std::vector<Operand> out_list = {{"value", in_out, r, c, Type::f32},
                                   {"compute", out, r, c},
                                   {"m", in_out, r, c, Type::f32},
                                   {"grad", in, r, c, Type::f32}};
  if (states > 1) out_list.push_back({"v", in_out, r, c, Type::f32, 0, false, true});
  return out_list;
}

void add_matrix_updates(std::vector<OpRow>& table) {
  MomentScaling factored, by_columns;
  factored.exponent = -0.8f, factored.eps_square = 1e-30f, factored.most_rms = 1;
  factored.gradient = true;
  by_columns.eps = 1e-10f, by_columns.keep_norm = true;
  table.push_back(
      {.name = "scale_by_moments",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"u", out, r, c, Type::f32},
                 {"rows", in_out, 1, r, Type::f32, 0, false, true},
                 {"columns", in_out, 1, c, Type::f32, 0, false, true},
                 {"x", in, r, c, Type::f32}};
       },
       .run =
           [=](Backend& ops, const Operands& t) {
             ops.scale_by_moments(t["u"], t.flat("rows"), t.flat("columns"), t["x"], factored);
           },
       .meaning = [=](Arrays& a, const StepState& s) { scale_by_moments(a, s, factored); },
       .may_alias = {{"u", "x"}},
       .only_f32 = true});
  table.push_back(
      {.name = "scale_by_moments_of_columns",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"u", out, r, c, Type::f32},
                 {"columns", in_out, 1, c, Type::f32, 0, false, true},
                 {"x", in, r, c, Type::f32}};
       },
       .run =
           [=](Backend& ops, const Operands& t) {
             ops.scale_by_moments(t["u"], {}, t.flat("columns"), t["x"], by_columns);
           },
       .meaning = [=](Arrays& a, const StepState& s) { scale_by_moments(a, s, by_columns); },
       .may_alias = {{"u", "x"}},
       .only_f32 = true});
  table.push_back(orthogonalize_row("orthogonalize", DType::f32, 3, 1, false, false));
  // In bf16 a GPU may have products of its own, for sizes that are multiples of 8.
  table.push_back(orthogonalize_row("orthogonalize_in_bf16", DType::bf16, 2, 1, false, true));
  table.push_back(orthogonalize_row("orthogonalize_eights", DType::bf16, 2, 8, false, false));
  table.push_back(orthogonalize_row("orthogonalize_tall_eights", DType::bf16, 2, 8, true, true));
}

}  // namespace

void add_updates(std::vector<OpRow>& table) {
  table.push_back(
      {.name = "sum",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"out", out, 1, 1, Type::f32}, {"x", in, r, c, Type::f32}};
       },
       .run = [](Backend& ops, const Operands& t) { ops.sum(t.flat("out"), t.flat("x")); },
       .meaning =
           [](Arrays& a, const StepState&) {
             a["out"][0] = 0;
             for (const double x : a["x"].values) a["out"][0] += x;
           },
       .only_f32 = true,
       .noise = 2});
  const auto two = [](int64_t r, int64_t c) { return update_operands(r, c, 2); };
  for (const bool nesterov : {false, true})
    for (const bool cautious : {false, true})
      table.push_back(
          {.name =
               fmt::format("update_{}adamw{}", nesterov ? "n" : "", cautious ? "_cautious" : ""),
           .operands = two,
           .run =
               [=](Backend& ops, const Operands& t) {
                 if (nesterov)
                   update(ops, NAdamWRule{}, t, cautious);
                 else
                   update(ops, AdamWRule{}, t, cautious);
               },
           .meaning = [=](Arrays& a,
                          const StepState& state) { adamw(a, state, nesterov, cautious); }});
  table.push_back(
      {.name = "update_schedule_free",
       .operands = two,
       .run = [](Backend& ops, const Operands& t) { update(ops, ScheduleFreeRule{}, t); },
       .meaning = schedule_free});
  table.push_back({.name = "update_lion",
                   .operands = [](int64_t r, int64_t c) { return update_operands(r, c, 1); },
                   .run = [](Backend& ops, const Operands& t) { update(ops, LionRule{}, t); },
                   .meaning = lion});
  table.push_back({.name = "update_ema",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"value", in_out, r, c, Type::f32},
                             {"compute", out, r, c},
                             {"grad", in, r, c, Type::f32}};
                   },
                   .run = [](Backend& ops, const Operands& t) { update(ops, EmaRule{0.75f}, t); },
                   .meaning =
                       [](Arrays& a, const StepState&) {
                         for (int64_t i = 0; i < a["value"].size(); ++i)
                           a["compute"][i] = a["value"][i] =
                               0.75 * a["value"][i] + 0.25 * a["grad"][i];
                       }});
  table.push_back({.name = "clamp",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"x", in_out, r, c, Type::f32}};
                   },
                   .run = [](Backend& ops, const Operands& t) { ops.clamp(t["x"], 0.5f); },
                   .meaning =
                       [](Arrays& a, const StepState&) {
                         for (double& x : a["x"].values) x = std::clamp(x, -0.5, 0.5);
                       },
                   .only_f32 = true});
  add_matrix_updates(table);
  for (const bool nesterov : {false, true})
    table.push_back({.name = nesterov ? "momentum_nesterov" : "momentum",
                     .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                       return {{"u", out, r, c, Type::f32},
                               {"m", in_out, r, c, Type::f32},
                               {"grad", in, r, c, Type::f32}};
                     },
                     .run =
                         [=](Backend& ops, const Operands& t) {
                           ops.momentum(t["u"], t["m"], t["grad"], 0.95f, nesterov);
                         },
                     .meaning =
                         [=](Arrays& a, const StepState& state) {
                           for (int64_t i = 0; i < a["u"].size(); ++i) {
                             const double g = a["grad"][i] * state.grad_scale;
                             const double beta = double{0.95f} * state.momentum_scale;
                             a["m"][i] = beta * a["m"][i] + g;
                             a["u"][i] = nesterov ? g + beta * a["m"][i] : a["m"][i];
                           }
                         },
                     .only_f32 = true});
  table.push_back(
      {.name = "normalize",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"y", out, r, c}, {"x", in, r, c, Type::f32}};
       },
       .run = [](Backend& ops, const Operands& t) { ops.normalize(t["y"], t["x"], 1e-7f); },
       .meaning =
           [](Arrays& a, const StepState&) {
             const double norm = std::sqrt(square_sum(a["x"])) + 1e-7f;
             for (int64_t i = 0; i < a["y"].size(); ++i) a["y"][i] = a["x"][i] / norm;
           }});
  for (const bool cautious : {false, true})
    table.push_back(
        {.name = cautious ? "apply_update_cautious" : "apply_update",
         .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
           return {{"value", in_out, r, c, Type::f32}, {"compute", out, r, c}, {"u", in, r, c}};
         },
         .run =
             [=](Backend& ops, const Operands& t) {
               const UpdateTarget target = target_of(t, cautious);
               ops.apply_update(target, t["u"]);
               if (target.compute.data == target.value.data) ops.copy(t["compute"], t["value"]);
             },
         .meaning =
             [=](Arrays& a, const StepState& state) {
               const double lr = double{state.lr} * kLrScale;
               for (int64_t i = 0; i < a["value"].size(); ++i) {
                 double& w = a["value"][i];
                 w -= lr * (a["u"][i] + decay_of(w, a["u"][i], state, cautious));
                 a["compute"][i] = w;
               }
             }});
}

}  // namespace strobe::reference
