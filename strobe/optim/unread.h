// Keys that somebody set and that the chosen optimizer or schedule does not read, or that were set
// for another optimizer.
#pragma once

#include <string>
#include <vector>

#include "strobe/config/load.h"

namespace strobe {

/// One sentence a key, of those that `said` sets, by the command line to anything but "auto" or by
/// a file to another value than the default, and that the optimizers, the schedule, the curves or
/// averages of `config` have no use for; and of optimizer.beta1 and beta2 that `config` has from
/// `base`, what it is without the command line, for an optimizer that the command line chose and
/// that has another default. The optimizers of its groups count too. Throws Error for those that
/// there are not.
std::vector<std::string> unread_keys(const Config& config, const LoadedConfig& said,
                                     const Config& base);

}  // namespace strobe
