// What a row of the op table cannot say: long sums, extreme values, the step's state, memory, and
// how a backend runs.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <random>

#include "strobe/core/arena.h"
#include "strobe/core/error.h"
#include "strobe/ops/make_backend.h"
#include "strobe/ops/planning_backend.h"
#include "strobe/ops/profiling_backend.h"
#include "tests/reference/backends.h"

namespace strobe {
namespace {

using reference::Placed;
using reference::shared_backend;

class OnEachBackend : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    STROBE_NEEDS_BACKEND(GetParam());
    ops_ = shared_backend(GetParam());
    ops_->set_step_state({});
  }
  Backend* ops_ = nullptr;
};

class Matmul : public OnEachBackend {};
class GradNorm : public OnEachBackend {};
class Halt : public OnEachBackend {};
class CrossEntropyOp : public OnEachBackend {};
class Running : public OnEachBackend {};

// Rows of the table have a short inner dimension; this one spans several chunks of k, and tiles.
TEST_P(Matmul, SumsLongProducts) {
  constexpr int64_t kM = 70, kN = 51, kK = 1001;
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<bf16> a(kM * kK), b(kK * kN);
  for (bf16& x : a) x = to_bf16(normal(random));
  for (bf16& x : b) x = to_bf16(normal(random));
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      Placed<bf16> left_memory(*ops_, a, {ta ? kK : kM, ta ? kM : kK});
      Placed<bf16> right_memory(*ops_, b, {tb ? kN : kK, tb ? kK : kN});
      Placed<float> c_memory(*ops_, std::vector<float>(kM * kN, 2.0f), {kM, kN});
      const Tensor left = ta ? left_memory.tensor().transposed() : left_memory.tensor();
      const Tensor right = tb ? right_memory.tensor().transposed() : right_memory.tensor();
      ops_->matmul(c_memory, left, right, /*accumulate=*/true);
      const std::vector<float>& c = c_memory.values();
      for (int64_t i = 0; i < kM; ++i)
        for (int64_t j = 0; j < kN; ++j) {
          double sum = 2;
          for (int64_t l = 0; l < kK; ++l)
            sum += double{to_float(a[i * left.strides[0] + l * left.strides[1]])} *
                   to_float(b[l * right.strides[0] + j * right.strides[1]]);
          ASSERT_TRUE(std::abs(c[i * kN + j] - sum) <= 2e-4)
              << i << ", " << j << ": " << c[i * kN + j] << ", not " << sum;
        }
    }
}

TEST_P(Matmul, TakesEverySizeAndStride) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 1, 1},
                                {1, 7, 1},
                                {5, 1, 33},
                                {1, 130, 64},
                                {129, 3, 1},
                                {64, 257, 17}}) {
    // Views of wider matrices: leading dimensions that are no multiple of anything.
    const int64_t wide_a = k + 3, wide_b = n + 5;
    std::vector<bf16> a(static_cast<size_t>(m * wide_a)), b(static_cast<size_t>(k * wide_b));
    for (bf16& x : a) x = to_bf16(normal(random));
    for (bf16& x : b) x = to_bf16(normal(random));
    Placed<bf16> a_memory(*ops_, a, {m, wide_a}), b_memory(*ops_, b, {k, wide_b});
    Placed<bf16> c_memory(*ops_, std::vector<bf16>(static_cast<size_t>(m * n)), {m, n});
    ops_->matmul(c_memory, a_memory.tensor().narrow(1, 1, k), b_memory.tensor().narrow(1, 3, n));
    const std::vector<bf16>& c = c_memory.values();
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0, size = 0;
        for (int64_t l = 0; l < k; ++l) {
          const double term =
              double{to_float(a[i * wide_a + 1 + l])} * to_float(b[l * wide_b + 3 + j]);
          sum += term, size += std::abs(term);
        }
        ASSERT_TRUE(std::abs(to_float(c[i * n + j]) - sum) <= 0x1p-8 * std::abs(sum) + 1e-5 * size)
            << m << " x " << n << " x " << k << " at " << i << ", " << j << ": "
            << to_float(c[i * n + j]) << ", not " << sum;
      }
  }
}

