// Attention on the CPU against a double-precision reference, by FlashAttention's rule: the error is
// at most twice (gradients: three times) that of the plain formula at the same precision, plus a
// rounding floor.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "strobe/core/error.h"
#include "strobe/core/rng.h"
#include "strobe/core/threads.h"
#include "strobe/cpu/attention.h"
#include "strobe/cpu/isa_select.h"
#include "tests/reference/attention.h"

namespace strobe {
namespace {

using reference::AttentionValues;
using reference::Precision;

struct Case {
  std::vector<int> queries, keys{};  // lengths of the sequences; no keys: as the queries
  int64_t heads = 2, kv_heads = 2, dim = 64;
  bool causal = true;
  float dropout = 0;
  DType dtype = DType::f32;
  bool strided = false;  // q, k, v (and gradients) inside a packed projection
};

std::string name(const Case& c) {
  std::string lengths;
  for (size_t i = 0; i < c.queries.size(); ++i)
    lengths += fmt::format("{}x{} ", c.queries[i], c.keys.empty() ? c.queries[i] : c.keys[i]);
  return fmt::format("T {}H {} Hkv {} D {} {}{}{}{}", lengths, c.heads, c.kv_heads, c.dim,
                     name_of(c.dtype), c.causal ? " causal" : "", c.dropout > 0 ? " dropout" : "",
                     c.strided ? " strided" : "");
}

std::vector<int> offsets(const std::vector<int>& lengths) {
  std::vector<int> cu{0};
  for (int n : lengths) cu.push_back(cu.back() + n);
  return cu;
}

/// Memory that starts out as NaN.
struct Memory {
  explicit Memory(int64_t bytes) : bytes((bytes + 63) / 64 * 64 + 64, 0xff) {}
  void* data() {
    return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(bytes.data()) + 63) / 64 * 64);
  }
  std::vector<uint8_t> bytes;
};

/// One operand, alone or as columns of a wider matrix.
struct Operand {
  Operand(DType dtype, int64_t rows, int64_t heads, int64_t dim, bool strided)
      : memory(rows * (heads * dim + (strided ? 40 : 0)) * size_of(dtype) + 128) {
    tensor =
        Tensor(static_cast<char*>(memory.data()) + (strided ? 24 : 0), dtype, {rows, heads, dim});
    tensor.strides[0] = heads * dim + (strided ? 40 : 0);
  }
  void set(const std::vector<double>& x) {
    for_each([&](int64_t i, int64_t at) {
      if (tensor.dtype == DType::f32)
        tensor.as<float>()[at] = static_cast<float>(x[i]);
      else
        tensor.as<bf16>()[at] = to_bf16(static_cast<float>(x[i]));
    });
  }
  std::vector<double> get() const {
    std::vector<double> x(tensor.numel());
    for_each([&](int64_t i, int64_t at) {
      x[i] = tensor.dtype == DType::f32 ? tensor.as<float>()[at] : to_float(tensor.as<bf16>()[at]);
    });
    return x;
  }
  template <class Body>
  void for_each(const Body& body) const {
    int64_t i = 0;
    for (int64_t r = 0; r < tensor.dim(0); ++r)
      for (int64_t c = 0; c < tensor.dim(1) * tensor.dim(2); ++c)
        body(i++, r * tensor.strides[0] + c);
  }
  Memory memory;
  Tensor tensor;
};

struct Result {
  std::vector<double> o, lse, dq, dk, dv;
  bool operator==(const Result& y) const = default;
};

