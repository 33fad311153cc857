// What a run will be, before it begins: its sizes, what of them fits, and the machine.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "strobe/core/error.h"
#include "strobe/core/threads.h"
#include "strobe/model/sizes.h"
#include "strobe/ops/planning_backend.h"
#include "strobe/train/run_config.h"
#include "strobe/train/trainer.h"

namespace strobe {

std::string Trainer::describe() const {
  const EnginePlan& plan = engine_.plan();
  std::string out =
      fmt::format("parameters      {:.1f} M\n", static_cast<double>(plan.parameters) / 1e6);
  out += fmt::format("tokens a step   {:.0f}  ({} sequences of {}, {} micro-batches)\n",
                     length_.tokens_per_step, config_.train.micro_batch, sequence_,
                     config_.train.grad_accum);
  out += "length          ";
  if (length_.steps > 0) out += fmt::format("{} steps, ", length_.steps);
  if (const double tokens = length_.tokens(); tokens > 0)
    out += fmt::format("{:.3g} tokens, {:.2f} epochs\n", tokens, tokens / length_.tokens_per_epoch);
  else
    out += fmt::format("{} of training\n", format_seconds(length_.total));
  out += fmt::format("operations      {:.3g} FLOP a step\n", plan.step_flops);
  out += fmt::format("precision       {}\n", name_of(engine_.dtype()));
  out += fmt::format("memory          {}, all of it planned:\n", format_bytes(plan.bytes));
  for (const EnginePlan::Part& part : plan.parts)
    out += fmt::format("  {:>10}  {}\n", format_bytes(part.bytes), part.name);
  out += describe_fit();
  const int64_t checkpoint = checkpoint_bytes(const_cast<Engine&>(engine_).params());
  out += fmt::format("checkpoint      {} each\n", format_bytes(checkpoint));
  return out;
}

std::string Trainer::describe_fit() const {
  const int64_t room = engine_.room();
  if (room == 0) return "";
  const char* verdict = engine_.plan().bytes <= room ? "fits" : "DOES NOT FIT";
  if (device_.memory_bytes == 0)
    return fmt::format("available       {}: the run {}\n", format_bytes(room), verdict);
  Backend& ops = const_cast<Engine&>(engine_).ops();
  // Bytes of a plan like this one but for the micro-batch and what is recomputed.
  const auto bytes = [&](int64_t micro_batch, const std::string& recompute) {
    Config config = config_;
    config.train.micro_batch = micro_batch, config.model.recompute = recompute;
    const int64_t sequences =
        (most_sequences_ + config_.train.micro_batch - 1) / config_.train.micro_batch * micro_batch;
    return Engine(config, config.model.vocab, training_shape(config, *data_, sequences),
                  std::make_unique<PlanningBackend>(ops))
        .plan()
        .bytes;
  };
  const auto largest = [&](const std::string& recompute) {
    constexpr int64_t kMost = 1 << 16;
    int64_t fits = 0, above = 1;
    while (above <= kMost && bytes(above, recompute) <= room) fits = above, above *= 2;
    while (above - fits > 1) {
      const int64_t middle = fits + (above - fits) / 2;
      (bytes(middle, recompute) <= room ? fits : above) = middle;
    }
    return fits;
  };
  std::string out = fmt::format("GPU memory      {}, {} to be had: the run {}\n",
                                format_bytes(device_.memory_bytes), format_bytes(room), verdict);
  for (const std::string& recompute : recompute_levels(config_.model))
    if (const int64_t most = largest(recompute); most > 0)
      out +=
          fmt::format("                train.micro_batch up to {} fits with model.recompute={}\n",
                      most, recompute);
    else
      out +=
          fmt::format("                not one sequence fits with model.recompute={}\n", recompute);
  return out;
}

// That all evaluations of the run read; 0 where their number is not known beforehand.
double Trainer::evaluation_tokens() const {
  if (!data_->valid()) return 0;
  const double each =
      static_cast<double>(data_->valid()->count() * config_.train.micro_batch * sequence_);
  const Length every = config_.eval.every;
  if (every.value <= 0) return each;  // at the end
  const double whole = every.unit == Length::Unit::fraction ? 1
                       : every.unit == Length::Unit::steps  ? static_cast<double>(length_.steps)
                       : every.unit == Length::Unit::tokens ? length_.tokens()
                                                            : 0;
  return each * std::max(1.0, std::floor(whole / every.value));
}

std::vector<std::pair<std::string, std::string>> Trainer::environment() const {
  const char* gpus = std::getenv("CUDA_VISIBLE_DEVICES");
  const AttentionAlgorithm attention =
      chosen_attention(config_, const_cast<Engine&>(engine_).ops(), engine_.dtype());
  std::vector<std::pair<std::string, std::string>> out = {
      {"strobe", STROBE_VERSION},
      {"device", device_.name},
      {"visible_gpus", gpus ? gpus : ""},
      {"backend", device_.kind},
      {"threads", fmt::format("{}", threads())},
      {"precision", std::string(name_of(engine_.dtype()))},
      {"attention", std::string(name_of(attention))},
      {"compiler", __VERSION__},
      {"parameters", fmt::format("{}", engine_.plan().parameters)},
      {"tokens_per_step", fmt::format("{}", length_.tokens_per_step)},
      {"planned_steps", fmt::format("{}", length_.steps)},
      {"planned_evaluation_tokens", fmt::format("{:.0f}", evaluation_tokens())},
      {"flops_per_step", fmt::format("{:.4g}", engine_.plan().step_flops)},
      {"planned_bytes", fmt::format("{}", engine_.plan().bytes)},
      {"data", data_->place()},
      {"data_hash", fmt::format("{:016x}", data_->hash())}};
  for (auto& fact : data_->facts()) out.push_back(std::move(fact));
  return out;
}

}  // namespace strobe
