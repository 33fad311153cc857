// Rows of the op table: sums and updates. The formulas are the papers', in double, and know nothing
// of ops/update_rules.h.
#include <cmath>

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

UpdateTarget target_of(const Operands& t) {
  UpdateTarget target;
  target.value = t["value"];
  // In f32 the compute copy is the value itself.
  target.compute = t["compute"].dtype == DType::f32 ? t["value"] : t["compute"];
  if (t.of.contains("grad")) target.grad = t["grad"];
  if (t.of.contains("m")) target.state0 = t["m"];
  if (t.of.contains("v")) target.state1 = t["v"];
  target.lr_scale = kLrScale, target.weight_decay = kDecay;
  return target;
}

void update(Backend& ops, const UpdateRule& rule, const Operands& t) {
  const UpdateTarget target = target_of(t);
  ops.update(rule, {&target, 1});
  if (target.compute.data == target.value.data) ops.copy(t["compute"], t["value"]);
}

// Arxiv 1711.05101, Algorithm 2.
void adamw(Arrays& a, const StepState& state) {
  const double b1 = 0.9f, b2 = 0.95f, eps = 1e-8f, lr = double{state.lr} * kLrScale;
  const double t = static_cast<double>(state.step) + 1;
  for (int64_t i = 0; i < a["value"].size(); ++i) {
    const double g = a["grad"][i] * state.grad_scale;
    double &m = a["m"][i], &v = a["v"][i], &w = a["value"][i];
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g * g;
    const double m_hat = m / (1 - std::pow(b1, t)), v_hat = v / (1 - std::pow(b2, t));
    w -= lr * (m_hat / (std::sqrt(v_hat) + eps) + kDecay * w);
    a["compute"][i] = w;
  }
}

// Arxiv 2302.06675, Algorithm 2.
void lion(Arrays& a, const StepState& state) {
  const double b1 = 0.9f, b2 = 0.99f, lr = double{state.lr} * kLrScale;
  for (int64_t i = 0; i < a["value"].size(); ++i) {
    const double g = a["grad"][i] * state.grad_scale;
    double &m = a["m"][i], &w = a["value"][i];
    const double c = b1 * m + (1 - b1) * g;
    w -= lr * ((c > 0) - (c < 0) + kDecay * w);
    m = b2 * m + (1 - b2) * g;
    a["compute"][i] = w;
  }
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
  table.push_back({.name = "update_adamw",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"value", in_out, r, c, Type::f32},
                             {"compute", out, r, c},
                             {"m", in_out, r, c, Type::f32},
                             {"v", in_out, r, c, Type::f32, 0, false, true},
                             {"grad", in, r, c, Type::f32}};
                   },
                   .run = [](Backend& ops, const Operands& t) { update(ops, AdamWRule{}, t); },
                   .meaning = adamw});
  table.push_back({.name = "update_lion",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"value", in_out, r, c, Type::f32},
                             {"compute", out, r, c},
                             {"m", in_out, r, c, Type::f32},
                             {"grad", in, r, c, Type::f32}};
                   },
                   .run = [](Backend& ops, const Operands& t) { update(ops, LionRule{}, t); },
                   .meaning = lion});
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
                             a["m"][i] = double{0.95f} * a["m"][i] + g;
                             a["u"][i] = nesterov ? g + double{0.95f} * a["m"][i] : a["m"][i];
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
  table.push_back(
      {.name = "apply_update",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"value", in_out, r, c, Type::f32}, {"compute", out, r, c}, {"u", in, r, c}};
       },
       .run =
           [](Backend& ops, const Operands& t) {
             const UpdateTarget target = target_of(t);
             ops.apply_update(target, t["u"]);
             if (target.compute.data == target.value.data) ops.copy(t["compute"], t["value"]);
           },
       .meaning =
           [](Arrays& a, const StepState& state) {
             const double lr = double{state.lr} * kLrScale;
             for (int64_t i = 0; i < a["value"].size(); ++i) {
               double& w = a["value"][i];
               w -= lr * (a["u"][i] + kDecay * w);
               a["compute"][i] = w;
             }
           }});
}

}  // namespace strobe::reference