struct Trial {
  explicit Trial(const Case& c) : c(c) {
    cu_q = offsets(c.queries), cu_k = c.keys.empty() ? cu_q : offsets(c.keys);
    op.causal = c.causal;
    op.scale = 1 / std::sqrt(static_cast<float>(c.dim));
    op.dropout = {c.dropout, 3};
    op.cu_q = Tensor(cu_q.data(), DType::i32, {int64_t(cu_q.size())});
    op.cu_k = Tensor(cu_k.data(), DType::i32, {int64_t(cu_k.size())});
    for (size_t i = 0; i + 1 < cu_q.size(); ++i) {
      op.max_q = std::max<int64_t>(op.max_q, cu_q[i + 1] - cu_q[i]);
      op.max_k = std::max<int64_t>(op.max_k, cu_k[i + 1] - cu_k[i]);
    }
    shape = {int64_t(cu_q.size()) - 1,
             op.max_q,
             op.max_k,
             cu_q.back(),
             cu_k.back(),
             c.heads,
             c.kv_heads,
             c.dim,
             c.causal};
    state.seed = 7, state.step = 11, state.micro_step = 1;
    RandomSequence random(5, RandomUse::init, static_cast<uint32_t>(c.dim));
    const auto draw = [&](std::vector<double>& x, int64_t n) {
      x.resize(n);
      for (double& y : x) {
        const float value = random.normal();
        y = c.dtype == DType::f32 ? value : to_float(to_bf16(value));
      }
    };
    draw(values.q, shape.total_q * c.heads * c.dim),
        draw(values.k, shape.total_k * c.kv_heads * c.dim);
    draw(values.v, shape.total_k * c.kv_heads * c.dim), draw(values.d_o, values.q.size());
  }

  Result operator()(AttentionAlgorithm algorithm) {
    op.algorithm = algorithm;
    EXPECT_EQ(cpu::attention_unsupported(algorithm, shape, c.dtype), "");
    const auto queries = [&] { return Operand(c.dtype, shape.total_q, c.heads, c.dim, c.strided); };
    const auto keys = [&] { return Operand(c.dtype, shape.total_k, c.kv_heads, c.dim, c.strided); };
    Operand q = queries(), d_o = queries(), o = queries(), dq = queries();
    Operand k = keys(), v = keys(), dk = keys(), dv = keys();
    q.set(values.q), k.set(values.k), v.set(values.v), d_o.set(values.d_o);
    const auto bytes = [](Memory& m, int64_t n) { return Tensor(m.data(), DType::u8, {n}); };
    const int64_t saved_bytes = cpu::attention_saved_bytes(algorithm, shape, c.dtype);
    const int64_t forward = cpu::attention_workspace_bytes(algorithm, shape, c.dtype, false);
    const int64_t backward = cpu::attention_workspace_bytes(algorithm, shape, c.dtype, true);
    Memory saved(saved_bytes), work(forward), work2(backward),
        lse_memory(c.heads * shape.total_q * 4);
    Tensor lse(lse_memory.data(), DType::f32, {c.heads, shape.total_q});
    cpu::attention_forward(o.tensor, lse, bytes(saved, saved_bytes), q.tensor, k.tensor, v.tensor,
                           op, state, bytes(work, forward));
    cpu::attention_backward(dq.tensor, dk.tensor, dv.tensor, d_o.tensor, q.tensor, k.tensor,
                            v.tensor, o.tensor, lse, bytes(saved, saved_bytes), op, state,
                            bytes(work2, backward));
    return {
        o.get(), {lse.as<float>(), lse.as<float>() + lse.numel()}, dq.get(), dk.get(), dv.get()};
  }

  AttentionValues reference(Precision precision) const {
    AttentionValues x = values;
    reference::attention(x, shape, op, cu_q, cu_k, state, precision);
    return x;
  }

  Case c;
  std::vector<int> cu_q, cu_k;
  AttentionOp op;
  AttentionShape shape;
  StepState state;
  AttentionValues values;
};

/// The largest difference; infinite if anything is NaN or only one side is infinite.
double error(const std::vector<double>& x, const std::vector<double>& y) {
  double worst = x.size() == y.size() ? 0 : INFINITY;
  for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
    const double e = x[i] == y[i] ? 0 : std::abs(x[i] - y[i]);
    if (!(e <= worst)) worst = std::isnan(e) ? INFINITY : e;
  }
  return worst;
}

