// Keys that somebody set and that the chosen optimizer or schedule does not read.
#pragma once

#include <string>
#include <vector>

#include "strobe/config/load.h"

namespace strobe {

/// One sentence a key, of those that `said` sets, by the command line to anything but "auto" or by
/// a file to another value than the default, and that the optimizers, the schedule, the curves or
/// averages of `config` have no use for. The optimizers of its groups count too. Throws Error for
/// those that there are not.
std::vector<std::string> unread_keys(const Config& config, const LoadedConfig& said);

/// One sentence a key: optimizer.beta1 and beta2 that `loaded` has from its recipe, although its
/// command line changes the optimizer of that recipe, `base`, to one with another default.
std::vector<std::string> inherited_betas(const LoadedConfig& loaded, const Config& base);

}  // namespace strobe
