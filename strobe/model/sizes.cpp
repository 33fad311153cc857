#include "strobe/model/sizes.h"

#include <algorithm>

#include "strobe/core/error.h"
#include "strobe/model/layers.h"

namespace strobe {

namespace {

constexpr int64_t kVocabMultiple = 64;  // rows of the head are padded to this, for whole tiles

}  // namespace

std::span<const std::string> recompute_levels(const ModelConfig& model) {
  static const std::string kGpt2[] = {"none", "gelu", "gelu+norm", "block"};
  // After a sum its norm is the stream itself: there is nothing to gain by computing it twice.
  static const std::string kBert[] = {"none", "gelu", "block"};
  if (model.kind == "bert") return kBert;
  return kGpt2;
}

Param embedding_param(const std::string& name, int64_t rows, int64_t channels, int64_t padding) {
  Param param;
  param.name = name, param.kind = ParamKind::embedding;
  param.init_std = kInitStd, param.padding = padding;
  param.value = Tensor(nullptr, DType::f32, {rows + padding, channels});
  return param;
}

int64_t vocab_padding(int64_t vocab) {
  return (kVocabMultiple - vocab % kVocabMultiple) % kVocabMultiple;
}

const ModelConfig& checked_sizes(const ModelConfig& m) {
  for (const auto& [name, value] : {std::pair<const char*, int64_t>{"layers", m.layers},
                                    {"channels", m.channels},
                                    {"heads", m.heads},
                                    {"context", m.context}})
    if (value < 1 || value > (1 << 24))
      fail("model.{}: {} is not a size; it takes 1 to {}", name, value, 1 << 24);
  constexpr double kMostParameters = 1e13;  // beyond, sizes in bytes come near to 2^63
  const double matrices = static_cast<double>(m.layers) * static_cast<double>(m.channels) *
                          static_cast<double>(4 * m.channels + 2 * m.feed_forward);
  if (matrices > kMostParameters)
    fail("model: {} layers of {} channels have {:.1e} parameters; at most {:.0e} are accepted",
         m.layers, m.channels, matrices, kMostParameters);
  if (m.channels % m.heads != 0)
    fail("model: channels ({}) must be divisible by heads ({})", m.channels, m.heads);
  if (m.channels / m.heads > 256)
    fail("model: head size {} (channels / heads) is above 256, the most that attention takes",
         m.channels / m.heads);
  if (m.kv_heads < 0 || (m.kv_heads > 0 && m.heads % m.kv_heads != 0))
    fail("model: heads ({}) must be divisible by kv_heads ({})", m.heads, m.kv_heads);
  if (m.feed_forward < 0 || m.feed_forward > (1 << 24))
    fail("model.feed_forward: {} is not a size; it takes 0 to {}", m.feed_forward, 1 << 24);
  for (const auto& [name, value] : {std::pair<const char*, double>{"dropout", m.dropout},
                                    {"dropout_embedding", m.dropout_embedding.value_or(0)},
                                    {"dropout_attention", m.dropout_attention.value_or(0)},
                                    {"dropout_residual", m.dropout_residual.value_or(0)}})
    if (!(value >= 0 && value < 1) || Dropout{static_cast<float>(value), 0}.keep_of_256() == 0)
      fail("model.{}: {} is not a probability from 0 to 255/256", name, value);
  const auto levels = recompute_levels(m);
  if (std::find(levels.begin(), levels.end(), m.recompute) == levels.end())
    fail("model.recompute: '{}' is none of those that {} knows: {}", m.recompute, m.kind,
         fmt::join(levels, ", "));
  return m;
}

LossOptions checked_loss(const LossConfig& loss) {
  if (!(loss.label_smoothing >= 0 && loss.label_smoothing < 1))
    fail("loss.label_smoothing: {} is outside [0, 1)", loss.label_smoothing);
  if (!(loss.z_loss >= 0 && loss.z_loss < 1e6))
    fail("loss.z_loss: {} is not a weight; it takes 0 or more", loss.z_loss);
  return {static_cast<float>(loss.label_smoothing), static_cast<float>(loss.z_loss)};
}

}  // namespace strobe
