#include "strobe/model/model.h"

#include <algorithm>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "strobe/core/threads.h"
#include "strobe/model/bert.h"
#include "strobe/model/gpt2.h"

namespace strobe {

std::unique_ptr<Model> make_model(const Config& config, int64_t vocab) {
  const std::string kinds[] = {"gpt2", "bert"};
  constexpr int64_t kLargestVocab = int64_t{1} << 24;
  if (vocab < 1 || vocab > kLargestVocab)
    fail("model.vocab: {} is not a size; it takes 1 to {}", vocab, kLargestVocab);
  if (config.model.kind == kinds[0]) return std::make_unique<Gpt2>(config, vocab);
  if (config.model.kind == kinds[1]) return std::make_unique<Bert>(config, vocab);
  fail("model.kind: '{}' is unknown; known are {}", config.model.kind, fmt::join(kinds, ", "));
}

std::vector<Param*> params_of(Model& model) {
  std::vector<Param*> out;
  model.for_each_param([&](Param& param) { out.push_back(&param); });
  return out;
}

int64_t count_params(Model& model) {
  int64_t count = 0;
  model.for_each_param([&](Param& param) { count += param.stored(param.value).numel(); });
  return count;
}

namespace {

// The shape of `shape`, over new memory.
Tensor give_memory(Tensor shape, Arena& arena, const std::string& what, DType dtype) {
  shape.data = arena.allocate(what, dtype, {shape.numel()}).data;
  shape.dtype = dtype;
  return shape;
}

}  // namespace

Tensor allocate_params(Model& model, Arena& arena, DType dtype, bool training) {
  const std::vector<Param*> params = params_of(model);
  int64_t total = 0;
  for (Param* p : params) {
    p->value = give_memory(p->value, arena, "parameters", DType::f32);
    total += p->value.numel();
  }
  for (Param* p : params)
    p->compute =
        dtype == DType::f32 ? p->value : give_memory(p->value, arena, "compute copies", dtype);
  if (!training) return {};
  const Tensor grads = arena.allocate("gradients", DType::f32, {total});
  int64_t offset = 0;
  for (Param* p : params) {
    p->grad = p->value;
    p->grad.data = grads.as<float>() + offset;
    offset += p->value.numel();
  }
  return grads;
}

void initialise_params(Backend& ops, Model& model, uint64_t seed) {
  constexpr int64_t kChunk = 1 << 16;  // values drawn in sequence; chunks are independent
  uint32_t ordinal = 0;
  model.for_each_param([&](Param& param) {
    std::vector<float> values(static_cast<size_t>(param.value.numel()), param.init_mean);
    const int64_t stored = param.stored(param.value).numel();
    if (param.init_std > 0)
      parallel_for((stored + kChunk - 1) / kChunk, [&](int64_t chunk) {
        RandomSequence random(seed ^ (static_cast<uint64_t>(chunk) << 32), RandomUse::init,
                              ordinal);
        for (int64_t i = chunk * kChunk; i < std::min(stored, (chunk + 1) * kChunk); ++i)
          values[static_cast<size_t>(i)] += param.init_std * random.normal();
      });
    std::fill(values.begin() + stored, values.end(), 0.0f);
    ops.upload(param.value, values.data());
    ++ordinal;
  });
  refresh_compute(ops, model);
}

void refresh_compute(Backend& ops, Model& model) {
  model.for_each_param([&](Param& param) {
    if (param.compute.data != param.value.data) ops.copy(param.compute, param.value);
  });
}

}  // namespace strobe
