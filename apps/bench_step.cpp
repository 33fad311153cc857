// strobe bench step: the time of a training step, on synthetic tokens or on a recipe's own texts.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>

#include "apps/measure.h"
#include "apps/synthetic_batch.h"
#include "apps/table.h"
#include "apps/verbs.h"
#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/data/tokenizer.h"
#include "strobe/ops/make_backend.h"
#include "strobe/ops/profiling_backend.h"
#include "strobe/train/engine.h"
#include "strobe/train/run_config.h"
#include "strobe/train/run_data.h"

namespace strobe {

namespace {

struct BenchOptions {
  std::string recipe;
  std::vector<std::string> overrides;
  int64_t steps = 5, vocab = 0;
  double mean_length = 25;
  bool json = false, profile = false;
};

struct Vocabulary {
  int64_t entries;
  std::string origin;
};

// The recipe's own, or the one that a run of it would take from its dataset.
Vocabulary vocabulary_of(const BenchOptions& options, const Config& config) {
  constexpr int64_t kGpt2 = 50257;
  if (options.vocab < 0) fail("bench step: --vocab {} is negative", options.vocab);
  if (options.vocab > 0) return {options.vocab, "--vocab"};
  if (config.model.vocab != 0) return {config.model.vocab, "model.vocab"};
  const std::string file = config.data.path + "/tokenizer.json";
  if (config.data.path.empty()) return {kGpt2, "GPT-2's, since the recipe names no data"};
  if (!std::filesystem::exists(file))
    return {kGpt2, fmt::format("GPT-2's, since there is no dataset {}", config.data.path)};
  return {Tokenizer::load(file).vocab_size(), "of " + config.data.path};
}

int64_t status_kilobytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key)) return std::stoll(line.substr(key.size()));
  return 0;
}

// What steps are timed on: the batches of a recipe's labelled texts, or random ones. Where texts
// have lengths of their own, batches differ in shape.
class Batches {
 public:
  Batches(Config& config, int64_t vocab, double mean_length) : count_(config.train.grad_accum) {
    if (!config.texts.train.empty()) {
      data_ = open_run_data(config);
      config = resolve(std::move(config), *data_);
      data_->begin(config);
      return;
    }
    check_shape({.training = true,
                 .sequences = config.train.micro_batch,
                 .length = config.train.sequence,
                 .micro_batches = count_},
                config.model.context);
    constexpr size_t kSteps = 16;
    random_.resize(lengths_vary(config) ? kSteps : 1);
    uint32_t number = 0;
    for (std::vector<HostBatch>& step : random_)
      for (int64_t i = 0; i < count_; ++i)
        step.push_back(synthetic_batch(config, vocab, mean_length, number++));
  }

  /// Steps until a device has recorded the shapes that will come.
  int64_t warmup(bool overlap) const {
    const int64_t rounds = overlap ? 4 : 2;  // a shape is recorded when it comes the second time
    const int64_t steps = data_ ? kSeen : static_cast<int64_t>(random_.size());
    return overlap && steps > 1 ? std::max(rounds, 2 * steps) : rounds;
  }
  EngineShape shape(const Config& config) const {
    if (data_)
      return training_shape(config, *data_, data_->train().most_sequences(config.train.sequence));
    return {.training = true,
            .sequences = config.train.micro_batch,
            .length = config.train.sequence,
            .micro_batches = count_,
            .most_sequences = config.train.micro_batch + (lengths_vary(config) ? 1 : 0),
            .scored_rows = static_cast<int64_t>(random_[0][0].targets.size())};
  }
  const std::vector<HostBatch>& of_step(int64_t step) {
    if (!data_) return now_ = random_[static_cast<size_t>(step) % random_.size()];
    now_.resize(static_cast<size_t>(count_));
    for (int64_t i = 0; i < count_; ++i)
      data_->train().fill(now_[static_cast<size_t>(i)], step * count_ + i, 0);
    return now_;
  }
  /// Tokens of the batches at hand, without rows that only fill them up.
  double tokens() const {
    double sum = 0;
    for (const HostBatch& batch : now_)
      sum += batch.starts.empty()
                 ? static_cast<double>(batch.tokens.size())
                 : static_cast<double>(batch.starts[static_cast<size_t>(batch.sequences)]);
    return sum;
  }

 private:
  static constexpr int64_t kSeen = 32;

  int64_t count_;
  std::unique_ptr<RunData> data_;
  std::vector<std::vector<HostBatch>> random_;  // that the steps take in turn
  std::vector<HostBatch> now_;
};

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
    fmt::print("roof: {:.3g} TFLOP/s, {:.0f} GB/s\n", roof.flops * 1e-12, roof.bytes * 1e-9);
  else
    fmt::print("roof: {:.0f} GB/s, as a copy runs; the peak of products is not known\n",
               roof.bytes * 1e-9);
}

// The share of a step during which the device runs nothing; NaN where that cannot be told.
double idle_share(Engine& engine, const Config& config, const std::vector<HostBatch>& batches) {
  int64_t step = 0;
  engine.start_step({.seed = static_cast<uint64_t>(config.seed)}, batches);
  const double busy = engine.ops().busy_share([&] {  // as in training: a step is under way
    StepInput input;
    input.seed = static_cast<uint64_t>(config.seed), input.step = ++step, input.lr = 1e-4f;
    engine.start_step(input, batches);
    engine.finish_step();
  });
  engine.finish_step();
  return 1 - busy;
}

