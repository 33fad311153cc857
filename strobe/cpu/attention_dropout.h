// The dropout of one call of attention, as its kernels take it.
#pragma once

#include <vector>

#include "strobe/core/round_up.h"
#include "strobe/cpu/isa/attention.h"
#include "strobe/ops/backend.h"
#include "strobe/ops/dropout_mask.h"

namespace strobe::cpu {

/// Lives as long as the kernels run: they read the words of pairs of keys from it.
class AttentionDropout {
 public:
  /// No sequence has more than `keys` keys.
  AttentionDropout(const Dropout& dropout, const StepState& state, int64_t keys) {
    const DroppedNumbers dropped = DroppedNumbers::of(dropout.keep_of_256());
    common_.on = dropout.keep_of_256() < 256;
    common_.first = dropped.first, common_.nans = dropped.nans;
    common_.scale = dropout.scale();
    common_.key = dropout_key(state.seed, state.step, state.micro_step, dropout.site);
    if (!common_.on) return;
    const int64_t pairs = round_up(keys, kAttentionBlock) / 2;
    std::vector<uint32_t> drawn(pairs);
    for (int64_t i = 0; i < pairs / 4; ++i) {
      const Philox::Block block = attention_dropout_words(common_.key, static_cast<uint32_t>(i));
      for (int w = 0; w < 4; ++w) drawn[4 * i + w] = block[w];
    }
    words_.resize(pairs);
    for (int64_t i = 0; i < pairs; ++i)
      words_[i] = drawn[attention_dropout_slot(static_cast<uint32_t>(i))];
  }

  HeadDropout head(int64_t stream) const {
    HeadDropout dropout = common_;
    dropout.stream = static_cast<uint32_t>(stream);
    dropout.words = words_.data();
    return dropout;
  }

 private:
  HeadDropout common_;
  std::vector<uint32_t> words_;
};

}  // namespace strobe::cpu
