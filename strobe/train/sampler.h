// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "strobe/core/rng.h"
#include "strobe/data/tokenizer.h"
#include "strobe/train/engine.h"

namespace strobe {

struct SamplerOptions {
  double temperature = 1.0;  // 0: always the most likely token
  int64_t top_k = 0;         // 0: no limit
  double top_p = 1.0;        // the smallest set of tokens with this much probability
  uint64_t seed = 1;
};

/// Throws Error for options outside their range.
void check_sampler(const SamplerOptions& options);

/// Holtzman et al. 2020, arXiv:1904.09751, for top_p. Reorders nothing; logits are untouched.
/// Throws Error for logits that are not finite.
int32_t sample(const std::vector<float>& logits, const SamplerOptions& options,
               RandomSequence& random);

/// Takes from the front of `pending`, the bytes of tokens, what can be handed out as text: all but
/// the beginning of a character at its end, and at the `end` that too. Bytes that no character can
/// have come out as U+FFFD.
std::string take_characters(std::string& pending, bool end);

/// Continues `prompt`, or begins a text where no token makes the prompt, by up to `tokens` tokens
/// and hands out text as it is written, always well-formed UTF-8. Stops at the end-of-text token,
/// when the context is full or when `stop` says so. The engine must have a decode capacity of
/// prompt and continuation.
void generate(Engine& engine, const Tokenizer& tokenizer, const std::string& prompt, int64_t tokens,
              const SamplerOptions& options, const std::function<void(std::string_view)>& write,
              const std::function<bool()>& stop);

}  // namespace strobe
