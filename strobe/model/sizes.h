// What the models share before they have parts: sizes that are possible, tables of embeddings.
#pragma once

#include <span>
#include <string>

#include "strobe/config/config.h"
#include "strobe/core/param.h"

namespace strobe {

/// Throws Error for sizes that make no model.
const ModelConfig& checked_sizes(const ModelConfig& model);

/// What model.recompute may be for this kind, from what keeps most to what keeps least.
std::span<const std::string> recompute_levels(const ModelConfig& model);

/// A table of `rows` and `padding` rows.
Param embedding_param(const std::string& name, int64_t rows, int64_t channels, int64_t padding);

/// Rows that make a vocabulary whole tiles of a product.
int64_t vocab_padding(int64_t vocab);

struct LossOptions {
  float label_smoothing = 0, z_loss = 0;
};
/// Throws Error for weights that make no loss.
LossOptions checked_loss(const LossConfig& loss);

}  // namespace strobe
