// Batches of random tokens, shaped as a run's would be.
#pragma once

#include "strobe/config/config.h"
#include "strobe/data/batches.h"

namespace strobe {

/// Blocks for GPT-2; for BERT's masked words the same, with a share mask.rate of rows chosen; for
/// its other heads texts of about `mean_length` tokens, log-normally distributed (sigma 0.6), from
/// 5 to the sequence length. `number` says which of such batches.
HostBatch synthetic_batch(const Config& config, int64_t vocab, double mean_length, uint32_t number);

/// Whether texts have lengths of their own, so that batches differ in shape.
bool lengths_vary(const Config& config);

}  // namespace strobe
