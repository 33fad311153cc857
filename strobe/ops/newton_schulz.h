// The iteration that brings a matrix near to an orthogonal one (Backend::orthogonalize): K. Jordan
// et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
#pragma once

namespace strobe::newton_schulz {

/// Of the odd quintic a x + b x^3 + c x^5 whose iterates bring singular values near 1 soonest.
constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
constexpr int kIterations = 5;
/// Added to the norm that a matrix is divided by first.
constexpr float kNormEps = 1e-7f;

}  // namespace strobe::newton_schulz