TEST_P(GradNorm, ClipsAndStopsAtTheFirstNonFinite) {
  Placed<float> a(*ops_, std::vector<float>(100000, 0.01f)), b(*ops_, std::vector<float>(3, 2.0f));
  const Tensor grads[] = {a, b};
  const double norm = std::sqrt(100000 * double{0.01f} * double{0.01f} + 12);
  ops_->grad_norm(grads, 0.5f);
  EXPECT_FLOAT_EQ(ops_->step_state().grad_norm, norm);
  EXPECT_FLOAT_EQ(ops_->step_state().grad_scale, 0.5 / (norm + 1e-6));
  EXPECT_EQ(ops_->step_state().halt, 0);
  ops_->grad_norm(grads, 0);
  EXPECT_EQ(ops_->step_state().grad_scale, 1.0f);

  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    ops_->set_step_state({});
    a.set(77777, bad);
    ops_->grad_norm(grads, 1);
    EXPECT_EQ(ops_->step_state().halt, 1);
    a.set(77777, 0);
    ops_->set_step_input({.step = 9});
    ops_->grad_norm(grads, 1);
    EXPECT_EQ(ops_->step_state().halt, 1) << "halt is sticky";
    EXPECT_EQ(ops_->step_state().step, 9);
  }
}

TEST_P(Halt, LeavesParametersAlone) {
  StepState state;
  state.lr = 1, state.halt = 1;
  ops_->set_step_state(state);
  Placed<float> value(*ops_, {3}), grad(*ops_, {1}), m(*ops_, {2}), v(*ops_, {5}), u(*ops_, {7});
  UpdateTarget target;
  target.value = target.compute = value;
  target.grad = grad, target.state0 = m, target.state1 = v;
  ops_->update(AdamWRule{}, {&target, 1});
  ops_->apply_update(target, u);
  ops_->momentum(u, m, grad, 0.9f, true);
  EXPECT_EQ(value.values()[0], 3);
  EXPECT_EQ(m.values()[0], 2);
  EXPECT_EQ(v.values()[0], 5);
  EXPECT_EQ(u.values()[0], 0);
}

TEST_P(CrossEntropyOp, CarriesNanToTheLoss) {
  std::vector<float> values(40, 1.0f);
  values[21] = std::numeric_limits<float>::quiet_NaN();
  Placed<float> logits(*ops_, values, {1, 40}), loss(*ops_, {0.0f});
  Placed<int32_t> target(*ops_, {3});
  ops_->cross_entropy(loss, {}, logits, target, {.vocab = 40});
  EXPECT_TRUE(std::isnan(loss.values()[0]));
}

TEST_P(CrossEntropyOp, SurvivesExtremeLogits) {
  Placed<float> logits(*ops_, {-1000, -1001, -1e30f}, {1, 3}), loss(*ops_, {0.0f});
  Placed<int32_t> target(*ops_, {1});
  ops_->cross_entropy(loss, {}, logits, target, {.vocab = 3});
  EXPECT_NEAR(loss.values()[0], 1 + std::log1p(std::exp(-1.0)), 1e-6);
}

TEST_P(Running, BringsResultsLateAndInOrder) {
  Placed<float> x(*ops_, std::vector<float>(1000));
  std::vector<int64_t> tickets;
  for (int i = 0; i < 3; ++i) {
    ops_->set_step_input({.step = i});
    ops_->fill(x, static_cast<float>(i));
    tickets.push_back(ops_->start_download(x));
  }
  std::vector<float> got(1000);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(ops_->finish_download(tickets[static_cast<size_t>(i)], got.data()).step, i);
    EXPECT_EQ(got[999], static_cast<float>(i));
  }
}

