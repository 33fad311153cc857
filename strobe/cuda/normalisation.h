// Layer norm on CUDA, alone and fused with the residual addition and its dropout, as ops/backend.h
// defines them. A backward needs scratch for partial sums of dweight, dbias and the branch's bias:
// 12 C bytes for each of its blocks (op_plans.h): two for each multiprocessor at C = 768, 16 MiB at
// most elsewhere.
#pragma once

#include "strobe/cuda/device.h"

namespace strobe::cuda {

void layernorm_forward(const Device& device, Tensor y, Tensor mean, Tensor rstd, Tensor x,
                       Tensor weight, Tensor bias, float eps);
void layernorm_backward(const Device& device, Tensor dx, Tensor dweight, Tensor dbias, Tensor dy,
                        Tensor x, Tensor weight, Tensor mean, Tensor rstd, Tensor dresidual,
                        const NormAgain& again);
void add_layernorm_forward(const Device& device, Tensor sum, Tensor y, Tensor mean, Tensor rstd,
                           Tensor residual, Tensor branch, Tensor weight, Tensor bias, float eps,
                           Dropout dropout);
void add_layernorm_backward(const Device& device, Tensor dresidual, Tensor dbranch, Tensor dweight,
                            Tensor dbias, Tensor branch_bias, Tensor dy, Tensor dsum, Tensor sum,
                            Tensor weight, Tensor mean, Tensor rstd, Dropout dropout,
                            const NormAgain& again, NormPlace place);

}  // namespace strobe::cuda
