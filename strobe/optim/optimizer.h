// Optimizers. An elementwise one is a file of ops/rules/ and its line in ops/update_rules.h; any
// other is a file here and a line in registry.cpp.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "strobe/config/config.h"
#include "strobe/core/param.h"
#include "strobe/ops/backend.h"
#include "strobe/optim/own_option.h"

namespace strobe {

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// The states that are kept for `param`: f32 tensors without memory, of whatever shapes.
  virtual std::vector<Tensor> states(const Param& param) const = 0;
  /// Gives states that do not begin at 0 their first values, once parameters have theirs.
  virtual void initialise(Backend&, std::span<Param* const>) const {}
  /// Workspace of step(), in bytes.
  virtual int64_t workspace_bytes(const Backend& ops, std::span<Param* const> params) const = 0;
  /// One update of all parameters. Learning rate, step and clipping factor are read from the
  /// backend's StepState; nothing happens while it says halt.
  virtual void step(Backend& ops, std::span<Param* const> params, Tensor workspace) = 0;
  /// Whether the model is to be used with other weights than those that gradients are taken at.
  virtual bool averages(const Param&) const { return false; }
  /// out (f32, of the parameter's shape) = the weights to be used, where averages() is true.
  virtual void write_average(Backend&, const Param&, Tensor) const {}
};

/// A line of the catalogue.
struct OptimizerEntry {
  std::string name, summary, formula;
  std::vector<OwnOption> options;  // keys that it reads and not every optimizer
  std::string source;
  std::unique_ptr<Optimizer> (*make)(const OptimizerConfig& config);
};

std::span<const OptimizerEntry> optimizers();

/// Throws Error, with the nearest known name, for an unknown one, for options out of range, and
/// for groups that cannot be read.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config);

/// Throws Error if a pattern of config.groups fits none of the parameters.
void check_groups(const OptimizerConfig& config, std::span<Param* const> params);

}  // namespace strobe
