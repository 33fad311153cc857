// Rows of the op table: normalisation, embedding and loss, update.
#include <cmath>

#include "tests/reference/formulas.h"
#include "tests/reference/op_table.h"

namespace strobe::reference {

namespace {

constexpr Dropout kDropout = {.p = 0.1f, .site = 3};
constexpr float kEps = 1e-5f;
using enum Role;

Array normalised(Arrays& a, const Array& x) {
  Array y(x.rows, x.columns), mean(1, x.rows), rstd(1, x.rows);
  layernorm(y, mean, rstd, x, a["weight"], a["bias"], kEps);
  return y;
}

// What a forward saved, for rows that test a backward alone: set by the row's own run().
void save_statistics(Backend& ops, const Operands& t, const std::string& x) {
  ops.layernorm_forward(t["scratch"], t.flat("mean"), t.flat("rstd"), t[x], t.flat("weight"),
                        t.flat("bias"), kEps);
}

}  // namespace

void add_normalisation(std::vector<OpRow>& table) {
  table.push_back(
      {.name = "layernorm_forward",
       .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
         return {{"y", out, r, c}, {"mean", out, 1, r, Type::f32}, {"rstd", out, 1, r, Type::f32},
                 {"x", in, r, c},  {"weight", in, 1, c},           {"bias", in, 1, c}};
       },
       .run =
           [](Backend& ops, const Operands& t) {
             ops.layernorm_forward(t["y"], t.flat("mean"), t.flat("rstd"), t["x"], t.flat("weight"),
                                   t.flat("bias"), kEps);
           },
       .meaning =
           [](Arrays& a, const StepState&) {
             layernorm(a["y"], a["mean"], a["rstd"], a["x"], a["weight"], a["bias"], kEps);
           },
       .noise = 64});
  for (const bool residual : {false, true})
    table.push_back(
        {.name = residual ? "layernorm_backward_residual" : "layernorm_backward",
         .operands = [=](int64_t r, int64_t c) -> std::vector<Operand> {
           std::vector<Operand> all = {{"dx", out, r, c},
                                       {"dweight", in_out, 1, c, Type::f32},
                                       {"dbias", in_out, 1, c, Type::f32},
                                       {"scratch", scratch, r, c},
                                       {"mean", scratch, 1, r, Type::f32},
                                       {"rstd", scratch, 1, r, Type::f32},
                                       {"dy", in, r, c},
                                       {"x", in, r, c},
                                       {"weight", in, 1, c},
                                       {"bias", in, 1, c},
                                       {"dresidual", in, r, c}};
           if (residual) all.push_back({"y", out, r, c});
           return all;
         },
         .run =
             [=](Backend& ops, const Operands& t) {
               save_statistics(ops, t, "x");
               ops.layernorm_backward(t["dx"], t.flat("dweight"), t.flat("dbias"), t["dy"], t["x"],
                                      t.flat("weight"), t.flat("mean"), t.flat("rstd"),
                                      residual ? t["dresidual"] : Tensor{},
                                      {residual ? t["y"] : Tensor{}, t.flat("bias"), kEps});
             },
         .meaning =
             [=](Arrays& a, const StepState&) {
               layernorm_backward(a["dx"], a["dweight"], a["dbias"], a["dy"], a["x"], a["weight"],
                                  kEps);
               if (!residual) return;
               a["y"] = normalised(a, a["x"]);
               for (int64_t i = 0; i < a["dx"].size(); ++i) a["dx"][i] += a["dresidual"][i];
             },
         .may_alias = residual
                          ? std::vector<std::pair<std::string, std::string>>{{"dx", "dresidual"}}
                          : std::vector<std::pair<std::string, std::string>>{{"dx", "dy"}},
         .forward = residual ? std::function<Array(Arrays&, const StepState&)>{}
                             : [](Arrays& a, const StepState&) { return normalised(a, a["x"]); },
         .gradients = {{"dx", "x"}, {"dweight", "weight"}, {"dbias", "bias"}},
         .noise = 256,
         .least_columns = 3});
  const auto add_forward = [](Backend& ops, const Operands& t, bool composed) {
    const auto call = [&](auto&& f) {
      f(t["sum"], t["y"], t.flat("mean"), t.flat("rstd"), t["residual"], t["branch"],
        t.flat("weight"), t.flat("bias"), kEps, kDropout);
    };
    if (composed)
      call([&](auto... x) { ops.Backend::add_layernorm_forward(x...); });
    else
      call([&](auto... x) { ops.add_layernorm_forward(x...); });
  };
  table.push_back({.name = "add_layernorm_forward",
                   .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
                     return {{"sum", out, r, c},
                             {"y", out, r, c},
                             {"mean", out, 1, r, Type::f32},
                             {"rstd", out, 1, r, Type::f32},
                             {"residual", in, r, c},
                             {"branch", in, r, c},
                             {"weight", in, 1, c},
                             {"bias", in, 1, c}};
                   },
                   .run = [=](Backend& ops, const Operands& t) { add_forward(ops, t, false); },
                   .meaning =
                       [](Arrays& a, const StepState& state) {
                         Array& sum = a["sum"];
                         for (int64_t i = 0; i < sum.size(); ++i)
                           sum[i] = a.round(a["residual"][i] +
                                            a["branch"][i] * dropout_factor(kDropout, state, i));
                         layernorm(a["y"], a["mean"], a["rstd"], sum, a["weight"], a["bias"], kEps);
                       },
                   .may_alias = {{"sum", "residual"}, {"y", "branch"}},
                   .composed = [=](Backend& ops, const Operands& t) { add_forward(ops, t, true); },
                   .noise = 64,
                   .intermediates = true});
  const auto add_backward = [](Backend& ops, const Operands& t, NormPlace place, bool composed) {
    save_statistics(ops, t, "sum");
    const auto call = [&](auto&& f) {
      f(t["dresidual"], t["dbranch"], t.flat("dweight"), t.flat("dbias"), t.flat("branch_bias"),
        t["dy"], t["dsum"], t["sum"], t.flat("weight"), t.flat("mean"), t.flat("rstd"), kDropout,
        place, NormAgain{t["y"], t.flat("bias"), kEps});
    };
    if (composed)
      call([&](auto... x) { ops.Backend::add_layernorm_backward(x...); });
    else
      call([&](auto... x) { ops.add_layernorm_backward(x...); });
  };
  for (const NormPlace place : {NormPlace::pre, NormPlace::post})
    table.push_back(
        {.name = place == NormPlace::pre ? "add_layernorm_backward" : "add_layernorm_backward_post",
         .operands = [](int64_t r, int64_t c) -> std::vector<Operand> {
           return {{"dresidual", out, r, c},
                   {"dbranch", out, r, c},
                   {"dweight", in_out, 1, c, Type::f32},
                   {"dbias", in_out, 1, c, Type::f32},
                   {"branch_bias", in_out, 1, c, Type::f32},
                   {"y", out, r, c},
                   {"scratch", scratch, r, c},
                   {"mean", scratch, 1, r, Type::f32},
                   {"rstd", scratch, 1, r, Type::f32},
                   {"dy", in, r, c},
                   {"dsum", in, r, c},
                   {"sum", in, r, c},
                   {"weight", in, 1, c},
                   {"bias", in, 1, c}};
         },
         .run = [=](Backend& ops, const Operands& t) { add_backward(ops, t, place, false); },
         .meaning =
             [=](Arrays& a, const StepState& state) {
               a["y"] = normalised(a, a["sum"]);
               Array &d = a["dresidual"], dy = a["dy"];
               const bool joins = place == NormPlace::post;
               for (int64_t i = 0; i < dy.size() && joins; ++i) dy[i] += a["dsum"][i];
               layernorm_backward(d, a["dweight"], a["dbias"], dy, a["sum"], a["weight"], kEps);
               for (int64_t i = 0; i < d.size(); ++i) {
                 d[i] = a.round(d[i] + (joins ? 0 : a["dsum"][i]));
                 a["dbranch"][i] = d[i] * dropout_factor(kDropout, state, i);
                 a["branch_bias"][i % d.columns] += a.round(a["dbranch"][i]);
               }
             },
         .may_alias = {{"dresidual", "dsum"}},
         .composed = [=](Backend& ops, const Operands& t) { add_backward(ops, t, place, true); },
         .noise = 256,
         .intermediates = true,
         .least_columns = place == NormPlace::pre ? 1 : 3});
}

