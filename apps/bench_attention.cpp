// strobe bench attention: the algorithms side by side, forward and backward.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <memory>
#include <sstream>
#include <vector>

#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "strobe/core/threads.h"
#include "strobe/ops/make_backend.h"

namespace strobe {

namespace {

struct Settings {
  bool json = false;
  std::string backend = "cpu", dtype = "f32", algorithms = "naive,flash1,flash2";
  int64_t batch = 1, heads = 12, kv_heads = 0, seq = 1024, head_dim = 64, repeats = 5, threads = 0;
  bool causal = true;
  double dropout = 0;
};

/// Device memory of one tensor.
struct Buffer {
  Buffer(Backend& backend, DType dtype, std::initializer_list<int64_t> shape) : backend(backend) {
    tensor = Tensor(nullptr, dtype, shape);
    tensor.data = backend.allocate(std::max<int64_t>(tensor.bytes(), 64));
  }
  ~Buffer() { backend.release(tensor.data); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  /// Standard normal.
  void randomize(uint32_t stream) {
    RandomSequence random(1, RandomUse::init, stream);
    std::vector<float> x(tensor.numel());
    for (float& y : x) y = random.normal();
    if (tensor.dtype == DType::f32) return backend.upload(tensor, x.data());
    std::vector<bf16> narrow(x.size());
    for (size_t i = 0; i < x.size(); ++i) narrow[i] = to_bf16(x[i]);
    backend.upload(tensor, narrow.data());
  }
  Backend& backend;
  Tensor tensor;
};

double seconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// The shortest of several runs, and how long they waited for a core: wall time x threads over CPU
/// time, 1 on a machine of one's own with work for every thread.
struct Timing {
  double best = INFINITY, wall = 0, cpu = 0;
  template <class Body>
  void operator()(Backend& backend, const Body& body) {
    if (backend.info().asynchronous) return on_device(backend, body);
    const double wall_before = seconds(CLOCK_MONOTONIC),
                 cpu_before = seconds(CLOCK_PROCESS_CPUTIME_ID);
    body();
    const double took = seconds(CLOCK_MONOTONIC) - wall_before;
    best = std::min(best, took);
    wall += took, cpu += seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_before;
  }
  /// By the device's clock, several runs at a time so that it never waits for the host.
  template <class Body>
  void on_device(Backend& backend, const Body& body) {
    constexpr int kRuns = 10;
    const double took = backend.seconds("attention", [&] {
      for (int i = 0; i < kRuns; ++i) body();
    });
    best = std::min(best, took / kRuns);
    wall += took, cpu += took;
  }
};

/// Slowest over fastest time of one f32 product, watched while the benchmark goes on: above 2 the
/// machine does something else too.
class Reference {
 public:
  explicit Reference(Backend& backend)
      : backend_(backend),
        a_(backend, DType::f32, {512, 512}),
        b_(backend, DType::f32, {512, 512}),
        c_(backend, DType::f32, {512, 512}) {
    a_.randomize(1), b_.randomize(2);
    for (int i = 0; i < 3; ++i) backend.matmul(c_.tensor, a_.tensor, b_.tensor);
    for (int i = 0; i < 5; ++i) measure();
    slowest_ = 0;
  }
  void measure() {
    const double took =
        backend_.seconds("reference", [&] { backend_.matmul(c_.tensor, a_.tensor, b_.tensor); });
    fastest_ = std::min(fastest_, took), slowest_ = std::max(slowest_, took);
  }
  double ratio() const { return slowest_ / fastest_; }