double largest(const std::vector<double>& x) {
  double most = 0;
  for (double y : x)
    if (std::isfinite(y)) most = std::max(most, std::abs(y));
  return most;
}

void expect_close(const char* what, const std::vector<double>& x, const std::vector<double>& exact,
                  const std::vector<double>& plain, double factor, double epsilon,
                  double floor = 0) {
  const double limit = factor * error(plain, exact) + 2 * epsilon * largest(exact) + floor;
  EXPECT_LE(error(x, exact), limit) << what;
}

const AttentionAlgorithm kAll[] = {AttentionAlgorithm::naive, AttentionAlgorithm::flash1,
                                   AttentionAlgorithm::flash2};

void check(const Case& c) {
  Trial trial(c);
  const AttentionValues exact = trial.reference(Precision::exact);
  const AttentionValues plain =
      trial.reference(c.dtype == DType::f32 ? Precision::f32 : Precision::bf16);
  const double epsilon = c.dtype == DType::f32 ? 0x1p-23 : 0x1p-8;
  for (AttentionAlgorithm algorithm : kAll) {
    SCOPED_TRACE(fmt::format("{} {} on {}", name_of(algorithm), name(c), name_of(cpu::isa())));
    const Result r = trial(algorithm);
    expect_close("o", r.o, exact.o, plain.o, 2, epsilon);
    expect_close("lse", r.lse, exact.lse, plain.lse, 2, 0x1p-20);
    // dS is a difference: where it cancels, f32 rounding of dP remains.
    const double cancelled = 4 * 0x1p-23 * trial.op.scale * exact.largest_dp;
    expect_close("dq", r.dq, exact.dq, plain.dq, 3, epsilon, cancelled * largest(exact.k));
    expect_close("dk", r.dk, exact.dk, plain.dk, 3, epsilon, cancelled * largest(exact.q));
    expect_close("dv", r.dv, exact.dv, plain.dv, 3, epsilon);
  }
}

void check_both(Case c) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    c.dtype = dtype;
    check(c);
  }
}

TEST(Attention, OddLengths) {
  for (int t : {1, 2, 3, 7, 31, 63, 64, 65, 127, 129, 193, 257})
    for (bool causal : {true, false}) check_both({.queries = {t}, .causal = causal});
}

TEST(Attention, HeadSizes) {
  for (int dim : {1, 7, 40, 80, 128, 256})
    check_both({.queries = {97}, .heads = 1, .kv_heads = 1, .dim = dim});
}

TEST(Attention, FeaturesPairwise) {
  for (bool causal : {true, false})
    for (float dropout : {0.0f, 0.3f}) {
      check_both({.queries = {70, 1, 129}, .dim = 40, .causal = causal, .dropout = dropout});
      check_both({.queries = {100},
                  .heads = 4,
                  .kv_heads = 2,
                  .dim = 32,
                  .causal = causal,
                  .dropout = dropout,
                  .strided = true});
      check_both({.queries = {33, 80},
                  .keys = {130, 17},
                  .heads = 3,
                  .kv_heads = 1,
                  .dim = 24,
                  .causal = causal,
                  .dropout = dropout});
      check_both(
          {.queries = {5}, .keys = {200}, .causal = causal, .dropout = dropout, .strided = true});
    }
}

TEST(Attention, QueriesWithoutKeys) {
  check_both({.queries = {40, 9, 0, 70}, .keys = {10, 0, 5, 70}});
  Trial trial({.queries = {40, 9}, .keys = {10, 0}});
  for (AttentionAlgorithm algorithm : kAll) {
    const Result r = trial(algorithm);
    for (int64_t i = 0; i < 30; ++i) EXPECT_EQ(r.lse[i], -INFINITY);
    for (int64_t i = 0; i < 30 * 2 * 64; ++i) EXPECT_TRUE(r.o[i] == 0 && r.dq[i] == 0);
    for (int64_t i = 40 * 128; i < 49 * 128; ++i) EXPECT_TRUE(r.o[i] == 0 && r.dq[i] == 0);
  }
}

