#include "strobe/optim/matrix_optimizer.h"

#include <algorithm>

#include "strobe/core/arena.h"
#include "strobe/core/error.h"

namespace strobe {

namespace {

constexpr double kDefaultMomentum = 0.95, kDefaultRestLr = 6e-4;
constexpr int64_t kBatchElements = int64_t{1} << 25;  // of matrices that go together

int64_t width_of(const Param& param) { return param.value.dim(1) / param.maps; }

// Matrices in batches of one shape, in order, none of them larger than it must be.
std::vector<std::vector<const Param*>> batches_of(std::span<Param* const> params) {
  std::vector<std::vector<const Param*>> out;
  for (const Param* param : params) {
    if (param->kind != ParamKind::matrix) continue;
    const auto takes = [&](const std::vector<const Param*>& batch) {
      int64_t elements = param->value.numel();
      for (const Param* other : batch) elements += other->value.numel();
      return elements <= kBatchElements && batch[0]->value.dim(0) == param->value.dim(0) &&
             width_of(*batch[0]) == width_of(*param) &&
             batch[0]->compute.dtype == param->compute.dtype;
    };
    const auto found = std::find_if(out.begin(), out.end(), takes);
    if (found == out.end())
      out.push_back({param});
    else
      found->push_back(param);
  }
  return out;
}

int64_t parts_in(std::span<const Param* const> batch) {
  int64_t parts = 0;
  for (const Param* param : batch) parts += param->maps;
  return parts;
}

}  // namespace

std::vector<OwnOption> matrix_options() {
  std::vector<OwnOption> out = {{"momentum", fmt::format("{}", kDefaultMomentum)},
                                {"embedding_lr", fmt::format("{}", kDefaultRestLr)}};
  for (const OwnOption& option : options_of<AdamWRule>()) out.push_back(option);
  return out;
}

MatrixOptimizer::MatrixOptimizer(const OptimizerConfig& config)
    : config_(config),
      momentum_(static_cast<float>(config.momentum.value_or(kDefaultMomentum))),
      rest_lr_(config.embedding_lr.value_or(kDefaultRestLr)),
      rest_(config) {
  if (!(config.lr > 0))
    fail("optimizer.lr: {} needs a rate above 0, found {}", config.name, config.lr);
}

std::vector<Tensor> MatrixOptimizer::states(const Param& param) const {
  if (param.kind != ParamKind::matrix) return rest_.states(param);
  std::vector<Tensor> out = {state_like(param)};
  for (const Tensor& more : more_states(param)) out.push_back(more);
  return out;
}

int64_t MatrixOptimizer::workspace_bytes(const Backend& ops, std::span<Param* const> params) const {
  int64_t most = 0;
  for (const auto& batch : batches_of(params)) {
    const int64_t n = parts_in(batch), rows = batch[0]->value.dim(0), width = width_of(*batch[0]);
    const DType dtype = batch[0]->compute.dtype;
    most = std::max(most, n * rows * width * size_of(direction_dtype(ops, dtype)) +
                              direct_workspace_bytes(ops, n, rows, width, dtype) +
                              2 * Arena::kAlignment);
  }
  return most;
}

void MatrixOptimizer::step(Backend& ops, std::span<Param* const> params, Tensor workspace) {
  for (const auto& batch : batches_of(params)) update_batch(ops, batch, workspace);
  std::vector<Param*> rest;
  for (Param* param : params)
    if (param->kind != ParamKind::matrix) rest.push_back(param);
  rest_.update(ops, rest, rest_lr_);
}

UpdateTarget MatrixOptimizer::part_of(const Param& param, int64_t i, int64_t width) const {
  UpdateTarget part = update_target(param, config_);
  for (Tensor* x : {&part.value, &part.compute, &part.grad}) *x = x->narrow(1, i * width, width);
  part.state0 = param.state[0].narrow(1, i * width, width);
  if (param.state.size() > 1) part.state1 = param.state[1].narrow(0, i * width, width);
  return part;
}

void MatrixOptimizer::update_batch(Backend& ops, std::span<const Param* const> batch,
                                   Tensor workspace) const {
  Arena arena(workspace.data, workspace.bytes());
  const int64_t n = parts_in(batch), rows = batch[0]->value.dim(0), width = width_of(*batch[0]);
  const DType dtype = batch[0]->compute.dtype;
  const Tensor updates = arena.allocate("updates", direction_dtype(ops, dtype), {n, rows, width});
  std::vector<UpdateTarget> parts;
  for (const Param* param : batch)
    for (int64_t i = 0; i < param->maps; ++i) parts.push_back(part_of(*param, i, width));
  ops.momenta(updates, parts, momentum_, /*nesterov=*/true);
  const int64_t bytes = direct_workspace_bytes(ops, n, rows, width, dtype);
  direct(ops, updates, parts, dtype,
         bytes > 0 ? arena.allocate("direction", DType::u8, {bytes}) : Tensor{});
  ops.apply_updates(parts, updates);
}

}  // namespace strobe
