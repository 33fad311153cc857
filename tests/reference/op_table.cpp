#include "tests/reference/op_table.h"

#include <cmath>

#include "tests/reference/formulas.h"

namespace strobe::reference {

namespace {

constexpr Dropout kDropout = {.p = 0.3f, .site = 5};
constexpr int64_t kInner = 72;  // the inner dimension of products
using enum Role;
using Rows = std::vector<OpRow>;

// y = f(x) by element.
template <class F>
void by_element(Array& y, const Array& x, F f) {
  for (int64_t i = 0; i < y.size(); ++i) y[i] = f(x[i], i);
}

void add_elementwise(Rows& table) {
  table.push_back({.name = "fill",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"y", out, r, c}};
                   },
                   .run = [](Backend& ops, const Operands& t) { ops.fill(t["y"], 0.75f); },
                   .meaning =
                       [](Arrays& a, const StepState&) {
                         by_element(a["y"], a["y"], [](double, int64_t) { return 0.75; });
                       }});
  table.push_back({.name = "copy_to_f32",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"y", out, r, c, Type::f32}, {"x", in, r, c}};
                   },
                   .run = [](Backend& ops, const Operands& t) { ops.copy(t["y"], t["x"]); },
                   .meaning = [](Arrays& a, const StepState&) { a["y"] = a["x"]; }});
  table.push_back({.name = "copy_from_f32",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"y", out, r, c}, {"x", in, r, c, Type::f32}};
                   },
                   .run = [](Backend& ops, const Operands& t) { ops.copy(t["y"], t["x"]); },
                   .meaning = [](Arrays& a, const StepState&) { a["y"] = a["x"]; }});
  table.push_back(
      {.name = "copy_transposed",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"y", out, r, c}, {"x", in, c, r}};
       },
       .run = [](Backend& ops, const Operands& t) { ops.copy(t["y"], t["x"].transposed()); },
       .meaning =
           [](Arrays& a, const StepState&) {
             for (int64_t i = 0; i < a["y"].rows; ++i)
               for (int64_t j = 0; j < a["y"].columns; ++j) a["y"](i, j) = a["x"](j, i);
           }});
  table.push_back(
      {.name = "axpby",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"y", in_out, r, c, Type::f32}, {"x", in, r, c, Type::f32}};
       },
       .run = [](Backend& ops, const Operands& t) { ops.axpby(t["y"], 1.5f, t["x"], -0.25f); },
       .meaning =
           [](Arrays& a, const StepState&) {
             for (int64_t i = 0; i < a["y"].size(); ++i)
               a["y"][i] = 1.5 * a["x"][i] - 0.25 * a["y"][i];
           },
       .only_f32 = true});
  const auto dropped = [](Arrays& a, const StepState& state) {
    by_element(a["y"], a["x"],
               [&](double x, int64_t i) { return x * dropout_factor(kDropout, state, i); });
  };
  table.push_back(
      {.name = "dropout",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"y", out, r, c}, {"x", in, r, c}};
       },
       .run = [](Backend& ops, const Operands& t) { ops.dropout(t["y"], t["x"], kDropout); },
       .meaning = dropped,
       .may_alias = {{"y", "x"}}});
  table.push_back(
      {.name = "add_dropout",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"y", out, r, c}, {"a", in, r, c}, {"b", in, r, c}};
       },
       .run = [](Backend& ops,
                 const Operands& t) { ops.add_dropout(t["y"], t["a"], t["b"], kDropout); },
       .meaning =
           [](Arrays& a, const StepState& state) {
             by_element(a["y"], a["b"], [&](double b, int64_t i) {
               return a["a"][i] + b * dropout_factor(kDropout, state, i);
             });
           },
       .may_alias = {{"y", "a"}}});
  for (const Gelu kind : {Gelu::tanh, Gelu::erf}) {
    const std::string suffix = kind == Gelu::tanh ? "_tanh" : "_erf";
    const auto forward = [kind](Arrays& a, const StepState&) {
      Array y = a["x"];
      by_element(y, a["x"], [&](double x, int64_t) { return gelu(x, kind); });
      return y;
    };
    table.push_back(
        {.name = "gelu_forward" + suffix,
         .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
           return {{"y", out, r, c}, {"x", in, r, c}};
         },
         .run = [kind](Backend& ops, const Operands& t) { ops.gelu_forward(t["y"], t["x"], kind); },
         .meaning = [forward](Arrays& a, const StepState& s) { a["y"] = forward(a, s); },
         .may_alias = {{"y", "x"}}});
    table.push_back(
        {.name = "gelu_backward" + suffix,
         .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
           return {{"dx", out, r, c}, {"dy", in, r, c}, {"x", in, r, c}};
         },
         .run = [kind](Backend& ops,
                       const Operands& t) { ops.gelu_backward(t["dx"], t["dy"], t["x"], kind); },
         .meaning =
             [kind](Arrays& a, const StepState&) {
               by_element(a["dx"], a["x"],
                          [&](double x, int64_t i) { return a["dy"][i] * gelu_slope(x, kind); });
             },
         .may_alias = {{"dx", "dy"}},
         .forward = forward,
         .gradients = {{"dx", "x"}}});
  }
  table.push_back({.name = "tanh_forward",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"y", out, r, c}, {"x", in, r, c}};
                   },
                   .run = [](Backend& ops, const Operands& t) { ops.tanh_forward(t["y"], t["x"]); },
                   .meaning =
                       [](Arrays& a, const StepState&) {
                         by_element(a["y"], a["x"], [](double x, int64_t) { return std::tanh(x); });
                       },
                   .may_alias = {{"y", "x"}}});
  // y is any number here, and not a tanh.
  table.push_back(
      {.name = "tanh_backward",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"dx", out, r, c}, {"dy", in, r, c}, {"y", in, r, c}};
       },
       .run = [](Backend& ops, const Operands& t) { ops.tanh_backward(t["dx"], t["dy"], t["y"]); },
       .meaning =
           [](Arrays& a, const StepState&) {
             by_element(a["dx"], a["y"],
                        [&](double y, int64_t i) { return a["dy"][i] * (1 - y * y); });
           },
       .may_alias = {{"dx", "dy"}}});
}

