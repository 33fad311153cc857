// Parameter updates. The arithmetic is ops/update_rules.h's.
//
// The elements of all tensors are cut into tiles, one a block; a block finds its tensor in a table
// that is a kernel parameter.
// What every update of a step has in common, such as AdamW's bias corrections, depends on the step,
// which only the device knows: a kernel of one thread computes it, in double as on the CPU.
// Traffic: value, states (both ways), gradient and compute copy once, 30 bytes an element in AdamW.
#include "strobe/cuda/update.h"

#include <type_traits>
#include <variant>

#include "strobe/cuda/op_plans.h"
#include "strobe/cuda/update_quads.cuh"

namespace strobe::cuda {

namespace {

constexpr int kThreads = kUpdateThreads;
constexpr int kTile = kUpdateTile;

struct Entry {
  float* value;
  bf16* compute;  // null where value is its own compute copy
  const float* grad;
  float* states[kMostStates];
  int64_t n;
  float lr_scale, weight_decay;
  bool cautious;
};

struct Targets {
  static constexpr int kMost = 256;
  Entry entries[kMost];
  int32_t first_tile[kMost + 1];
  int count = 0;
};

template <class Rule>
__global__ void prepare(typename Rule::Prepared* prepared, const StepState* state, Rule rule) {
  *prepared = rule.prepare({state->step + 1, state->momentum_scale, state->average});
}

template <class Rule>
__global__ void __launch_bounds__(kThreads)
    update_tiles(const __grid_constant__ Targets targets, const Rule rule, const StepState* state,
                 const typename Rule::Prepared* step) {
  if (state->halt) return;
  const int tile = static_cast<int>(blockIdx.x);
  const int owner = owner_of_tile(targets.first_tile, targets.count, tile);
  const Entry& t = targets.entries[owner];
  typename Rule::Prepared prepared{};
  if constexpr (!std::is_empty_v<typename Rule::Prepared>) prepared = *step;
  const float scale = is_scaled(Rule{}) ? state->grad_scale : 1.0f;
  const RuleElement element = {state->lr * t.lr_scale, t.weight_decay * state->decay_scale,
                               t.cautious};
  const int64_t begin = (tile - targets.first_tile[owner]) * int64_t{kTile};
  const int64_t end = min(t.n, begin + kTile);
  uintptr_t all = reinterpret_cast<uintptr_t>(t.value) | reinterpret_cast<uintptr_t>(t.grad) |
                  reinterpret_cast<uintptr_t>(t.compute) * 2;
#pragma unroll
  for (int k = 0; k < Rule::kStates; ++k) all |= reinterpret_cast<uintptr_t>(t.states[k]);
  const int64_t quads_end = all % 16 == 0 ? begin + (end - begin) / kQuad * kQuad : begin;
#pragma unroll 2
  for (int64_t i = begin + threadIdx.x * kQuad; i < quads_end; i += kThreads * kQuad) {
    Quad w = load_quad(t.value + i), states[kMostStates];
    const Quad g = load_quad(t.grad + i);
#pragma unroll
    for (int k = 0; k < Rule::kStates; ++k) states[k] = load_quad(t.states[k] + i);
#pragma unroll
    for (int j = 0; j < kQuad; ++j) {
      RuleStates s;
#pragma unroll
      for (int k = 0; k < Rule::kStates; ++k) s[k] = states[k].at[j];
      rule(scale * g.at[j], w.at[j], s, element, prepared);
#pragma unroll
      for (int k = 0; k < Rule::kStates; ++k) states[k].at[j] = s[k];
    }
    store_quad(t.value + i, w);
#pragma unroll
    for (int k = 0; k < Rule::kStates; ++k) store_quad(t.states[k] + i, states[k]);
    if (t.compute) store_quad(t.compute + i, w);
  }
  for (int64_t i = quads_end + threadIdx.x; i < end; i += kThreads) {
    float w = t.value[i];
    RuleStates s;
#pragma unroll
    for (int k = 0; k < Rule::kStates; ++k) s[k] = t.states[k][i];
    rule(scale * t.grad[i], w, s, element, prepared);
    t.value[i] = w;
#pragma unroll
    for (int k = 0; k < Rule::kStates; ++k) t.states[k][i] = s[k];
    if (t.compute) t.compute[i] = to_bf16(w);
  }
}

template <class Rule>
void launch(const Device& device, const Rule& rule, std::span<const UpdateTarget> all) {
  auto* prepared = reinterpret_cast<typename Rule::Prepared*>(device.scratch);
  check(device.scratch_bytes >= static_cast<int64_t>(sizeof(*prepared)),
        "update: scratch is too small");
  if constexpr (!std::is_empty_v<typename Rule::Prepared>)
    prepare<<<1, 1, 0, device.stream>>>(prepared, device.state, rule);
  Targets table;
  table.first_tile[0] = 0;
  const auto flush = [&] {
    const int32_t tiles = table.first_tile[table.count];
    if (tiles > 0)
      update_tiles<Rule>
          <<<tiles, kThreads, 0, device.stream>>>(table, rule, device.state, prepared);
    table.count = 0;
  };
  for (const UpdateTarget& target : all) {
    const int64_t n = target.value.numel();
    if (n == 0) continue;
    check(target.value.dtype == DType::f32 && target.grad.numel() == n,
          "update: a target's tensors differ");
    const int i = table.count++;
    Entry& entry = table.entries[i];
    entry.value = target.value.as<float>(), entry.compute = compute_copy(target);
    entry.grad = target.grad.as<float>(), entry.n = n;
    for (int k = 0; k < kMostStates; ++k) {
      check(k >= Rule::kStates || target.state(k).numel() == n, "update: a state of another shape");
      entry.states[k] = target.state(k).as<float>();
    }
    entry.lr_scale = target.lr_scale, entry.weight_decay = target.weight_decay;
    entry.cautious = target.cautious;
    const int64_t end = table.first_tile[i] + ceil_div(n, kTile);
    check(end < INT32_MAX, "update: too many elements");
    table.first_tile[i + 1] = static_cast<int32_t>(end);
    if (table.count == Targets::kMost) flush();
  }
  flush();
  check_launch("update");
}

__global__ void __launch_bounds__(kThreads)
    clamp_all(float* x, int64_t n, float limit, bool is_aligned) {
  const int64_t at = (blockIdx.x * int64_t{kThreads} + threadIdx.x) * kLanes, count = n - at;
  if (count <= 0) return;
  const bool whole = is_aligned && count >= kLanes;
  Floats v = load_some(x + at, count, whole);
#pragma unroll
  for (int j = 0; j < kLanes; ++j) v[j] = v[j] > limit ? limit : v[j] < -limit ? -limit : v[j];
  store_some(x + at, v, count, whole);
}

}  // namespace

void update(const Device& device, const UpdateRule& rule, std::span<const UpdateTarget> targets) {
  std::visit([&](const auto& r) { launch(device, r, targets); }, rule);
}

void clamp(const Device& device, Tensor x, float limit) {
  const int64_t n = x.numel();
  check(x.dtype == DType::f32, "clamp: takes f32");
  if (n == 0) return;
  clamp_all<<<ceil_div(n, kThreads * kLanes), kThreads, 0, device.stream>>>(x.as<float>(), n, limit,
                                                                            aligned(x.data));
  check_launch("clamp");
}

}  // namespace strobe::cuda
