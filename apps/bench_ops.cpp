// strobe bench ops: the memory-bound ops, against the rate at which this machine copies memory.
#include <fmt/format.h>

#include <vector>

#include "apps/measure.h"
#include "apps/table.h"
#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "strobe/core/threads.h"
#include "strobe/ops/make_backend.h"
#include "strobe/ops/profiling_backend.h"

namespace strobe {

namespace {

struct Settings {
  bool json = false;
  std::string backend = "auto", dtype = "auto";
  int64_t threads = 0, tokens = 1024, channels = 768, vocab = 50304, parameters = 1 << 24;
};

int run(const Settings& s) {
  if (s.threads < 0 || s.tokens <= 0 || s.channels <= 0 || s.vocab <= 0 || s.parameters <= 0)
    fail("bench ops: sizes must be positive, threads 0 or more");
  set_threads(static_cast<int>(s.threads));
  const auto real = make_backend(s.backend);
  if (s.dtype != "auto" && s.dtype != "f32" && s.dtype != "bf16")
    fail("bench: unknown dtype '{}'; known are auto, f32, bf16", s.dtype);
  const bool narrow = s.dtype == "bf16" || (s.dtype == "auto" && real->info().fast_bf16);
  const DType dtype = narrow ? DType::bf16 : DType::f32;
  const int64_t n = s.tokens, c = s.channels;

  const Measured copy = measure_copy(*real, int64_t{256} << 20);
  const double copy_rate = 2.0 * (256 << 20) / copy.seconds;
  Table table({{"op"},
               {"dtype"},
               {"rows"},
               {"columns"},
               {"ms", 3},
               {"gb_per_s", 1},
               {"share_of_copy", 2},
               {"busy", 0, false}});
  // `rule`: what tells the op from others of its name.
  const auto row = [&](int64_t rows, int64_t columns, const std::function<void(Backend&)>& body,
                       const std::string& rule = "") {
    ProfilingBackend counted(*real);
    body(counted);
    const Measured time = measure(
        *real, [&] { body(*real); }, 0.1);
    const auto& [name, total] = *counted.ops().begin();
    Cell ms, rate, share;
    if (!time.busy) {
      const double bytes = total.bytes / static_cast<double>(total.calls);
      ms = time.seconds * 1e3, rate = bytes / time.seconds * 1e-9;
      if (!copy.busy) share = bytes / time.seconds / copy_rate;
    }
    table.add(
        {name + rule, std::string(name_of(dtype)), rows, columns, ms, rate, share, time.busy});
  };

  const Dropout drop = {.p = 0.1f, .site = 1};
  {
    const Buffer x(*real, dtype, {n, c}), y(*real, dtype, {n, c}), z(*real, dtype, {n, c});
    const Buffer sum(*real, dtype, {n, c}), weight(*real, dtype, {c}), bias(*real, dtype, {c});
    const Buffer mean(*real, DType::f32, {n}), rstd(*real, DType::f32, {n});
    const Buffer dweight(*real, DType::f32, {c}), dbias(*real, DType::f32, {c});
    const Buffer bias_of_branch(*real, DType::f32, {c});
    row(n, c, [&](Backend& ops) { ops.dropout(y, x, drop); });
    row(n, c, [&](Backend& ops) { ops.add_dropout(y, x, z, drop); });
    row(n, c, [&](Backend& ops) { ops.bias_forward(y, bias); });
    row(n, c, [&](Backend& ops) { ops.bias_backward(dbias, x); });
    row(n, c, [&](Backend& ops) { ops.layernorm_forward(y, mean, rstd, x, weight, bias, 1e-5f); });
    row(n, c, [&](Backend& ops) {
      ops.layernorm_backward(y, dweight, dbias, z, x, weight, mean, rstd, Tensor{}, {});
    });
    row(n, c, [&](Backend& ops) {
      ops.add_layernorm_forward(sum, y, mean, rstd, x, z, weight, bias, 1e-5f, drop);
    });
    row(n, c, [&](Backend& ops) {
      ops.add_layernorm_backward(y, z, dweight, dbias, bias_of_branch, x, y, sum, weight, mean,
                                 rstd, drop, NormPlace::pre, {});
    });
    const Buffer table0(*real, dtype, {s.vocab, c}), dtable(*real, DType::f32, {s.vocab, c});
    const Buffer ids(*real, DType::i32, {n});
    std::vector<int32_t> tokens(static_cast<size_t>(n));
    RandomSequence random(1, RandomUse::sample, 0);
    for (int32_t& id : tokens)
      id = static_cast<int32_t>(random.below(static_cast<uint64_t>(s.vocab)));
    real->upload(ids, tokens.data());
    const EmbeddingTable lookup = {table0, ids};
    row(n, c, [&](Backend& ops) { ops.embedding_forward(y, {&lookup, 1}); });
    row(n, c, [&](Backend& ops) { ops.embedding_backward(dtable, y, ids); });
  }
  {
    const Buffer x(*real, dtype, {n, 4 * c}), y(*real, dtype, {n, 4 * c});
    row(n, 4 * c, [&](Backend& ops) { ops.gelu_forward(y, x, Gelu::tanh); });
    row(n, 4 * c, [&](Backend& ops) { ops.gelu_backward(y, y, x, Gelu::tanh); });
  }
  {
    const int64_t rows = std::min(n, real->logit_rows());  // of logits, as the head's chunks have
    const Buffer logits(*real, dtype, {rows, s.vocab}), targets(*real, DType::i32, {rows});
    const Buffer losses(*real, DType::f32, {rows}), dlogits(*real, dtype, {rows, s.vocab});
    row(rows, s.vocab, [&](Backend& ops) {
      ops.cross_entropy(losses, dlogits, logits, targets, {.vocab = s.vocab});
    });
  }
  {
    const int64_t p = s.parameters;
    const Buffer value(*real, DType::f32, {p}), grad(*real, DType::f32, {p});
    const Buffer m(*real, DType::f32, {p}), v(*real, DType::f32, {p});
    const Buffer compute(*real, dtype, {p});
    UpdateTarget target;
    target.value = value, target.grad = grad, target.state0 = m, target.state1 = v;
    target.compute = dtype == DType::bf16 ? compute.tensor() : value.tensor();
    const Tensor grads[] = {grad};
    row(1, p, [&](Backend& ops) { ops.grad_norm(grads, 1); });
    row(
        1, p,
        [&](Backend& ops) {
          ops.update(AdamWRule{}, {&target, 1});
        },
        " adamw");
    row(
        1, p,
        [&](Backend& ops) {
          ops.update(LionRule{}, {&target, 1});
        },
        " lion");
    row(1, p, [&](Backend& ops) { ops.fill(grad, 0); });
    row(1, p, [&](Backend& ops) { ops.copy(compute, value); });
  }
  table.print(s.json);
  if (!s.json) {
    if (copy.busy)
      fmt::print("\nthe machine is busy: its copy rate could not be measured\n");
    else
      fmt::print("\ncopy: {:.1f} GB/s read and written, {} threads\n", copy_rate * 1e-9, threads());
  }
  return 0;
}

}  // namespace

Verb verb_bench_ops() {
  return {"bench ops", "Time the memory-bound ops against the copy rate",
          "strobe bench ops --dtype bf16", [](Options& options) {
            auto s = std::make_shared<Settings>();
            options.flag(s->json, "--json", "Print JSON");
            options.value(s->backend, "--backend", "auto, cpu or cuda");
            options.value(s->dtype, "--dtype", "f32, bf16, or auto for the faster in products");
            options.value(s->threads, "--threads", "Threads; 0 for one a core");
            options.value(s->tokens, "--tokens", "Rows of a batch");
            options.value(s->channels, "--channels", "Channels of the model");
            options.value(s->vocab, "--vocab", "Vocabulary");
            options.value(s->parameters, "--parameters", "Parameters of an update");
            return [s] { return run(*s); };
          }};
}

}  // namespace strobe
