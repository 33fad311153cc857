// strobe bench attention: the algorithms side by side, forward and backward.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <sstream>
#include <vector>

#include "apps/measure.h"
#include "apps/table.h"
#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/core/threads.h"
#include "strobe/model/layers.h"
#include "strobe/ops/make_backend.h"

namespace strobe {

namespace {

struct Settings {
  bool json = false, any_order = false, packed = false;
  std::string backend = "cpu", dtype = "f32", algorithms = "all";
  std::string variants = "full";  // of flash3
  int64_t batch = 1, heads = 12, kv_heads = 0, seq = 1024, head_dim = 64, repeats = 5, threads = 0;
  bool causal = true;
  double dropout = 0;

  bool fp8() const { return dtype == "fp8"; }  // of bf16 operands, forward only
};

/// Device memory of one tensor, random or not yet written.
struct Operand {
  Operand(Backend& backend, DType dtype, std::initializer_list<int64_t> shape) : backend(backend) {
    tensor = Tensor(nullptr, dtype, shape);
    tensor.data = backend.allocate(std::max<int64_t>(tensor.bytes(), 64));
  }
  ~Operand() { backend.release(tensor.data); }
  Operand(const Operand&) = delete;
  Operand& operator=(const Operand&) = delete;

  void randomize(uint32_t stream) { upload_normal(backend, tensor, stream); }
  Backend& backend;
  Tensor tensor;
};

// One run more, by the device's clock several at a time so that it never waits for the host.
void time(Timings& timings, Backend& backend, const std::function<void()>& body) {
  if (!backend.info().asynchronous) return timings.time(body);
  constexpr int kRuns = 10;
  timings.add(backend.seconds("attention", [&] {
    for (int i = 0; i < kRuns; ++i) body();
  }) / kRuns);
}

struct Row {
  AttentionAlgorithm algorithm;
  AttentionVariant variant;
  int64_t bytes;
  Timings forward, backward;
};

/// Queries, keys and values: tensors of their own, or columns of one projection, as models have
/// them.
struct Projection : Qkv {
  Projection(Backend& backend, DType dtype, int64_t rows, int64_t heads, int64_t kv_heads,
             int64_t dim, bool packed) {
    if (packed) {
      const Tensor all = add(backend, dtype, {rows, (heads + 2 * kv_heads) * dim});
      static_cast<Qkv&>(*this) = split_qkv(all, heads, kv_heads, dim);
    } else {
      q = add(backend, dtype, {rows, heads, dim});
      k = add(backend, dtype, {rows, kv_heads, dim});
      v = add(backend, dtype, {rows, kv_heads, dim});
    }
  }

