// Optimizers. Each is one file and one line in registry.cpp.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "strobe/config/config.h"
#include "strobe/core/param.h"
#include "strobe/ops/backend.h"

namespace strobe {

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// How many states, f32 and of the parameter's shape, are kept for `param`.
  virtual int states(const Param& param) const = 0;
  /// Workspace of step(), in bytes.
  virtual int64_t workspace_bytes(std::span<Param* const> params) const = 0;
  /// One update of all parameters. Learning rate, step and clipping factor are read from the
  /// backend's StepState; nothing happens while it says halt.
  virtual void step(Backend& ops, std::span<Param* const> params, Tensor workspace) = 0;
};

/// A line of the catalogue.
struct OptimizerEntry {
  std::string name, summary, source;
  std::unique_ptr<Optimizer> (*make)(const OptimizerConfig& config);
};

std::span<const OptimizerEntry> optimizers();

/// Throws Error, with the nearest known name, for an unknown one, and for options out of range.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config);

}  // namespace strobe
