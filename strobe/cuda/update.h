// The gradient norm and parameter updates on CUDA, as ops/backend.h defines them, over all tensors
// in one launch for every few hundred. Tables of tensors travel as kernel parameters, so that a
// captured launch carries its own.
//
// Scratch: 8 bytes for each 16384 elements and each tensor (grad_norm, normalize), 16 bytes
// (update); for each matrix that is scaled by its moments 8 bytes a row, a column for each 256 rows
// and 16 for each 4096 elements: as many go together as there is room for.
#pragma once

#include <span>

#include "strobe/cuda/device.h"

namespace strobe::cuda {

void grad_norm(const Device& device, std::span<const Tensor> grads, float max_norm);
void update(const Device& device, const UpdateRule& rule, std::span<const UpdateTarget> targets);
void momentum(const Device& device, Tensor u, Tensor m, Tensor grad, float beta, bool nesterov);
void normalize(const Device& device, Tensor y, Tensor x, float eps);
void clamp(const Device& device, Tensor x, float limit);
void scale_by_moments(const Device& device, Tensor u, Tensor rows, Tensor columns, Tensor x,
                      const MomentScaling& op);
void orthogonalize(const Device& device, Tensor x, float scale, DType dtype, Tensor workspace);
int64_t orthogonalize_workspace_bytes(int64_t n, int64_t rows, int64_t columns, DType dtype);
void apply_update(const Device& device, const UpdateTarget& target, Tensor u);
void momenta(const Device& device, Tensor u, std::span<const UpdateTarget> targets, float beta,
             bool nesterov);
void scale_each_by_moments(const Device& device, Tensor u, std::span<const UpdateTarget> targets,
                           const MomentScaling& op);
void apply_updates(const Device& device, std::span<const UpdateTarget> targets, Tensor u);

}  // namespace strobe::cuda