int run_bench(const BenchOptions& options) {
  if (!(options.mean_length >= 1))
    fail("bench step: --mean-length {} is not 1 or more", options.mean_length);
  if (options.steps < 1) fail("bench step: --steps {} is not 1 or more", options.steps);
  Config config = load_config(options.recipe, options.overrides).config;
  if (config.train.sequence == 0) config.train.sequence = config.model.context;
  auto [vocab, vocab_origin] = vocabulary_of(options, config);
  Batches batches(config, vocab, options.mean_length);
  if (!config.texts.train.empty())
    vocab = config.model.vocab, vocab_origin = "of " + config.init_from;
  const std::unique_ptr<Backend> real = make_backend(config.backend);
  auto profiling = options.profile ? std::make_unique<ProfilingBackend>(*real) : nullptr;
  ProfilingBackend* const profile = profiling.get();
  Engine engine(config, vocab, batches.shape(config), std::move(profiling));
  const int64_t resident_before = status_kilobytes("VmRSS:") * 1024;
  engine.allocate();
  initialise_params(engine.ops(), engine.model(), static_cast<uint64_t>(config.seed));

  // As in training: where ops run after they return, a step is under way while the results of the
  // one before it are read. The time of a step is from one completion to the next.
  const bool overlap = !profile && engine.ops().info().asynchronous;
  const int64_t warmup = batches.warmup(overlap);
  Timings timings(/*watch_threads=*/!overlap);
  const auto missing = [&] {
    const auto runs = static_cast<int64_t>(timings.runs());
    return static_cast<int64_t>(timings.clean_runs()) < options.steps && runs < 4 * options.steps;
  };
  double rows = 0, steps = 0;
  for (int64_t i = 0; i < warmup + overlap || missing(); ++i) {
    StepInput input;
    input.seed = static_cast<uint64_t>(config.seed), input.step = i, input.lr = 1e-4f;
    if (i == warmup && profile) profile->reset();
    engine.start_step(input, batches.of_step(i));
    if (i >= warmup) rows += batches.tokens(), ++steps;
    if (overlap && i == 0) continue;
    engine.finish_step();
    if (i >= warmup + overlap) timings.end();
    timings.begin();
  }
  if (overlap) engine.finish_step();
  const Measured measured = timings.result();
  const double step = measured.median;
  const double idle = overlap ? idle_share(engine, config, batches.of_step(0)) : NAN;
  const double tokens = rows / steps;
  const auto sequences = static_cast<double>(config.train.micro_batch * config.train.grad_accum);
  const double flops = engine.model().flops_per_token(config.train.sequence) * tokens;
  const DeviceInfo device = engine.ops().info();
  const bool own_memory = device.memory_bytes > 0;
  const int64_t peak = own_memory ? engine.plan().bytes + device.fixed_bytes
                                  : status_kilobytes("VmHWM:") * 1024 - resident_before;
  if (options.json) {
    fmt::print(
        R"({{"step_ms": {}, "tokens_per_second": {}, "sequences_per_second": {}, "gflops": {}, "idle_share": {}, "busy": {}, "vocab": {}, "parameters": {}, "planned_bytes": {}, "peak_bytes": {}}})"
        "\n",
        json_cell(step * 1e3), json_cell(tokens / step), json_cell(sequences / step),
        json_cell(flops / step / 1e9), json_cell(idle), measured.busy, vocab,
        engine.plan().parameters, engine.plan().bytes, peak);
  } else {
    const auto line = [](const char* name, const std::string& value) {
      fmt::print("{:<12} {}\n", name, value);
    };
    if (measured.busy) {
      line("busy", fmt::format("the step could not be timed (in {} steps threads waited for a "
                               "core {:.0f} % of the time); run it again when the machine is calm",
                               timings.runs(), 100 * measured.waited));
    } else {
      line("step", fmt::format("{:.2f} ms (median of {})", step * 1e3, timings.clean_runs()));
      line("tokens/s", fmt::format("{:.0f}", tokens / step));
      line("sequences/s",
           fmt::format("{:.1f}  (of {:.1f} tokens)", sequences / step, tokens / sequences));
      line("GFLOP/s", fmt::format("{:.1f}  (as the model counts them: products and attention)",
                                  flops / step / 1e9));
    }
    if (!std::isnan(idle))
      line("idle", fmt::format("{:.2f} %  (of the step, the device runs nothing)", 100 * idle));
    line("vocabulary", fmt::format("{}  ({})", vocab, vocab_origin));
    line("parameters",
         fmt::format("{:.2f} M", static_cast<double>(engine.plan().parameters) / 1e6));
    line("planned", format_bytes(engine.plan().bytes));
    line("peak",
         fmt::format("{}  ({})", format_bytes(peak),
                     own_memory ? "of the GPU: the plan, and what the backend takes beside it"
                                : "resident, over the start"));
  }
  if (profile) {
    constexpr int64_t kCopied = int64_t{256} << 20;
    Roof roof;
    roof.flops = device.peak(engine.dtype());
    roof.bytes = 2.0 * kCopied / measure_copy(*real, kCopied).seconds;
    print_profile(profile->ops(), static_cast<int64_t>(timings.runs()), roof);
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
            options.value(o->vocab, "--vocab", "vocabulary; 0: the recipe's, else its dataset's");
            options.value(o->mean_length, "--mean-length",
                          "tokens of a text, for a model that classifies texts");
            options.flag(o->json, "--json", "print one JSON object");
            options.flag(o->profile, "--profile", "also the time of each op");
            return [o] { return run_bench(*o); };
          }};
}

}  // namespace strobe