TEST_P(Running, ReplaysWithTheStateOfTheMoment) {
  Placed<float> value(*ops_, {1}), zero(*ops_, {0});
  UpdateTarget target;
  target.value = target.compute = value;
  for (int i = 0; i < 5; ++i) {
    ops_->set_step_input({.lr = 1});
    ops_->replay("subtract", [&] {
      ops_->fill(zero, 1);
      ops_->apply_update(target, zero);
    });
  }
  EXPECT_EQ(value.values()[0], -4);
}

TEST_P(Running, TransfersWholeTensors) {
  std::vector<float> values((3 << 20) + 17);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 8191);
  Placed<float> x(*ops_, values);
  EXPECT_EQ(x.values(), values);
  EXPECT_GT(ops_->seconds("fill", [&] { ops_->fill(x, 1); }), 0);
}

std::string name_of_backend(const testing::TestParamInfo<std::string>& info) { return info.param; }

INSTANTIATE_TEST_SUITE_P(Cpu, Matmul, testing::Values("cpu"), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Cuda, Matmul, testing::Values("cuda"), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Cpu, GradNorm, testing::Values("cpu"), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Cuda, GradNorm, testing::Values("cuda"), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Cpu, Halt, testing::Values("cpu"), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Cuda, Halt, testing::Values("cuda"), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Cpu, CrossEntropyOp, testing::Values("cpu"), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Cuda, CrossEntropyOp, testing::Values("cuda"), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Cpu, Running, testing::Values("cpu"), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Cuda, Running, testing::Values("cuda"), name_of_backend);

TEST(Embedding, RefusesAnIdOutsideTheTable) {
  const auto ops = make_backend("cpu");
  float table[4] = {}, y[2];
  int32_t id = 2;
  const EmbeddingTable lookup = {Tensor(table, DType::f32, {2, 2}), Tensor(&id, DType::i32, {1})};
  EXPECT_THROW(ops->embedding_forward(Tensor(y, DType::f32, {1, 2}), {&lookup, 1}),
               std::logic_error);
}

TEST(Memory, RefusesWhatTheMachineLacks) {
  const auto ops = make_backend("cpu");
  EXPECT_THROW(ops->allocate(int64_t{1} << 50), Error);
  void* memory = ops->allocate(1000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 256, 0u);
  ops->release(memory);
}

TEST(MakeBackend, NamesWhatItKnows) {
  try {
    make_backend("tpu");
    FAIL() << "accepted an unknown backend";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("cpu"), std::string::npos);
  }
}

TEST(Planning, CountsWithoutTouchingMemory) {
  const auto ops = make_backend("cpu");
  PlanningBackend plan(*ops);
  Arena arena;
  const Tensor x = arena.allocate("x", DType::bf16, {64, 32});
  const Tensor w = arena.allocate("w", DType::bf16, {32, 16});
  const Tensor y = arena.allocate("y", DType::bf16, {64, 16});
  plan.linear_forward(y, x, w, {});
  plan.linear_backward({}, arena.allocate("dw", DType::f32, {32, 16}), {}, y, x, w);
  EXPECT_EQ(plan.ops().at("linear_forward").flops, 2.0 * 64 * 32 * 16);
  EXPECT_EQ(plan.ops().at("linear_forward").bytes, 2.0 * (64 * 32 + 32 * 16 + 64 * 16));
  EXPECT_EQ(total_of(plan.ops()).calls, 2);
  EXPECT_EQ(total_of(plan.ops()).flops, 4.0 * 64 * 32 * 16);
}

TEST(Profiling, RunsAndTimesTheOp) {
  const auto ops = make_backend("cpu");
  ProfilingBackend profile(*ops);
  float x[3] = {1, 2, 3};
  profile.fill(Tensor(x, DType::f32, {3}), 5);
  EXPECT_EQ(x[2], 5);
  EXPECT_EQ(profile.ops().at("fill").calls, 1);
  EXPECT_GT(profile.ops().at("fill").seconds, 0);
}

}  // namespace
}  // namespace strobe
