// A configuration made whole by the data it meets, and what follows from it.
#pragma once

#include <string>
#include <vector>

#include "strobe/config/config.h"
#include "strobe/data/batches.h"
#include "strobe/train/engine.h"
#include "strobe/train/run_data.h"

namespace strobe {

/// Fills in what depends on the data, refuses sizes that do not fit it, and makes paths whole, so
/// that the run can be used from any directory.
Config resolve(Config config, const RunData& data);

Packing packing_of(const Config& config);

/// The algorithm that a resolved configuration's attention runs by: what "automatic" comes to.
AttentionAlgorithm chosen_attention(const Config& config, Backend& ops, DType dtype);

/// `most_sequences`: see EngineShape.
EngineShape training_shape(const Config& config, const RunData& data, int64_t most_sequences);

/// Keys whose values differ. Throws Error if the checkpoints of `run` depend on one of them.
std::vector<std::string> changed_keys(const std::string& run, const Config& was, const Config& now);

}  // namespace strobe
