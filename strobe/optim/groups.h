// Parameter groups: optimizers and options by patterns of names.
#pragma once

#include "strobe/optim/optimizer.h"

namespace strobe {

/// One group of config.groups, or what is left (no patterns, the last one).
struct ParamGroup {
  std::vector<std::string> patterns;  // alternatives; '*' stands for any text
  OptimizerConfig config;             // its own, without groups; lr_scale set
  std::vector<std::string> said;      // options that its text sets

  bool has(const std::string& name) const;
};

/// Throws Error for groups that cannot be read.
std::vector<ParamGroup> parse_groups(const OptimizerConfig& config);

std::unique_ptr<Optimizer> make_grouped_optimizer(const OptimizerConfig& config);

}  // namespace strobe