void add_ends(std::vector<OpRow>& table) {
  constexpr int64_t kRows = 11;  // of a table: ids repeat
  for (const int tables : {1, 2, 3})
    table.push_back(
        {.name = "embedding_forward_" + std::to_string(tables),
         .operands = [=](int64_t r, int64_t c) -> std::vector<Operand> {
           std::vector<Operand> all = {{"y", out, r, c}};
           for (int i = 0; i < tables; ++i) {
             all.push_back({"table" + std::to_string(i), in, kRows, c});
             all.push_back({"ids" + std::to_string(i), in, 1, r, Type::ids, kRows});
           }
           return all;
         },
         .run =
             [=](Backend& ops, const Operands& t) {
               std::vector<EmbeddingTable> all;
               for (int i = 0; i < tables; ++i)
                 all.push_back({t["table" + std::to_string(i)], t.flat("ids" + std::to_string(i))});
               ops.embedding_forward(t["y"], all);
             },
         .meaning =
             [=](Arrays& a, const StepState&) {
               Array& y = a["y"];
               for (int64_t i = 0; i < y.rows; ++i)
                 for (int64_t j = 0; j < y.columns; ++j) {
                   y(i, j) = 0;
                   for (int k = 0; k < tables; ++k) {
                     const std::string n = std::to_string(k);
                     y(i, j) += a["table" + n](static_cast<int64_t>(a["ids" + n][i]), j);
                   }
                 }
             }});
  for (const int64_t rows : {kRows, int64_t{2}})
    table.push_back({.name = rows == 2 ? "embedding_backward_2" : "embedding_backward",
                     .operands = [=](int64_t r, int64_t c) -> std::vector<Operand> {
                       return {{"dtable", in_out, rows, c, Type::f32},
                               {"dy", in, r, c},
                               {"ids", in, 1, r, Type::ids, rows}};
                     },
                     .run =
                         [](Backend& ops, const Operands& t) {
                           ops.embedding_backward(t["dtable"], t["dy"], t.flat("ids"));
                         },
                     .meaning =
                         [](Arrays& a, const StepState&) {
                           const Array& dy = a["dy"];
                           for (int64_t i = 0; i < dy.rows; ++i)
                             for (int64_t j = 0; j < dy.columns; ++j)
                               a["dtable"](static_cast<int64_t>(a["ids"][i]), j) += dy(i, j);
                         },
                     .noise = 64});
  // The last fifth of the logits is padding.
  const auto real = [](int64_t columns) { return std::max<int64_t>(1, columns * 4 / 5); };
  for (const bool plain : {true, false})
    table.push_back({.name = plain ? "cross_entropy" : "cross_entropy_smoothed",
                     .operands = [=](int64_t r, int64_t c) -> std::vector<Operand> {
                       return {{"losses", out, 1, r, Type::f32},
                               {"dlogits", out, r, c},
                               {"logits", in, r, c},
                               {"targets", in, 1, r, Type::ids, real(c), true}};
                     },
                     .run =
                         [=](Backend& ops, const Operands& t) {
                           CrossEntropy op = {.vocab = real(t["logits"].dim(1))};
                           if (!plain) op.label_smoothing = 0.1f, op.z_loss = 0.02f;
                           ops.cross_entropy(t.flat("losses"), t["dlogits"], t["logits"],
                                             t.flat("targets"), op);
                         },
                     .meaning =
                         [=](Arrays& a, const StepState& state) {
                           cross_entropy(a["losses"], a["dlogits"], a["logits"], a["targets"],
                                         real(a["logits"].columns), state.loss_scale,
                                         plain ? 0 : double{0.1f}, plain ? 0 : double{0.02f});
                         },
                     .may_alias = {{"dlogits", "logits"}},
                     .noise = 64});
  table.push_back({.name = "squared_error",
                   .operands = [](int64_t r, int64_t) -> std::vector<Operand> {
                     return {{"losses", out, 1, r, Type::f32},
                             {"dx", out, 1, r, Type::f32},
                             {"x", in, 1, r, Type::f32},
                             {"targets", in, 1, r, Type::f32}};
                   },
                   .run =
                       [](Backend& ops, const Operands& t) {
                         ops.squared_error(t.flat("losses"), t.flat("dx"), t.flat("x"),
                                           t.flat("targets"));
                       },
                   .meaning =
                       [](Arrays& a, const StepState& state) {
                         for (int64_t i = 0; i < a["x"].size(); ++i) {
                           const double difference = a["x"][i] - a["targets"][i];
                           a["losses"][i] = difference * difference;
                           a["dx"][i] = 2 * difference * state.loss_scale;
                         }
                       },
                   .noise = 64});
  for (const bool biased : {false, true})
    table.push_back(
        {.name = biased ? "linear_cross_entropy_bias" : "linear_cross_entropy",
         .operands = [=](int64_t r, int64_t c) -> std::vector<Operand> {
           return {{"losses", out, 1, r, Type::f32},
                   {"dx", out, r, 24},
                   {"dw", in_out, c, 24, Type::f32},
                   {"dbias", in_out, 1, c, Type::f32},
                   {"workspace", scratch, r, c},
                   {"x", in, r, 24},
                   {"w", in, c, 24},
                   {"bias", in, 1, c},
                   {"targets", in, 1, r, Type::ids, real(c), true}};
         },
         .run =
             [=](Backend& ops, const Operands& t) {
               const Tensor workspace = t["workspace"];
               ops.linear_cross_entropy(t.flat("losses"), t["dx"], t["dw"],
                                        biased ? t.flat("dbias") : Tensor{}, t["x"], t["w"],
                                        biased ? t.flat("bias") : Tensor{}, t.flat("targets"),
                                        {.vocab = real(t["w"].dim(0))},
                                        Tensor(workspace.data, DType::u8, {workspace.bytes()}));
             },
         .meaning =
             [=](Arrays& a, const StepState& state) {
               Array logits(a["x"].rows, a["w"].rows), dlogits = logits;
               matmul(logits, a["x"], false, a["w"], true, false);
               if (biased)
                 for (int64_t i = 0; i < logits.size(); ++i)
                   logits[i] = a.round(a.round(logits[i]) + a["bias"][i % logits.columns]);
               cross_entropy(a["losses"], dlogits, logits, a["targets"], real(a["w"].rows),
                             state.loss_scale);
               for (double& x : dlogits.values) x = a.round(x);
               if (biased)
                 for (int64_t i = 0; i < dlogits.size(); ++i)
                   a["dbias"][i % dlogits.columns] += dlogits[i];
               matmul(a["dx"], dlogits, false, a["w"], false, false);
               matmul(a["dw"], dlogits, true, a["x"], false, true);
             },
         .noise = 256,
         .intermediates = true,
         // Logits of up to 32 that are rounded move probabilities by as much.
         .intermediate_noise = 16});
}

}  // namespace strobe::reference
