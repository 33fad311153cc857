#include "strobe/train/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "strobe/core/error.h"
#include "strobe/data/unicode.h"

namespace strobe {

void check_sampler(const SamplerOptions& options) {
  if (!(options.temperature >= 0 && options.temperature <= 100))
    fail("generate: temperature {} is outside [0, 100]", options.temperature);
  if (options.top_k < 0) fail("generate: top-k {} is negative; 0 means no limit", options.top_k);
  if (!(options.top_p > 0 && options.top_p <= 1))
    fail("generate: top-p {} is outside (0, 1]", options.top_p);
}

int32_t sample(const std::vector<float>& logits, const SamplerOptions& options,
               RandomSequence& random) {
  // An order that NaN is part of is none: sorting by it may go anywhere.
  if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); }))
    fail("generate: the model's logits are not finite: its weights are of a run that diverged");
  const auto best = std::max_element(logits.begin(), logits.end());
  if (options.temperature == 0) return static_cast<int32_t>(best - logits.begin());

  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto likelier = [&](int32_t a, int32_t b) {
    const float la = logits[static_cast<size_t>(a)], lb = logits[static_cast<size_t>(b)];
    return la != lb ? la > lb : a < b;
  };
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < ids.size()) {
    std::nth_element(ids.begin(), ids.begin() + options.top_k, ids.end(), likelier);
    ids.resize(static_cast<size_t>(options.top_k));
  }
  std::sort(ids.begin(), ids.end(), likelier);

  std::vector<double> cumulative(ids.size());
  double total = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    total += std::exp((logits[static_cast<size_t>(ids[i])] - *best) / options.temperature);
    cumulative[i] = total;
  }
  size_t kept = ids.size();
  if (options.top_p < 1)
    kept = 1 + static_cast<size_t>(std::lower_bound(cumulative.begin(), cumulative.end() - 1,
                                                    options.top_p * total) -
                                   cumulative.begin());
  const double point = random.uniform() * cumulative[kept - 1];
  const auto chosen = std::upper_bound(cumulative.begin(), cumulative.begin() + kept - 1, point);
  return ids[static_cast<size_t>(chosen - cumulative.begin())];
}

std::string take_characters(std::string& pending, bool end) {
  const size_t take = pending.size() - (end ? 0 : incomplete_utf8(pending));
  std::string text;
  repair_utf8(std::string_view(pending).substr(0, take), text);
  pending.erase(0, take);
  return text;
}

void generate(Engine& engine, const Tokenizer& tokenizer, const std::string& prompt, int64_t tokens,
              const SamplerOptions& options, const std::function<void(std::string_view)>& write,
              const std::function<bool()>& stop) {
  check_sampler(options);
  std::vector<int32_t> next;
  tokenizer.encode(prompt, next);
  if (next.empty()) next.push_back(std::max(0, tokenizer.end_of_text()));

  RandomSequence random(options.seed, RandomUse::sample, 0);
  std::vector<float> logits;
  std::string pending;
  engine.start_decoding();
  for (int64_t i = 0; i < tokens && !(stop && stop()); ++i) {
    engine.decode(next, logits);
    const int32_t id = sample(logits, options, random);
    if (id == tokenizer.end_of_text()) break;
    next.assign(1, id);
    pending += tokenizer.decode(next, /*continued=*/i > 0 || !prompt.empty());
    write(take_characters(pending, false));
  }
  if (!pending.empty()) write(take_characters(pending, true));
}

}  // namespace strobe
