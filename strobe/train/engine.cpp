#include "strobe/train/engine.h"

#include <algorithm>
#include <numeric>

#include "strobe/core/error.h"
#include "strobe/core/threads.h"
#include "strobe/ops/make_backend.h"
#include "strobe/ops/planning_backend.h"

namespace strobe {

DType resolve_precision(const std::string& precision, const DeviceInfo& device) {
  if (precision == "f32") return DType::f32;
  if (precision == "bf16") return DType::bf16;
  if (precision == "auto") return device.fast_bf16 ? DType::bf16 : DType::f32;
  fail("precision: '{}' is unknown; known are auto, f32, bf16", precision);
}

namespace {

std::vector<EnginePlan::Part> merge_by_name(const std::vector<Arena::Entry>& entries) {
  std::vector<EnginePlan::Part> parts;
  for (const Arena::Entry& entry : entries) {
    const auto same = std::find_if(parts.begin(), parts.end(),
                                   [&](const auto& part) { return part.name == entry.what; });
    if (same == parts.end())
      parts.push_back({entry.what, entry.bytes});
    else
      same->bytes += entry.bytes;
  }
  return parts;
}

// Throws Error naming what of the plan is the first not to fit.
void check_fits(const EnginePlan& plan, int64_t free) {
  int64_t sum = 0;
  for (const EnginePlan::Part& part : plan.parts) {
    if (sum + part.bytes > free)
      fail(
          "memory: {} are planned, {} are available: '{}' ({}) does not fit beside the "
          "{} before it; a smaller train.micro_batch (with train.grad_accum) or "
          "model.recompute=gelu, gelu+norm or block takes less",
          format_bytes(plan.bytes), format_bytes(free), part.name, format_bytes(part.bytes),
          format_bytes(sum));
    sum += part.bytes;
  }
}

}  // namespace

void check_shape(const EngineShape& shape, int64_t context) {
  if (shape.sequences < 1 || shape.micro_batches < 1)
    fail("train: micro_batch ({}) and grad_accum ({}) must be 1 or more", shape.sequences,
         shape.micro_batches);
  if (shape.length < 1 || shape.length > context)
    fail("train.sequence: {} tokens do not fit the model's context of {}", shape.length, context);
  constexpr int64_t kMostRows = int64_t{1} << 30;
  if (shape.sequences > kMostRows / shape.length)
    fail("train: {} sequences of {} tokens are more than one micro-batch can hold", shape.sequences,
         shape.length);
}

Engine::Engine(const Config& config, int64_t vocab, const EngineShape& shape,
               std::unique_ptr<Backend> ops)
    : shape_(shape), ops_(std::move(ops)) {
  constexpr int64_t kMostThreads = 1024;
  if (config.threads < 0 || config.threads > kMostThreads)
    fail("threads: {} is not a number of threads; it takes 0 (one a core) to {}", config.threads,
         kMostThreads);
  set_threads(static_cast<int>(config.threads));
  if (!ops_)
    ops_ = make_backend(config.backend, {.tf32 = config.gemm.tf32, .tune_gemm = config.gemm.tune});
  dtype_ = resolve_precision(config.precision, ops_->info());
  clip_ = config.optimizer.clip;
  model_ = make_model(config, vocab);
  params_ = params_of(*model_);
  if (shape.training) check_shape(shape, config.model.context);
  if (shape.training) optimizer_ = make_optimizer(config.optimizer);

  // The same code as a real run, over an arena without memory and a backend that only counts.
  Arena measuring;
  PlanningBackend planning(*ops_);
  lay_out(measuring);
  if (shape_.length > 0) {
    if (shape.training) {
      // One micro-batch and then two tell what any number of them takes.
      run_step(planning, measuring, 1, [](int64_t) {});
      const double one = total_of(planning.ops()).flops;
      plan_.step_flops = one;
      if (shape_.micro_batches > 1) {
        run_step(planning, measuring, 2, [](int64_t) {});
        const double two = total_of(planning.ops()).flops - one;
        plan_.step_flops += static_cast<double>(shape_.micro_batches - 1) * (two - one);
      }
    }
    Context ctx{planning, measuring, dtype_, /*training=*/false};
    model_->evaluate(ctx, losses_, batch_);
  }
  if (shape_.decode_capacity > 0) {
    Context ctx{planning, measuring, dtype_, /*training=*/false};
    const auto cache = model_->start_decoding(ctx, shape_.decode_capacity);
    std::vector<float> logits;
    const std::vector<int32_t> tokens(static_cast<size_t>(shape_.decode_capacity));
    model_->decode(ctx, *cache, tokens, logits);
  }
  plan_.parts = merge_by_name(measuring.at_peak());
  plan_.bytes = measuring.peak();
  plan_.parameters = count_params(*model_);
}

Engine::~Engine() {
  if (memory_) ops_->release(memory_);
}

void Engine::check_memory() const {
  if (const int64_t free = ops_->info().free_bytes; free > 0) check_fits(plan_, free);
}

void Engine::allocate() {
  check_memory();
  memory_ = ops_->allocate(plan_.bytes);
  arena_ = Arena(memory_, plan_.bytes);
  lay_out(arena_);
  decode_mark_ = arena_.mark();
  ops_->set_step_state({});
  for (const Param* param : params_)
    for (const Tensor& state : param->state) ops_->fill(state, 0);
  if (shape_.length == 0) return;

  const int64_t rows = shape_.sequences * shape_.length;
  std::vector<int32_t> positions(static_cast<size_t>(rows));
  for (size_t i = 0; i < positions.size(); ++i)
    positions[i] = static_cast<int32_t>(static_cast<int64_t>(i) % shape_.length);
  std::vector<int32_t> starts(static_cast<size_t>(shape_.sequences) + 1);
  for (size_t i = 0; i < starts.size(); ++i)
    starts[i] = static_cast<int32_t>(static_cast<int64_t>(i) * shape_.length);
  ops_->upload(batch_.positions, positions.data());
  ops_->upload(batch_.cu_seqlens, starts.data());
}

void Engine::lay_out(Arena& arena) {
  grads_ = allocate_params(*model_, arena, dtype_, shape_.training);
  if (shape_.training) {
    for (Param* param : params_) {
      param->state.clear();
      for (int i = 0; i < optimizer_->states(*param); ++i) {
        Tensor state = param->value;
        state.data = arena.allocate("optimizer state", DType::f32, {state.numel()}).data;
        param->state.push_back(state);
      }
    }
  }
  if (shape_.length == 0) return;
  const int64_t rows = shape_.sequences * shape_.length;
  batch_.tokens = arena.allocate("batch", DType::i32, {rows});
  batch_.positions = arena.allocate("batch", DType::i32, {rows});
  batch_.targets = arena.allocate("batch", DType::i32, {rows});
  batch_.cu_seqlens = arena.allocate("batch", DType::i32, {shape_.sequences + 1});
  batch_.longest = shape_.length;
  losses_ = arena.allocate("losses", DType::f32, {rows});
  loss_sum_ = arena.allocate("losses", DType::f32, {1});
  loss_sums_ = arena.allocate("losses", DType::f32, {shape_.micro_batches});
}

void Engine::run_step(Backend& ops, Arena& arena, int64_t micro_batches,
                      const std::function<void(int64_t)>& load) {
  ops.fill(grads_, 0);
  for (int64_t i = 0; i < micro_batches; ++i) {
    load(i);
    ops.replay("micro-step", [&] {
      Context ctx{ops, arena, dtype_, /*training=*/true};
      model_->forward_backward(ctx, losses_, batch_);
      ops.sum(loss_sum_, losses_);
    });
    ops.copy(loss_sums_.rows(i, i + 1), loss_sum_);
  }
  ops.replay("update", [&] {
    const Tensor all_grads[] = {grads_};
    ops.grad_norm(all_grads, static_cast<float>(clip_));
    ArenaScope scope(arena);
    const int64_t bytes = optimizer_->workspace_bytes(params_);
    const Tensor workspace =
        bytes > 0 ? arena.allocate("optimizer workspace", DType::u8, {bytes}) : Tensor{};
    optimizer_->step(ops, params_, workspace);
  });
}

void Engine::upload(const HostBatch& batch) {
  check(static_cast<int64_t>(batch.tokens.size()) == batch_.rows(),
        "engine: batch of another size");
  ops_->upload(batch_.tokens, batch.tokens.data());
  ops_->upload(batch_.targets, batch.targets.data());
}

void Engine::start_step(const StepInput& input, std::span<const HostBatch> batches) {
  stop_decoding();
  int64_t scored = 0;
  for (const HostBatch& batch : batches) scored += batch.scored;
  StepInput now = input;
  now.loss_scale = 1.0f / static_cast<float>(std::max<int64_t>(1, scored));
  const auto micro_batches = static_cast<int64_t>(batches.size());
  run_step(*ops_, arena_, micro_batches, [&](int64_t i) {
    now.micro_step = static_cast<int32_t>(i);
    ops_->set_step_input(now);
    upload(batches[static_cast<size_t>(i)]);
  });
  const int64_t ticket = ops_->start_download(loss_sums_.rows(0, micro_batches));
  under_way_.push_back({ticket, micro_batches, scored});
}

Engine::StepResult Engine::finish_step() {
  check(!under_way_.empty(), "engine: no step is under way");
  const UnderWay step = under_way_.front();
  under_way_.pop_front();
  std::vector<float> sums(static_cast<size_t>(step.micro_batches));
  StepResult result;
  result.state = ops_->finish_download(step.ticket, sums.data());
  result.loss = std::accumulate(sums.begin(), sums.end(), 0.0) / static_cast<double>(step.scored);
  return result;
}

double Engine::step(const StepInput& input, std::span<const HostBatch> batches) {
  start_step(input, batches);
  return finish_step().loss;
}

double Engine::evaluate(const HostBatch& batch) {
  stop_decoding();
  upload(batch);
  ops_->replay("evaluate", [&] {
    Context ctx{*ops_, arena_, dtype_, /*training=*/false};
    model_->evaluate(ctx, losses_, batch_);
  });
  std::vector<float> losses(static_cast<size_t>(batch_.rows()));
  ops_->download(losses.data(), losses_);
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

// What is replayed has its operands where they were: the cache lies in their place.
void Engine::stop_decoding() {
  cache_.reset();
  arena_.rewind(decode_mark_);
}

void Engine::start_decoding() {
  arena_.rewind(decode_mark_);
  Context ctx{*ops_, arena_, dtype_, /*training=*/false};
  cache_ = model_->start_decoding(ctx, shape_.decode_capacity);
}

void Engine::decode(std::span<const int32_t> tokens, std::vector<float>& logits) {
  check(cache_ != nullptr, "engine: start_decoding() comes first");
  Context ctx{*ops_, arena_, dtype_, /*training=*/false};
  model_->decode(ctx, *cache_, tokens, logits);
}

}  // namespace strobe
