// strobe bench step: the time of a training step, on synthetic tokens.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>

#include "apps/measure.h"
#include "apps/verbs.h"
#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "strobe/ops/make_backend.h"
#include "strobe/ops/profiling_backend.h"
#include "strobe/train/engine.h"

namespace strobe {

namespace {

struct BenchOptions {
  std::string recipe;
  std::vector<std::string> overrides;
  int64_t steps = 5, vocab = 50257;
  bool json = false, profile = false;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int64_t status_kilobytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key)) return std::stoll(line.substr(key.size()));
  return 0;
}

HostBatch random_batch(const Config& config, int64_t vocab, uint32_t stream) {
  HostBatch batch;
  batch.sequences = config.train.micro_batch, batch.length = config.train.sequence;
  const auto rows = static_cast<size_t>(batch.sequences * batch.length);
  RandomSequence random(static_cast<uint64_t>(config.seed), RandomUse::sample, stream);
  for (size_t i = 0; i < rows; ++i) {
    batch.tokens.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(vocab))));
    batch.targets.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(vocab))));
  }
  batch.scored = static_cast<int64_t>(rows);
  return batch;
}

// What the device can do at most: operations and bytes a second; 0 where it is not known.
struct Roof {
  double flops = 0, bytes = 0;
};

// Time of each op in a step, the longest first; and the share of it that the op would take if it
// ran at the roof: at the device's peak or its copy rate, whichever takes longer.
void print_profile(const OpTotals& ops, int64_t steps, const Roof& roof) {
  std::vector<std::pair<std::string, OpTotal>> rows(ops.begin(), ops.end());
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  const double total = total_of(ops).seconds, n = static_cast<double>(steps);
  fmt::print("\n{:<24} {:>6} {:>10} {:>6} {:>9} {:>9} {:>9} {:>8} {:>6}\n", "op", "calls",
             "ms a step", "share", "GFLOP", "MB", "GFLOP/s", "GB/s", "roof");
  for (const auto& [name, op] : rows) {
    const double at_roof = std::max(roof.flops > 0 ? op.flops / roof.flops : 0,
                                    roof.bytes > 0 ? op.bytes / roof.bytes : 0);
    fmt::print("{:<24} {:>6} {:>10.2f} {:>4.1f} % {:>9.1f} {:>9.1f} {:>9.0f} {:>8.1f} {:>4.0f} %\n",
               name, op.calls / steps, op.seconds * 1e3 / n, 100 * op.seconds / total,
               op.flops / n * 1e-9, op.bytes / n * 1e-6, op.flops / op.seconds / 1e9,
               op.bytes / op.seconds / 1e9, 100 * at_roof / op.seconds);
  }
  if (roof.flops > 0)
    fmt::print("roof: {:.0f} TFLOP/s, {:.0f} GB/s\n", roof.flops * 1e-12, roof.bytes * 1e-9);
  else
    fmt::print("roof: {:.0f} GB/s, as a copy runs; the peak of products is not known\n",
               roof.bytes * 1e-9);
}

int run_bench(const BenchOptions& options) {
  if (options.steps < 1) fail("bench step: --steps {} is not 1 or more", options.steps);
  Config config = load_config(options.recipe, options.overrides).config;
  const int64_t vocab = config.model.vocab != 0 ? config.model.vocab : options.vocab;
  if (config.train.sequence == 0) config.train.sequence = config.model.context;
  const std::unique_ptr<Backend> real = make_backend(config.backend);
  auto profiling = options.profile ? std::make_unique<ProfilingBackend>(*real) : nullptr;
  ProfilingBackend* const profile = profiling.get();
  Engine engine(config, vocab,
                {.training = true,
                 .sequences = config.train.micro_batch,
                 .length = config.train.sequence,
                 .micro_batches = config.train.grad_accum},
                std::move(profiling));
  const int64_t resident_before = status_kilobytes("VmRSS:") * 1024;
  engine.allocate();
  initialise_params(engine.ops(), engine.model(), static_cast<uint64_t>(config.seed));
  std::vector<HostBatch> batches;
  for (int64_t i = 0; i < config.train.grad_accum; ++i)
    batches.push_back(random_batch(config, vocab, static_cast<uint32_t>(i)));

  // As in training: where ops run after they return, a step is under way while the results of the
  // one before it are read. The time of a step is from one completion to the next.
  const bool overlap = !profile && engine.ops().info().asynchronous;
  const int64_t warmup = overlap ? 4 : 2;  // a GPU records the step in the second
  std::vector<double> seconds;
  double last = now();
  for (int64_t i = 0; i < warmup + options.steps + overlap; ++i) {
    StepInput input;
    input.seed = static_cast<uint64_t>(config.seed), input.step = i, input.lr = 1e-4f;
    if (i == warmup && profile) profile->reset();
    engine.start_step(input, batches);
    if (overlap && i == 0) continue;
    engine.finish_step();
    const double end = now();
    if (i >= warmup + overlap) seconds.push_back(end - last);
    last = end;
  }
  if (overlap) engine.finish_step();
  std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
  const double step = seconds[seconds.size() / 2];
  const double tokens = static_cast<double>(config.train.micro_batch * config.train.sequence *
                                            config.train.grad_accum);
  const double flops = engine.model().flops_per_token(config.train.sequence) * tokens;
  const DeviceInfo device = engine.ops().info();
  const bool own_memory = device.memory_bytes > 0;
  const int64_t peak = own_memory ? engine.plan().bytes + device.fixed_bytes
                                  : status_kilobytes("VmHWM:") * 1024 - resident_before;
  if (options.json)
    fmt::print(
        R"({{"step_ms": {:.3f}, "tokens_per_second": {:.1f}, "gflops": {:.1f}, "parameters": {}, "planned_bytes": {}, "peak_bytes": {}}})"
        "\n",
        step * 1e3, tokens / step, flops / step / 1e9, engine.plan().parameters,
        engine.plan().bytes, peak);
  else
    fmt::print(
        "step         {:.2f} ms (median of {})\ntokens/s     {:.0f}\nGFLOP/s      {:.1f}  (6 N + 6 "
        "L C T a token)\n"
        "parameters   {:.1f} M\nplanned      {}\npeak         {}  ({})\n",
        step * 1e3, options.steps, tokens / step, flops / step / 1e9,
        static_cast<double>(engine.plan().parameters) / 1e6, format_bytes(engine.plan().bytes),
        format_bytes(peak),
        own_memory ? "of the GPU: the plan, and what the backend takes beside it"
                   : "resident, over the start");
  if (profile) {
    constexpr int64_t kCopied = int64_t{256} << 20;
    Roof roof;
    if (engine.dtype() == DType::bf16) roof.flops = device.peak_flops;  // which is of bf16
    roof.bytes = 2.0 * kCopied / measure_copy(*real, kCopied).seconds;
    print_profile(profile->ops(), options.steps, roof);
  }
  return 0;
}

}  // namespace

Verb verb_bench_step() {
  return {"bench step", "Time of a training step", "strobe bench step recipes/demo.toml --steps 5",
          [](Options& options) {
            auto o = std::make_shared<BenchOptions>();
            options.value(o->recipe, "recipe", "recipe file (TOML)", Options::required);
            options.values(o->overrides, "overrides", "key=value");
            options.value(o->steps, "--steps", "steps to time, after two to warm up");
            options.value(o->vocab, "--vocab", "vocabulary, where the recipe takes the dataset's");
            options.flag(o->json, "--json", "print one JSON object");
            options.flag(o->profile, "--profile", "also the time of each op");
            return [o] { return run_bench(*o); };
          }};
}

}  // namespace strobe
