#include "tests/reference/transformers.h"

#include <algorithm>
#include <cmath>

namespace strobe::reference {

TransformersModel::TransformersModel(const std::string& file, std::string prefix)
    : file_(SafetensorsFile::open(file)), prefix_(std::move(prefix)) {}

std::span<const float> TransformersModel::floats(const std::string& name) const {
  const Tensor t = file_.tensor(prefix_ + name);
  return {t.as<float>(), static_cast<size_t>(t.numel())};
}

void TransformersModel::load(Engine& engine) const {
  for (Param* param : engine.params()) {
    const auto source = floats("weight." + param->name);
    std::vector<float> values(static_cast<size_t>(param->value.numel()), 0.0f);
    ASSERT_EQ(source.size(), static_cast<size_t>(param->stored(param->value).numel()));
    std::copy(source.begin(), source.end(), values.begin());
    engine.ops().upload(param->value, values.data());
  }
  refresh_compute(engine.ops(), engine.model());
}

void TransformersModel::expect_gradients(Engine& engine, double tolerance) const {
  for (Param* param : engine.params()) {
    const std::vector<float> grad = download(engine, param->grad);
    const auto want = floats("grad." + param->name);
    EXPECT_LT(relative_error(grad, want), tolerance) << param->name;
    for (size_t i = want.size(); i < grad.size(); ++i) ASSERT_EQ(grad[i], 0) << "padding";
  }
}

std::vector<float> download(Engine& engine, Tensor tensor) {
  std::vector<float> out(static_cast<size_t>(tensor.numel()));
  engine.ops().download(out.data(), tensor);
  return out;
}

std::vector<float> all_values(Engine& engine, Tensor Param::*what) {
  std::vector<float> out;
  for (Param* param : engine.params()) {
    const std::vector<float> values = download(engine, param->*what);
    out.insert(out.end(), values.begin(), values.end());
  }
  return out;
}

double relative_error(std::span<const float> got, std::span<const float> want) {
  double worst = 0, scale = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - want[i]);
    if (!(difference <= 1e30)) return INFINITY;
    worst = std::max(worst, difference);
    scale = std::max(scale, std::abs(static_cast<double>(want[i])));
  }
  // A key's bias moves all logits of a query alike: its gradient is 0 but for rounding.
  return worst / std::max(scale, 1e-6);
}

}  // namespace strobe::reference
