// What each op means, in double precision and in the plainest form.
#pragma once

#include "strobe/ops/backend.h"
#include "tests/reference/arrays.h"

namespace strobe::reference {

double gelu(double x, Gelu kind);
/// Its derivative.
double gelu_slope(double x, Gelu kind);

/// c (+)= op(a) op(b), where op transposes if asked.
void matmul(Array& c, const Array& a, bool transpose_a, const Array& b, bool transpose_b,
            bool accumulate);

/// What element i of a flat tensor is multiplied by.
double dropout_factor(Dropout dropout, const StepState& state, int64_t i);

void layernorm(Array& y, Array& mean, Array& rstd, const Array& x, const Array& weight,
               const Array& bias, double eps);
/// dx = d(layernorm); dweight and dbias accumulate. mean and rstd come from x.
void layernorm_backward(Array& dx, Array& dweight, Array& dbias, const Array& dy, const Array& x,
                        const Array& weight, double eps);

/// losses, and dlogits = scale d(loss)/d(logits).
void cross_entropy(Array& losses, Array& dlogits, const Array& logits, const Array& targets,
                   int64_t vocab, double scale, double label_smoothing = 0, double z_loss = 0);

}  // namespace strobe::reference
