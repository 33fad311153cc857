#include "strobe/train/engine.h"

#include <algorithm>
#include <cmath>
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
  clip_ = config.optimizer.clip, clip_value_ = config.optimizer.clip_value;
  if (!(config.train.memory_limit >= 0 && config.train.memory_limit < 1e6))
    fail("train.memory_limit: {} is not a number of GiB, 0 (none) to 1e6",
         config.train.memory_limit);
  memory_limit_ = static_cast<int64_t>(config.train.memory_limit * 0x1p30);
  average_ = config.average;
  if (!(average_.ema >= 0 && static_cast<float>(average_.ema) < 1))
    fail("average.ema: {} is not a decay in [0, 1)", average_.ema);
  constexpr int64_t kMostSnapshots = 1000;
  if (average_.lawa < 0 || average_.lawa > kMostSnapshots)
    fail("average.lawa: {} is not a number of snapshots; it takes 0 to {}", average_.lawa,
         kMostSnapshots);
  model_ = make_model(config, vocab);
  params_ = params_of(*model_);
  if (shape.training) check_shape(shape, config.model.context);
  shape_.most_sequences = std::max(shape.most_sequences, shape.sequences);
  if (shape_.scored_rows == 0) shape_.scored_rows = shape_.sequences * shape_.length;
  if (shape.training) {
    optimizer_ = make_optimizer(config.optimizer);
    check_groups(config.optimizer, params_);
  }

  // The same code as a real run, over an arena without memory and a backend that only counts.
  Arena measuring;
  PlanningBackend planning(*ops_);
  lay_out(measuring);
  if (shape_.length > 0) {
    if (shape.training) {
      // None and then one tell what any number of micro-batches takes.
      run_step(planning, measuring, 0, [](int64_t) {});
      plan_.update_flops = total_of(planning.ops()).flops;
      run_step(planning, measuring, 1, [](int64_t) {});
      plan_.micro_batch_flops = total_of(planning.ops()).flops - 2 * plan_.update_flops;
      plan_.step_flops =
          static_cast<double>(shape_.micro_batches) * plan_.micro_batch_flops + plan_.update_flops;
    }
    Context ctx{planning, measuring, dtype_, /*training=*/false};
    if (shape_.training || !shape_.predicts) model_->evaluate(ctx, losses_, batch_);
    if (shape_.predicts) model_->predict(ctx, outputs_, batch_);
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

int64_t Engine::room() const {
  const int64_t free = ops_->info().free_bytes;
  if (memory_limit_ == 0) return free;
  return free == 0 ? memory_limit_ : std::min(free, memory_limit_);
}

void Engine::check_memory() const {
  if (const int64_t bytes = room(); bytes > 0) check_fits(plan_, bytes);
}

void Engine::allocate() {
  check_memory();
  memory_ = ops_->allocate(plan_.bytes);
  arena_ = Arena(memory_, plan_.bytes);
  lay_out(arena_);
  decode_mark_ = arena_.mark();
  ops_->set_step_state({});
  for (const Param* param : params_) {
    // Files have no padding: what lay here before would stay, and 0 times it may be NaN.
    if (param->padding > 0)
      ops_->fill(param->value.rows(param->value.dim(0) - param->padding, param->value.dim(0)), 0);
    for (const Tensor& state : param->state) ops_->fill(state, 0);
    for (const auto& [name, tensor] : param->kept) ops_->fill(tensor, 0);
  }
}

void Engine::lay_out(Arena& arena) {
  grads_ = allocate_params(*model_, arena, dtype_, shape_.training);
  if (shape_.training) {
    spare_.assign(params_.size(), Tensor{});
    for (size_t i = 0; i < params_.size(); ++i) {
      Param& param = *params_[i];
      const auto place = [&](Tensor tensor, const char* what) {
        tensor.data = arena.allocate(what, DType::f32, {tensor.numel()}).data;
        tensor.dtype = DType::f32;
        return tensor;
      };
      param.state.clear(), param.kept.clear();
      for (const Tensor& state : optimizer_->states(param))
        param.state.push_back(place(state, "optimizer state"));
      if (average_.ema > 0) param.kept.emplace_back("ema", place(param.value, "averages"));
      for (int64_t k = 0; k < average_.lawa; ++k)
        param.kept.emplace_back(fmt::format("lawa{}", k), place(param.value, "averages"));
      const bool averages = optimizer_->averages(param);
      if (averages || average_.lawa > 0) spare_[i] = place(param.value, "weights to evaluate");
      param.used = averages ? spare_[i] : Tensor{};
    }
  }
  if (shape_.length == 0) return;
  const int64_t rows = shape_.sequences * shape_.length;
  const bool picks = model_->picks_rows();
  const int64_t scored = picks ? shape_.scored_rows : rows;
  room_ = BatchRoom({.rows = rows,
                     .scored = scored,
                     .sequences = shape_.most_sequences,
                     .length = shape_.length,
                     .picks = picks},
                    arena);
  batch_ = room_.largest();
  losses_room_ = losses_ = arena.allocate("losses", DType::f32, {scored});
  if (shape_.predicts)
    outputs_ = arena.allocate("outputs", DType::f32, {scored, model_->outputs()});
  loss_sum_ = arena.allocate("losses", DType::f32, {1});
  loss_sums_ = arena.allocate("losses", DType::f32, {shape_.micro_batches});
}

void Engine::run_step(Backend& ops, Arena& arena, int64_t micro_batches,
                      const std::function<void(int64_t)>& load) {
  ops.fill(grads_, 0);
  for (int64_t i = 0; i < micro_batches; ++i) {
    load(i);
    // What a record holds besides operands: their rows, the longest sequence, how much is dropped.
    const std::string key = fmt::format("micro-step {} {} {} {}", batch_.rows(),
                                        batch_.scored_rows(), batch_.longest, dropout_scale_);
    ops.replay(key, [&] {
      Context ctx{ops, arena, dtype_, /*training=*/true, dropout_scale_};
      model_->forward_backward(ctx, losses_, batch_);
      ops.sum(loss_sum_, losses_);
    });
    ops.copy(loss_sums_.rows(i, i + 1), loss_sum_);
  }
  ops.replay("update", [&] {
    const Tensor all_grads[] = {grads_};
    if (clip_value_ > 0) ops.clamp(grads_, static_cast<float>(clip_value_));
    ops.grad_norm(all_grads, static_cast<float>(clip_));
    ArenaScope scope(arena);
    const int64_t bytes = optimizer_->workspace_bytes(ops, params_);
    const Tensor workspace =
        bytes > 0 ? arena.allocate("optimizer workspace", DType::u8, {bytes}) : Tensor{};
    optimizer_->step(ops, params_, workspace);
  });
}

void Engine::upload(const HostBatch& batch) {
  batch_ = room_.upload(*ops_, batch);
  losses_ = losses_room_.rows(0, batch_.scored_rows());
}

void Engine::start_step(const StepInput& input, std::span<const HostBatch> batches,
                        float dropout_scale) {
  stop_decoding();
  check(weights_ == Weights::training, "engine: a step takes the weights of training");
  // A mask has 256 levels, and every level is recorded apart: 1/64 is as fine as matters.
  constexpr float kLevels = 64;
  dropout_scale_ = std::round(dropout_scale * kLevels) / kLevels;
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
  result.scored = step.scored;
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
  // In f32 an average is read where it lies.
  ops_->replay(fmt::format("evaluate {} {} {} {}", static_cast<int>(weights_), batch_.rows(),
                           batch_.scored_rows(), batch_.longest),
               [&] {
                 Context ctx{*ops_, arena_, dtype_, /*training=*/false};
                 model_->evaluate(ctx, losses_, batch_);
               });
  std::vector<float> losses(static_cast<size_t>(losses_.numel()));
  ops_->download(losses.data(), losses_);
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

std::vector<float> Engine::predict(const HostBatch& batch) {
  check(shape_.predicts, "engine: predictions were not planned");
  stop_decoding();
  upload(batch);
  const Tensor out = outputs_.rows(0, batch_.scored_rows());
  Context ctx{*ops_, arena_, dtype_, /*training=*/false};
  model_->predict(ctx, out, batch_);
  std::vector<float> values(static_cast<size_t>(out.numel()));
  ops_->download(values.data(), out);
  return values;
}

void Engine::start_optimizer() { optimizer_->initialise(*ops_, params_); }

void Engine::average_weights(bool first) {
  if (average_.ema <= 0) return;
  std::vector<UpdateTarget> targets;
  for (const Param* param : params_) {
    const Tensor average = param->kept[0].second;
    if (first) ops_->copy(average, param->value);
    UpdateTarget target;
    target.value = target.compute = average, target.grad = param->value;
    targets.push_back(target);
  }
  const EmaRule rule{static_cast<float>(average_.ema)};
  if (!first) ops_->replay("average", [&] { ops_->update(rule, targets); });
}

void Engine::take_snapshot(int64_t number) {
  if (average_.lawa <= 0) return;
  const size_t at = static_cast<size_t>(number % average_.lawa) + (average_.ema > 0 ? 1 : 0);
  for (const Param* param : params_) ops_->copy(param->kept[at].second, param->value);
}

void Engine::refresh_used() {
  for (const Param* param : params_)
    if (param->used) optimizer_->write_average(*ops_, *param, param->used);
}

void Engine::use_weights(Weights which, int64_t snapshots) {
  const bool averages = std::any_of(params_.begin(), params_.end(),
                                    [](const Param* param) { return bool(param->used); });
  if (which == Weights::best && !averages) which = Weights::training;
  if (which == Weights::training && weights_ == Weights::training) return;
  weights_ = which;
  for (size_t i = 0; i < params_.size(); ++i) {
    Param& param = *params_[i];
    Tensor source = param.value;
    if (which == Weights::best && param.used) {
      optimizer_->write_average(*ops_, param, param.used);
      source = param.used;
    } else if (which == Weights::ema) {
      source = param.kept[0].second;
    } else if (which == Weights::lawa) {
      const int64_t count = std::min(snapshots, average_.lawa);
      const size_t first = average_.ema > 0 ? 1 : 0;
      source = spare_[i];
      ops_->fill(source, 0);
      for (int64_t k = 0; k < count; ++k)
        ops_->axpby(source, 1.0f / static_cast<float>(count),
                    param.kept[first + static_cast<size_t>(k)].second, 1);
    }
    // A compute copy is written; in f32, where there is none, the model reads the weights
    // themselves.
    if (dtype_ == DType::f32)
      param.compute = source;
    else
      ops_->copy(param.compute, source);
  }
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