void add_products(Rows& table) {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const bool accumulate : {false, true}) {
        const Type type = accumulate ? Type::f32 : Type::activation;
        table.push_back({.name = std::string("matmul_") + (ta ? "t" : "n") + (tb ? "t" : "n") +
                                 (accumulate ? "_accumulate" : ""),
                         .operands = [=](int64_t r, int64_t c) -> std::vector<Operand> {
                           return {{"c", accumulate ? in_out : out, r, c, type},
                                   {"a", in, ta ? kInner : r, ta ? r : kInner},
                                   {"b", in, tb ? c : kInner, tb ? kInner : c}};
                         },
                         .run =
                             [=](Backend& ops, const Operands& t) {
                               ops.matmul(t["c"], ta ? t["a"].transposed() : t["a"],
                                          tb ? t["b"].transposed() : t["b"], accumulate);
                             },
                         .meaning =
                             [=](Arrays& a, const StepState&) {
                               matmul(a["c"], a["a"], ta, a["b"], tb, accumulate);
                             },
                         .noise = 64});
      }
  table.push_back(
      {.name = "bias_forward",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"y", in_out, r, c}, {"bias", in, 1, c}};
       },
       .run = [](Backend& ops, const Operands& t) { ops.bias_forward(t["y"], t.flat("bias")); },
       .meaning =
           [](Arrays& a, const StepState&) {
             Array& y = a["y"];
             for (int64_t i = 0; i < y.size(); ++i) y[i] += a["bias"][i % y.columns];
           }});
  table.push_back(
      {.name = "bias_backward",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"dbias", in_out, 1, c, Type::f32}, {"dy", in, r, c}};
       },
       .run = [](Backend& ops, const Operands& t) { ops.bias_backward(t.flat("dbias"), t["dy"]); },
       .meaning =
           [](Arrays& a, const StepState&) {
             const Array& dy = a["dy"];
             for (int64_t i = 0; i < dy.size(); ++i) a["dbias"][i % dy.columns] += dy[i];
           }});

  // x (r, kInner), w (kInner, c)
  const auto linear = [](Arrays& a, const StepState&) {
    Array y(a["x"].rows, a["w"].columns);
    matmul(y, a["x"], false, a["w"], false, false);
    for (int64_t i = 0; i < y.size(); ++i) y[i] += a["bias"][i % y.columns];
    return y;
  };
  table.push_back(
      {.name = "linear_forward",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"y", out, r, c}, {"x", in, r, kInner}, {"w", in, kInner, c}, {"bias", in, 1, c}};
       },
       .run = [](Backend& ops,
                 const Operands& t) { ops.linear_forward(t["y"], t["x"], t["w"], t.flat("bias")); },
       .meaning = [linear](Arrays& a, const StepState& s) { a["y"] = linear(a, s); },
       .composed =
           [](Backend& ops, const Operands& t) {
             ops.Backend::linear_forward(t["y"], t["x"], t["w"], t.flat("bias"));
           },
       .noise = 64,
       .intermediates = true});
  table.push_back({.name = "linear_backward",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"dx", out, r, kInner},
                             {"dw", in_out, kInner, c, Type::f32},
                             {"dbias", in_out, 1, c, Type::f32},
                             {"dy", in, r, c},
                             {"x", in, r, kInner},
                             {"w", in, kInner, c},
                             {"bias", in, 1, c}};
                   },
                   .run =
                       [](Backend& ops, const Operands& t) {
                         ops.linear_backward(t["dx"], t["dw"], t.flat("dbias"), t["dy"], t["x"],
                                             t["w"]);
                       },
                   .meaning =
                       [](Arrays& a, const StepState&) {
                         matmul(a["dx"], a["dy"], false, a["w"], true, false);
                         matmul(a["dw"], a["x"], true, a["dy"], false, true);
                         const Array& dy = a["dy"];
                         for (int64_t i = 0; i < dy.size(); ++i)
                           a["dbias"][i % dy.columns] += dy[i];
                       },
                   .composed =
                       [](Backend& ops, const Operands& t) {
                         ops.Backend::linear_backward(t["dx"], t["dw"], t.flat("dbias"), t["dy"],
                                                      t["x"], t["w"]);
                       },
                   .forward = linear,
                   .gradients = {{"dx", "x"}, {"dw", "w"}, {"dbias", "bias"}},
                   .noise = 64});
  for (const Gelu kind : {Gelu::tanh, Gelu::erf}) {
    const std::string suffix = kind == Gelu::tanh ? "" : "_erf";
    table.push_back({.name = "linear_gelu_forward" + suffix,
                     .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                       return {{"y", out, r, c},
                               {"pre", out, r, c},
                               {"x", in, r, kInner},
                               {"w", in, kInner, c},
                               {"bias", in, 1, c}};
                     },
                     .run =
                         [kind](Backend& ops, const Operands& t) {
                           ops.linear_gelu_forward(t["y"], t["pre"], t["x"], t["w"], t.flat("bias"),
                                                   kind);
                         },
                     .meaning =
                         [linear, kind](Arrays& a, const StepState& s) {
                           a["pre"] = linear(a, s);
                           by_element(a["y"], a["pre"],
                                      [&](double x, int64_t) { return gelu(a.round(x), kind); });
                         },
                     .composed =
                         [kind](Backend& ops, const Operands& t) {
                           ops.Backend::linear_gelu_forward(t["y"], t["pre"], t["x"], t["w"],
                                                            t.flat("bias"), kind);
                         },
                     .noise = 64,
                     .intermediates = true});
    // pre (r, c), w (c, kInner), dy (r, kInner)
    const auto gelu_backward = [kind](Backend& ops, const Operands& t, bool recompute,
                                      bool composed) {
      const auto call = [&](auto&& f) {
        f(t["dpre"], t["dw"], t.flat("dbias"), t.flat("dpre_bias"), t["dy"], t["x"], t["pre"],
          t["w"], kind, recompute);
      };
      if (composed)
        call([&](auto... x) { ops.Backend::gelu_linear_backward(x...); });
      else
        call([&](auto... x) { ops.gelu_linear_backward(x...); });
    };
    for (const bool recompute : {false, true})
      table.push_back(
          {.name = (recompute ? "gelu_linear_backward_recompute" : "gelu_linear_backward") + suffix,
           .operands = [=](int64_t r, int64_t c) -> std::vector<Operand> {
             return {{"dpre", out, r, c},
                     {"dw", in_out, c, kInner, Type::f32},
                     {"dbias", in_out, 1, kInner, Type::f32},
                     {"dy", in, r, kInner},
                     {"x", recompute ? out : in, r, c},
                     {"pre", in, r, c},
                     {"w", in, c, kInner},
                     {"dpre_bias", in_out, 1, c, Type::f32}};
           },
           .run = [=](Backend& ops, const Operands& t) { gelu_backward(ops, t, recompute, false); },
           .meaning =
               [=](Arrays& a, const StepState&) {
                 if (recompute)
                   by_element(a["x"], a["pre"],
                              [&](double x, int64_t) { return a.round(gelu(x, kind)); });
                 matmul(a["dpre"], a["dy"], false, a["w"], true, false);
                 by_element(a["dpre"], a["pre"], [&](double x, int64_t i) {
                   return a.round(a.round(a["dpre"][i]) * gelu_slope(x, kind));
                 });
                 matmul(a["dw"], a["x"], true, a["dy"], false, true);
                 const Array &dy = a["dy"], &dpre = a["dpre"];
                 for (int64_t i = 0; i < dy.size(); ++i) a["dbias"][i % dy.columns] += dy[i];
                 for (int64_t i = 0; i < dpre.size(); ++i)
                   a["dpre_bias"][i % dpre.columns] += dpre[i];
               },
           .composed = [=](Backend& ops,
                           const Operands& t) { gelu_backward(ops, t, recompute, true); },
           .noise = 256,  // dpre_bias may be smaller than what it adds up
           .intermediates = true});
  }
}

}  // namespace

StepState test_state() {
  StepState state;
  state.seed = 0x123456789abcdef0u;
  state.step = 7, state.micro_step = 2;
  state.lr = 0.02f, state.loss_scale = 0.125f, state.grad_scale = 0.5f;
  state.decay_scale = 0.75f, state.momentum_scale = 0.875f, state.average = 0.25f;
  return state;
}

const std::vector<OpRow>& op_table() {
  static const Rows table = [] {
    Rows rows;
    add_elementwise(rows);
    add_products(rows);
    add_normalisation(rows);
    add_ends(rows);
    add_updates(rows);
    add_matrix_batches(rows);
    return rows;
  }();
  return table;
}

}  // namespace strobe::reference