 private:
  Tensor add(Backend& backend, DType dtype, std::initializer_list<int64_t> shape) {
    memory_.push_back(std::make_unique<Operand>(backend, dtype, shape));
    memory_.back()->randomize(static_cast<uint32_t>(memory_.size()));
    return memory_.back()->tensor;
  }
  std::vector<std::unique_ptr<Operand>> memory_;
};

/// One algorithm's memory, ready to run.
struct Arm {
  Arm(Backend& backend, AttentionAlgorithm algorithm, const AttentionShape& shape, DType dtype)
      : algorithm(algorithm),
        saved(backend, DType::u8, {backend.attention_saved_bytes(algorithm, shape, dtype)}),
        workspace(backend, DType::u8,
                  {std::max(backend.attention_workspace_bytes(algorithm, shape, dtype, false),
                            backend.attention_workspace_bytes(algorithm, shape, dtype, true))}) {}
  AttentionAlgorithm algorithm;
  Operand saved, workspace;
};

std::vector<AttentionAlgorithm> parse_algorithms(const std::string& list) {
  std::vector<AttentionAlgorithm> algorithms;
  std::stringstream names(list);
  for (std::string name; std::getline(names, name, ',');)
    algorithms.push_back(attention_algorithm(name));
  if (algorithms.empty()) fail("bench attention: --algorithms is empty; try naive,flash1,flash2");
  return algorithms;
}

std::vector<AttentionAlgorithm> all_that_run(const Backend& backend, const AttentionShape& shape,
                                             DType dtype) {
  using enum AttentionAlgorithm;
  std::vector<AttentionAlgorithm> algorithms;
  for (AttentionAlgorithm algorithm : {naive, flash1, flash2, flash3})
    if (backend.attention_unsupported(algorithm, shape, dtype).empty())
      algorithms.push_back(algorithm);
  return algorithms;
}

std::vector<AttentionVariant> parse_variants(const std::string& list) {
  std::vector<AttentionVariant> variants;
  std::stringstream names(list);
  for (std::string name; std::getline(names, name, ',');)
    variants.push_back(attention_variant(name));
  if (variants.empty())
    fail("bench attention: --variant is empty; try full,no-overlap,no-specialisation");
  return variants;
}

void check_settings(const Settings& s) {
  for (int64_t n : {s.batch, s.heads, s.seq, s.head_dim, s.repeats})
    if (n < 1 || n > 1 << 24)
      fail("bench attention: sizes and --repeats are from 1 to 16777216, found {}", n);
  if (s.kv_heads < 0 || (s.kv_heads > 0 && s.heads % s.kv_heads != 0))
    fail("bench attention: --kv-heads must divide --heads {}, found {}", s.heads, s.kv_heads);
  if (s.dtype != "f32" && s.dtype != "bf16" && s.dtype != "fp8")
    fail("bench attention: --dtype is f32, bf16 or fp8, found '{}'", s.dtype);
  if (s.fp8() && s.dropout > 0)
    fail("bench attention: fp8 has no dropout, found --dropout {}; 0 or another --dtype",
         s.dropout);
  if (!(s.dropout >= 0 && s.dropout < 1))
    fail("bench attention: --dropout is at least 0 and below 1, found {}", s.dropout);
  if (s.dropout > 0 && s.variants != "full")
    fail("bench attention: --variant {} has no dropout; --dropout 0 goes with it", s.variants);
}

void print(const Settings& s, const AttentionShape& shape, const std::vector<Row>& rows,
           const std::string& device) {
  if (!s.json)
    fmt::print("{} B {} H {} Hkv {} T {} D {}{}{}, {}, {} threads\n\n", s.dtype, s.batch, s.heads,
               shape.kv_heads, s.seq, s.head_dim, shape.causal ? " causal" : "",
               s.dropout > 0 ? fmt::format(" dropout {}", s.dropout) : "", device, threads());
  Table table({{"algorithm"},
               {"variant", 0, s.variants != "full"},
               {"dtype", 0, false},
               {"batch", 0, false},
               {"heads", 0, false},
               {"kv_heads", 0, false},
               {"seq", 0, false},
               {"head_dim", 0, false},
               {"causal", 0, false},
               {"dropout", 0, false},
               {"forward_ms", 3},
               {"forward_gflops", 0},
               {"backward_ms", 3},
               {"backward_gflops", 0},
               {"workspace_bytes"},
               {"busy", 0, false}});
  for (const Row& row : rows) {
    const Measured forward = row.forward.result();
    const Measured backward = s.fp8() ? Measured{} : row.backward.result();
    Cell forward_ms, forward_rate, backward_ms, backward_rate;
    if (!forward.busy)
      forward_ms = forward.seconds * 1e3,
      forward_rate = attention_flops(shape, false) / forward.seconds / 1e9;
    if (!s.fp8() && !backward.busy)
      backward_ms = backward.seconds * 1e3,
      backward_rate = attention_flops(shape, true) / backward.seconds / 1e9;
    table.add({std::string(name_of(row.algorithm)), std::string(name_of(row.variant)), s.dtype,
               s.batch, s.heads, shape.kv_heads, s.seq, s.head_dim, s.causal, s.dropout, forward_ms,
               forward_rate, backward_ms, backward_rate, row.bytes, forward.busy || backward.busy});
  }
  table.print(s.json);
}

int run(const Settings& s) {
  check_settings(s);
  if (s.threads > 0) set_threads(static_cast<int>(s.threads));
  std::vector<AttentionAlgorithm> algorithms;
  if (s.algorithms != "all") algorithms = parse_algorithms(s.algorithms);
  const std::vector<AttentionVariant> variants = parse_variants(s.variants);
  const std::unique_ptr<Backend> backend = make_backend(s.backend);
  const DType dtype = s.dtype == "f32" ? DType::f32 : DType::bf16;
  const int64_t n = s.batch * s.seq, kv_heads = s.kv_heads > 0 ? s.kv_heads : s.heads;

  const Projection x(*backend, dtype, n, s.heads, kv_heads, s.head_dim, s.packed);
  const Projection dx(*backend, dtype, n, s.heads, kv_heads, s.head_dim, s.packed);
  Operand o(*backend, dtype, {n, s.heads, s.head_dim}),
      d_o(*backend, dtype, {n, s.heads, s.head_dim});
  Operand lse(*backend, DType::f32, {s.heads, n}), cu(*backend, DType::i32, {s.batch + 1});
  d_o.randomize(4);
  std::vector<int32_t> offsets;
  for (int64_t i = 0; i <= s.batch; ++i) offsets.push_back(static_cast<int32_t>(i * s.seq));
  backend->upload(cu.tensor, offsets.data());
  backend->set_step_state({});

  AttentionOp op;
  op.causal = s.causal;
  op.deterministic = !s.any_order;
  op.fp8 = s.fp8();
  op.scale = 1 / std::sqrt(static_cast<float>(s.head_dim));
  op.dropout.p = static_cast<float>(s.dropout);
  op.cu_q = op.cu_k = cu.tensor;
  op.max_q = op.max_k = s.seq;
  const AttentionShape shape = attention_shape(x.q, x.k, op);

  if (algorithms.empty()) algorithms = all_that_run(*backend, shape, dtype);
  std::vector<std::unique_ptr<Arm>> arms;
  std::vector<Row> rows;
  for (AttentionAlgorithm asked : algorithms) {
    const AttentionAlgorithm algorithm = backend->choose_attention(asked, shape, dtype);
    for (AttentionVariant variant : algorithm == AttentionAlgorithm::flash3
                                        ? variants
                                        : std::vector<AttentionVariant>{AttentionVariant::full}) {
      arms.push_back(std::make_unique<Arm>(*backend, algorithm, shape, dtype));
      const int64_t bytes =
          arms.back()->saved.tensor.bytes() + arms.back()->workspace.tensor.bytes();
      rows.push_back({algorithm, variant, bytes, Timings(), Timings()});
    }
  }
  // Alternately, so that a slow moment of the machine falls on every algorithm; the first round
  // warms up. On a busy machine up to four times as many.
  const auto missing = [&](const Timings& timings) {
    return static_cast<int64_t>(timings.clean_runs()) < s.repeats;
  };
  for (int64_t round = 0; round <= 4 * s.repeats; ++round) {
    if (round > 0 && std::none_of(rows.begin(), rows.end(), [&](const Row& row) {
          return missing(row.forward) || (!op.fp8 && missing(row.backward));
        }))
      break;
    for (size_t i = 0; i < arms.size(); ++i) {
      Row row = rows[i];
      op.algorithm = row.algorithm, op.variant = row.variant;
      const Tensor saved = arms[i]->saved.tensor, workspace = arms[i]->workspace.tensor;
      time(row.forward, *backend, [&] {
        backend->attention_forward(o.tensor, lse.tensor, saved, x.q, x.k, x.v, op, workspace);
      });
      if (!op.fp8)
        time(row.backward, *backend, [&] {
          backend->attention_backward(dx.q, dx.k, dx.v, d_o.tensor, x.q, x.k, x.v, o.tensor,
                                      lse.tensor, saved, op, workspace);
        });
      if (round > 0) rows[i] = row;
    }
  }
  print(s, shape, rows, backend->info().name);
  return 0;
}

}  // namespace

Verb verb_bench_attention() {
  return {"bench attention", "Time the attention algorithms, forward and backward",
          "strobe bench attention --dtype bf16 --seq 4096 --algorithms naive,flash2",
          [](Options& options) {
            auto s = std::make_shared<Settings>();
            options.flag(s->json, "--json", "Print JSON instead of a table");
            options.value(s->backend, "--backend", "auto, cpu or cuda");
            options.value(s->dtype, "--dtype", "f32 or bf16; fp8: flash3's forward, bf16 operands");
            options.value(s->batch, "--batch", "Sequences");
            options.value(s->heads, "--heads", "Query heads");
            options.value(s->kv_heads, "--kv-heads", "Key-value heads; as many as heads if 0");
            options.value(s->seq, "--seq", "Length of a sequence");
            options.value(s->head_dim, "--head-dim", "Elements of a head");
            options.flag(s->causal, "--causal",
                         "No query sees later keys (the default); or --causal=false");
            options.flag(s->any_order, "--any-order",
                         "Let a GPU's backward add in any order: other bits in every run");
            options.flag(s->packed, "--packed",
                         "Queries, keys and values are columns of one projection, as in models");
            options.value(s->dropout, "--dropout", "Probability to drop a score");
            options.value(s->algorithms, "--algorithms",
                          "Any of naive,flash1,flash2,flash3; or all that run here");
            options.value(s->variants, "--variant",
                          "Of flash3's forward: any of full,no-overlap,no-specialisation");
            options.value(s->repeats, "--repeats", "Runs, of which the fastest counts");
            options.value(s->threads, "--threads", "Threads; one a core if 0");
            return [s] { return run(*s); };
          }};
}

}  // namespace strobe