 private:
  Backend& backend_;
  Buffer a_, b_, c_;
  double fastest_ = INFINITY, slowest_ = 0;
};

struct Row {
  AttentionAlgorithm algorithm;
  Timing forward, backward;
  int64_t bytes;
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
  Buffer saved, workspace;
};

std::vector<AttentionAlgorithm> parse_algorithms(const std::string& list) {
  std::vector<AttentionAlgorithm> algorithms;
  std::stringstream names(list);
  for (std::string name; std::getline(names, name, ',');)
    algorithms.push_back(attention_algorithm(name));
  if (algorithms.empty()) fail("bench attention: --algorithms is empty; try naive,flash1,flash2");
  return algorithms;
}

void check_settings(const Settings& s) {
  for (int64_t n : {s.batch, s.heads, s.seq, s.head_dim, s.repeats})
    if (n < 1 || n > 1 << 24)
      fail("bench attention: sizes and --repeats are from 1 to 16777216, found {}", n);
  if (s.kv_heads < 0 || (s.kv_heads > 0 && s.heads % s.kv_heads != 0))
    fail("bench attention: --kv-heads must divide --heads {}, found {}", s.heads, s.kv_heads);
  if (s.dtype != "f32" && s.dtype != "bf16")
    fail("bench attention: --dtype is f32 or bf16, found '{}'", s.dtype);
  if (!(s.dropout >= 0 && s.dropout < 1))
    fail("bench attention: --dropout is at least 0 and below 1, found {}", s.dropout);
}

void print_json(const Settings& s, const AttentionShape& shape, const std::vector<Row>& rows) {
  fmt::print("[");
  for (size_t i = 0; i < rows.size(); ++i) {
    const double f = rows[i].forward.best, b = rows[i].backward.best;
    fmt::print(
        "{}\n {{\"algorithm\": \"{}\", \"dtype\": \"{}\", \"batch\": {}, \"heads\": {}, "
        "\"kv_heads\": {}, \"seq\": {}, \"head_dim\": {}, \"causal\": {}, \"dropout\": {}, "
        "\"forward_ms\": {:.4f}, \"backward_ms\": {:.4f}, \"forward_gflops\": {:.2f}, "
        "\"backward_gflops\": {:.2f}, \"workspace_bytes\": {}}}",
        i ? "," : "", name_of(rows[i].algorithm), s.dtype, s.batch, s.heads, shape.kv_heads, s.seq,
        s.head_dim, s.causal, s.dropout, f * 1e3, b * 1e3, attention_flops(shape, false) / f / 1e9,
        attention_flops(shape, true) / b / 1e9, rows[i].bytes);
  }
  fmt::print("\n]\n");
}

void print_table(const Settings& s, const AttentionShape& shape, const std::vector<Row>& rows,
                 const std::string& device) {
  fmt::print("{} B {} H {} Hkv {} T {} D {}{}{}, {}, {} threads\n\n", s.dtype, s.batch, s.heads,
             shape.kv_heads, s.seq, s.head_dim, shape.causal ? " causal" : "",
             s.dropout > 0 ? fmt::format(" dropout {}", s.dropout) : "", device, threads());
  fmt::print("{:<10} {:>12} {:>9} {:>13} {:>9} {:>13}\n", "algorithm", "forward ms", "GFLOP/s",
             "backward ms", "GFLOP/s", "memory KiB");
  for (const Row& row : rows)
    fmt::print("{:<10} {:>12.3f} {:>9.0f} {:>13.3f} {:>9.0f} {:>13.0f}\n", name_of(row.algorithm),
               row.forward.best * 1e3, attention_flops(shape, false) / row.forward.best / 1e9,
               row.backward.best * 1e3, attention_flops(shape, true) / row.backward.best / 1e9,
               static_cast<double>(row.bytes) / 1024);
}

int run(const Settings& s) {
  check_settings(s);
  if (s.threads > 0) set_threads(static_cast<int>(s.threads));
  const std::vector<AttentionAlgorithm> algorithms = parse_algorithms(s.algorithms);
  const std::unique_ptr<Backend> backend = make_backend(s.backend);
  const DType dtype = s.dtype == "f32" ? DType::f32 : DType::bf16;
  const int64_t n = s.batch * s.seq, kv_heads = s.kv_heads > 0 ? s.kv_heads : s.heads;

  Buffer q(*backend, dtype, {n, s.heads, s.head_dim}),
      k(*backend, dtype, {n, kv_heads, s.head_dim});
  Buffer v(*backend, dtype, {n, kv_heads, s.head_dim}),
      o(*backend, dtype, {n, s.heads, s.head_dim});
  Buffer dq(*backend, dtype, {n, s.heads, s.head_dim}),
      dk(*backend, dtype, {n, kv_heads, s.head_dim});
  Buffer dv(*backend, dtype, {n, kv_heads, s.head_dim}),
      d_o(*backend, dtype, {n, s.heads, s.head_dim});
  Buffer lse(*backend, DType::f32, {s.heads, n}), cu(*backend, DType::i32, {s.batch + 1});
  q.randomize(1), k.randomize(2), v.randomize(3), d_o.randomize(4);
  std::vector<int32_t> offsets;
  for (int64_t i = 0; i <= s.batch; ++i) offsets.push_back(static_cast<int32_t>(i * s.seq));
  backend->upload(cu.tensor, offsets.data());
  backend->set_step_state({});

  AttentionOp op;
  op.causal = s.causal;
  op.scale = 1 / std::sqrt(static_cast<float>(s.head_dim));
  op.dropout.p = static_cast<float>(s.dropout);
  op.cu_q = op.cu_k = cu.tensor;
  op.max_q = op.max_k = s.seq;
  const AttentionShape shape = attention_shape(q.tensor, k.tensor, op);

  Reference reference(*backend);
  std::vector<std::unique_ptr<Arm>> arms;
  std::vector<Row> rows;
  for (AttentionAlgorithm asked : algorithms) {
    const AttentionAlgorithm algorithm = backend->choose_attention(asked, shape, dtype);
    arms.push_back(std::make_unique<Arm>(*backend, algorithm, shape, dtype));
    const int64_t bytes = arms.back()->saved.tensor.bytes() + arms.back()->workspace.tensor.bytes();
    rows.push_back({algorithm, {}, {}, bytes});
  }
  // Alternately, so that a slow moment of the machine falls on every algorithm; the first round
  // warms up.
  for (int64_t repeat = 0; repeat <= s.repeats; ++repeat)
    for (size_t i = 0; i < arms.size(); ++i) {
      Row row = rows[i];
      op.algorithm = row.algorithm;
      const Tensor saved = arms[i]->saved.tensor, workspace = arms[i]->workspace.tensor;
      row.forward(*backend, [&] {
        backend->attention_forward(o.tensor, lse.tensor, saved, q.tensor, k.tensor, v.tensor, op,
                                   workspace);
      });
      row.backward(*backend, [&] {
        backend->attention_backward(dq.tensor, dk.tensor, dv.tensor, d_o.tensor, q.tensor, k.tensor,
                                    v.tensor, o.tensor, lse.tensor, saved, op, workspace);
      });
      if (repeat > 0) rows[i] = row;
      reference.measure();
    }
  s.json ? print_json(s, shape, rows) : print_table(s, shape, rows, backend->info().name);

  double wall = 0, cpu = 0;
  for (const Row& row : rows)
    wall += row.forward.wall + row.backward.wall, cpu += row.forward.cpu + row.backward.cpu;
  const bool starved = s.backend == "cpu" && cpu < 0.6 * wall * threads() && s.batch * s.heads > 1;
  if (reference.ratio() > 2 || starved)
    fmt::print(stderr,
               "strobe: bench attention: the machine is busy with something else: a reference "
               "product took up to {:.1f} times its best, and threads ran {:.0f} % of the time; "
               "run it again when it is calm\n",
               reference.ratio(), 100 * cpu / (wall * threads()));
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
            options.value(s->dtype, "--dtype", "f32 or bf16");
            options.value(s->batch, "--batch", "Sequences");
            options.value(s->heads, "--heads", "Query heads");
            options.value(s->kv_heads, "--kv-heads", "Key-value heads; as many as heads if 0");
            options.value(s->seq, "--seq", "Length of a sequence");
            options.value(s->head_dim, "--head-dim", "Elements of a head");
            options.flag(s->causal, "--causal", "No query sees later keys (the default); or --causal=false");
            options.value(s->dropout, "--dropout", "Probability to drop a score");
            options.value(s->algorithms, "--algorithms", "Any of naive,flash1,flash2");
            options.value(s->repeats, "--repeats", "Runs, of which the fastest counts");
            options.value(s->threads, "--threads", "Threads; one a core if 0");
            return [s] { return run(*s); };
          }};
}

}  // namespace strobe