TEST(Attention, LargeScoresDoNotOverflow) {
  Trial trial({.queries = {130}});
  for (double& y : trial.values.q) y *= 200;
  const AttentionValues exact = trial.reference(Precision::exact);
  const AttentionValues plain = trial.reference(Precision::f32);
  for (AttentionAlgorithm algorithm : kAll)
    expect_close("o", trial(algorithm).o, exact.o, plain.o, 3, 0x1p-20);
}

TEST(Attention, NotANumberStaysOne) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    Trial trial({.queries = {130}, .heads = 1, .kv_heads = 1, .dtype = dtype});
    trial.values.k[20 * 64 + 3] = NAN;  // key 20
    for (AttentionAlgorithm algorithm : {AttentionAlgorithm::flash1, AttentionAlgorithm::flash2}) {
      const Result r = trial(algorithm);
      for (int i : {20, 63, 64, 129}) EXPECT_TRUE(std::isnan(r.o[i * 64])) << name_of(algorithm);
    }
  }
}

TEST(Attention, SameBitsForAnyNumberOfThreads) {
  for (const Case& c : {Case{.queries = {300}, .heads = 2, .kv_heads = 1, .dropout = 0.1f},
                        Case{.queries = {150, 90}, .causal = false, .dtype = DType::bf16}})
    for (AttentionAlgorithm algorithm : kAll) {
      Trial trial(c);
      set_threads(1);
      const Result one = trial(algorithm);
      set_threads(2);
      const Result two = trial(algorithm);
      set_threads(0);
      EXPECT_EQ(one, two) << name_of(algorithm) << " " << name(c);
    }
}

TEST(Attention, EveryInstructionSet) {
  const cpu::Isa widest = cpu::isa();
  for (int i = 0; i < static_cast<int>(widest); ++i) {
    cpu::set_isa(static_cast<cpu::Isa>(i));
    check_both({.queries = {129}, .dim = 80, .dropout = 0.2f});
    check_both({.queries = {65, 30},
                .keys = {30, 65},
                .heads = 2,
                .kv_heads = 1,
                .dim = 7,
                .causal = false,
                .strided = true});
  }
  cpu::set_isa(widest);
}

TEST(Attention, MemoryOfTheFlashAlgorithmsIsLinear) {
  const auto bytes = [](AttentionAlgorithm algorithm, int64_t t) {
    const AttentionShape shape{1, t, t, t, t, 2, 2, 64, true};
    return cpu::attention_workspace_bytes(algorithm, shape, DType::f32, true) +
           cpu::attention_saved_bytes(algorithm, shape, DType::f32);
  };
  for (AttentionAlgorithm algorithm : {AttentionAlgorithm::flash1, AttentionAlgorithm::flash2})
    EXPECT_LE(bytes(algorithm, 8192), 2 * bytes(algorithm, 4096));
  EXPECT_GE(bytes(AttentionAlgorithm::naive, 8192), 4 * bytes(AttentionAlgorithm::naive, 4096));
}

TEST(Attention, SaysWhyAnAlgorithmCannotRun) {
  const AttentionShape wide{1, 8, 8, 8, 8, 1, 1, 300, true};
  EXPECT_NE(cpu::attention_unsupported(AttentionAlgorithm::flash2, wide, DType::f32), "");
  EXPECT_NE(cpu::attention_unsupported(AttentionAlgorithm::flash3, wide, DType::f32), "");
  EXPECT_EQ(cpu::attention_unsupported(AttentionAlgorithm::naive, wide, DType::f32), "");
}

}  // namespace
}  // namespace strobe
