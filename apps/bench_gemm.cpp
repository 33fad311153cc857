// strobe bench gemm: matrix products of GPT-2's shapes.
#include <fmt/format.h>

#include "apps/measure.h"
#include "apps/table.h"
#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/core/threads.h"
#include "strobe/ops/make_backend.h"

namespace strobe {

namespace {

struct Settings {
  bool json = false;
  std::string backend = "auto", dtype = "auto";
  int64_t threads = 0, tokens = 1024, channels = 768, vocab = 50304;
};

// One weight (in, out) of the model and what it is for.
struct Layer {
  std::string name;
  int64_t in, out;
};

DType dtype_named(const std::string& name, const Backend& backend) {
  if (name == "f32") return DType::f32;
  if (name == "bf16") return DType::bf16;
  if (name == "auto") return backend.info().fast_bf16 ? DType::bf16 : DType::f32;
  fail("bench: unknown dtype '{}'; known are auto, f32, bf16", name);
}

void add_row(Table& table, Backend& ops, const std::string& name, const std::string& layout,
             Tensor c, Tensor a, Tensor b, bool accumulate) {
  const Measured time = measure(ops, [&] { ops.matmul(c, a, b, accumulate); });
  const double flops = 2.0 * static_cast<double>(c.numel()) * static_cast<double>(a.dim(1));
  Cell ms, gflops;
  if (!time.busy) ms = time.seconds * 1e3, gflops = flops / time.seconds * 1e-9;
  table.add({name, layout, std::string(name_of(a.dtype)), std::string(name_of(c.dtype)), c.dim(0),
             a.dim(1), c.dim(1), int64_t{threads()}, ms, gflops, time.busy});
}

int run(const Settings& s) {
  if (s.threads < 0 || s.tokens <= 0 || s.channels <= 0 || s.vocab <= 0)
    fail("bench gemm: tokens, channels and vocab must be positive, threads 0 or more");
  set_threads(static_cast<int>(s.threads));
  const auto ops = make_backend(s.backend);
  const DType dtype = dtype_named(s.dtype, *ops);
  const int64_t c = s.channels;
  const Layer layers[] = {{"c_attn", c, 3 * c},
                          {"c_proj", c, c},
                          {"mlp.c_fc", c, 4 * c},
                          {"mlp.c_proj", 4 * c, c},
                          {"head", c, s.vocab}};
  Table table({{"product"},
               {"layout"},
               {"dtype"},
               {"out"},
               {"M"},
               {"K"},
               {"N"},
               {"threads"},
               {"ms", 3},
               {"gflops", 0},
               {"busy", 0, false}});
  for (const Layer& layer : layers) {
    // The head's weight is the embedding, stored (out, in).
    const bool transposed = layer.name == "head";
    const Buffer x(*ops, dtype, {s.tokens, layer.in}), y(*ops, dtype, {s.tokens, layer.out});
    const Buffer stored(*ops, dtype,
                        {transposed ? layer.out : layer.in, transposed ? layer.in : layer.out});
    const Buffer dw(*ops, DType::f32, {stored.tensor().dim(0), stored.tensor().dim(1)});
    const Tensor w = transposed ? stored.tensor().transposed() : stored.tensor();
    add_row(table, *ops, layer.name + " forward", transposed ? "nt" : "nn", y, x, w, false);
    add_row(table, *ops, layer.name + " dx", transposed ? "nn" : "nt", x, y, w.transposed(), false);
    const Tensor left = transposed ? y : x, right = transposed ? x : y;
    add_row(table, *ops, layer.name + " dw", "tn", dw, left.transposed(), right, true);
  }
  table.print(s.json);
  return 0;
}

}  // namespace

Verb verb_bench_gemm() {
  return {"bench gemm", "Time the matrix products of GPT-2", "strobe bench gemm --dtype bf16",
          [](Options& options) {
            auto s = std::make_shared<Settings>();
            options.flag(s->json, "--json", "Print JSON");
            options.value(s->backend, "--backend", "auto, cpu or cuda");
            options.value(s->dtype, "--dtype", "f32, bf16, or auto for the faster");
            options.value(s->threads, "--threads", "Threads; 0 for one a core");
            options.value(s->tokens, "--tokens", "Rows of a batch");
            options.value(s->channels, "--channels", "Channels of the model");
            options.value(s->vocab, "--vocab", "Vocabulary");
            return [s] { return run(*s); };
          }};
}

}  // namespace strobe
