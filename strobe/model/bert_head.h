// What BERT's encoder is read out by: one of three heads over some of its rows, or none.
#pragma once

#include <memory>
#include <string>

#include "strobe/config/config.h"
#include "strobe/model/layers.h"

namespace strobe {

class BertHead {
 public:
  virtual ~BertHead() = default;
  virtual void for_each_param(const ParamVisitor& visit) = 0;
  /// losses (M) of x (M, C). Where dx is not empty, it is written, and gradients are added to.
  virtual void loss(Context& ctx, Tensor losses, Tensor dx, Tensor x, const Batch& batch) = 0;
  virtual int64_t outputs() const = 0;
  /// out (M, outputs) f32.
  virtual void predict(Context& ctx, Tensor out, Tensor x) = 0;
};

/// The head that config.model.head names. `words` is the table that a masked LM's decoder is tied
/// to; sites of dropout from `site` on are free.
std::unique_ptr<BertHead> make_bert_head(const Config& config, int64_t vocab, Param& words,
                                         uint32_t site);

}  // namespace strobe
