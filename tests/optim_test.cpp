// Optimizers against independent implementations (tools/make_optim_fixtures.py), schedules against
// their closed forms.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "strobe/core/error.h"
#include "strobe/io/safetensors.h"
#include "strobe/ops/make_backend.h"
#include "strobe/optim/optimizer.h"
#include "strobe/optim/schedule.h"

namespace strobe {
namespace {

constexpr int64_t kSteps = 60, kRows = 6, kColumns = 10, kSize = kRows * kColumns;

// One parameter over vectors of its own.
struct Weight {
  std::vector<float> value, grad, state0, state1;
  std::vector<bf16> compute;
  int64_t rows, columns;
  Param param;

  Weight(ParamKind kind, const float* start, DType dtype = DType::f32, int64_t rows = kRows,
         int64_t columns = kColumns)
      : value(start, start + rows * columns),
        grad(value.size()),
        state0(value.size()),
        state1(value.size()),
        compute(value.size()),
        rows(rows),
        columns(columns) {
    param.name = "w", param.kind = kind;
    param.value = Tensor(value.data(), DType::f32, {rows, columns});
    param.grad = Tensor(grad.data(), DType::f32, {rows, columns});
    param.compute =
        dtype == DType::f32 ? param.value : Tensor(compute.data(), DType::bf16, {rows, columns});
  }
  void add_states(int count) {
    for (float* state : {state0.data(), state1.data()})
      if (count-- > 0)
        param.state.emplace_back(state, DType::f32, std::initializer_list<int64_t>{rows, columns});
  }
};

// An optimizer, a parameter of some shape, and the tensor that says where it should arrive.
struct Course {
  std::string optimizer, wanted;
  int64_t rows = kRows, columns = kColumns;
  ParamKind kind = ParamKind::matrix;
  std::string name = "w";
};

class Optimizers : public testing::TestWithParam<Course> {};

double error_after_sixty_steps(const Course& course, const SafetensorsFile& file, DType dtype) {
  const auto ops = make_backend("cpu");
  OptimizerConfig config;
  config.name = course.optimizer, config.lr = 1e-2, config.weight_decay = 0.1;
  config.embedding_lr = 3e-3;
  const auto optimizer = make_optimizer(config);
  Weight weight(course.kind, file.tensor("start").as<float>(), dtype, course.rows, course.columns);
  weight.param.name = course.name;
  weight.add_states(optimizer->states(weight.param));
  Param* params[] = {&weight.param};
  std::vector<char> memory(static_cast<size_t>(optimizer->workspace_bytes(params)));
  const Tensor workspace(memory.data(), DType::u8, {static_cast<int64_t>(memory.size())});
  for (int64_t i = 0; i < kSteps; ++i) {
    StepState state;
    state.step = i, state.lr = 1e-2f;
    ops->set_step_state(state);
    const float* grads = file.tensor("grads").as<float>() + i * kSize;
    std::copy(grads, grads + weight.grad.size(), weight.grad.begin());
    optimizer->step(*ops, params, memory.empty() ? Tensor{} : workspace);
  }
  const float* want = file.tensor(course.wanted).as<float>();
  double worst = 0;
  for (size_t i = 0; i < weight.value.size(); ++i) {
    const double difference = std::abs(static_cast<double>(weight.value[i]) - want[i]);
    if (!(difference < 1e30)) return INFINITY;
    worst = std::max(worst, difference);
  }
  if (dtype == DType::f32) return worst;
  for (size_t i = 0; i < weight.value.size(); ++i)
    EXPECT_EQ(weight.compute[i].bits, to_bf16(weight.value[i]).bits) << "the compute copy follows";
  return worst;
}

TEST_P(Optimizers, SixtyStepsEqualTheReference) {
  const auto file = SafetensorsFile::open(STROBE_SOURCE_DIR "/tests/data/optim.safetensors");
  EXPECT_LT(error_after_sixty_steps(GetParam(), file, DType::f32), 2e-5);
  // Muon's products run in bf16 then: 60 updates of at most 0.01 with a relative error near 1 %.
  EXPECT_LT(error_after_sixty_steps(GetParam(), file, DType::bf16),
            GetParam().optimizer == "muon" ? 2e-2 : 2e-5);
}

INSTANTIATE_TEST_SUITE_P(All, Optimizers,
                         testing::Values(Course{"adamw", "adamw"}, Course{"lion", "lion"},
                                         Course{"muon", "muon"}, Course{"muon", "muon_tall", 10, 6},
                                         Course{"muon", "muon_fused", 4, 12, ParamKind::matrix,
                                                "transformer.h.0.attn.c_attn.weight"},
                                         Course{"muon", "muon_embedding", kRows, kColumns,
                                                ParamKind::embedding}),
                         [](const auto& info) { return info.param.wanted; });

TEST(Optimizers, DecayOnlyWhatDecays) {
  const auto ops = make_backend("cpu");
  const std::vector<float> ones(kSize, 1.0f);
  for (const bool decay_embeddings : {true, false})
    for (const ParamKind kind :
         {ParamKind::matrix, ParamKind::embedding, ParamKind::bias, ParamKind::norm}) {
      OptimizerConfig config;
      config.weight_decay = 0.5, config.decay_embeddings = decay_embeddings;
      const auto optimizer = make_optimizer(config);
      Weight weight(kind, ones.data());
      weight.add_states(2);
      Param* params[] = {&weight.param};
      StepState state;
      state.lr = 0.1f;
      ops->set_step_state(state);
      optimizer->step(*ops, params, {});
      const bool decays =
          kind == ParamKind::matrix || (kind == ParamKind::embedding && decay_embeddings);
      EXPECT_NEAR(weight.value[0], decays ? 0.95 : 1.0, 1e-6);
    }
}

TEST(Optimizers, NothingMovesWhileHalted) {
  const auto ops = make_backend("cpu");
  const std::vector<float> ones(kSize, 1.0f);
  for (const OptimizerEntry& entry : optimizers()) {
    OptimizerConfig config;
    config.name = entry.name;
    const auto optimizer = make_optimizer(config);
    Weight weight(ParamKind::matrix, ones.data());
    weight.add_states(optimizer->states(weight.param));
    std::fill(weight.grad.begin(), weight.grad.end(), NAN);
    Param* params[] = {&weight.param};
    std::vector<char> memory(static_cast<size_t>(optimizer->workspace_bytes(params)) + 1);
    StepState state;
    state.lr = 0.1f, state.halt = 1;
    ops->set_step_state(state);
    optimizer->step(*ops, params,
                    Tensor(memory.data(), DType::u8, {static_cast<int64_t>(memory.size())}));
    EXPECT_EQ(weight.value, ones) << entry.name;
    EXPECT_EQ(weight.state0, std::vector<float>(kSize)) << entry.name;
  }
}

TEST(Optimizers, RefuseWhatIsNotOne) {
  OptimizerConfig config;
  config.name = "adamm";
  EXPECT_THROW(make_optimizer(config), Error);
  config.name = "adamw", config.beta1 = 1.0;
  EXPECT_THROW(make_optimizer(config), Error);
  config.beta1 = 0.9, config.lr = -1;
  EXPECT_THROW(make_optimizer(config), Error);
  config.name = "muon", config.lr = 0;
  EXPECT_THROW(make_optimizer(config), Error);
}

Schedule schedule(const std::string& name, double floor, double warmup, double length,
                  double cooldown) {
  ScheduleConfig config;
  config.name = name, config.floor = floor;
  return make_schedule(config, warmup, length, cooldown);
}

TEST(Schedules, FollowTheirFormulas) {
  for (double t = 1; t <= 120; ++t) {
    const double warm = t / 10, share = (std::min(t, 100.0) - 10) / 90;
    EXPECT_NEAR(schedule("constant", 0.1, 10, 100, 0).factor(t), t < 10 ? warm : 1, 1e-12);
    EXPECT_NEAR(schedule("linear", 0.1, 10, 100, 0).factor(t), t < 10 ? warm : 1 - 0.9 * share,
                1e-12);
    EXPECT_NEAR(schedule("cosine", 0.1, 10, 100, 0).factor(t),
                t < 10 ? warm : 0.1 + 0.45 * (1 + std::cos(std::numbers::pi * share)), 1e-12);
    EXPECT_NEAR(schedule("wsd", 0.1, 10, 100, 20).factor(t),
                t < 10   ? warm
                : t < 80 ? 1
                         : 0.1 + 0.9 * (100 - std::min(t, 100.0)) / 20,
                1e-12);
  }
}

// The library counts updates from 0 and its first one does nothing; strobe counts from 1.
TEST(Schedules, EqualTransformersOneUpdateLater) {
  const auto file = SafetensorsFile::open(STROBE_SOURCE_DIR "/tests/data/optim.safetensors");
  for (const ScheduleEntry& entry : schedules()) {
    const Tensor wanted = file.tensor("schedule_" + entry.name);
    const Schedule is = schedule(entry.name, entry.name == "cosine" ? 0.1 : 0, 10, 100, 20);
    for (int64_t t = 0; t < wanted.numel(); ++t)
      EXPECT_NEAR(is.factor(static_cast<double>(t)), wanted.as<float>()[t], 1e-6)
          << entry.name << " " << t;
  }
}

TEST(Schedules, EndAtTheFloorAndNeverDivideByZero) {
  for (const ScheduleEntry& entry : schedules()) {
    EXPECT_NEAR(schedule(entry.name, 0, 0, 50, 10).factor(50), entry.name == "constant" ? 1 : 0,
                1e-12);
    for (const auto& [warmup, length, cooldown] :
         {std::tuple{0.0, 0.0, 0.0}, {5.0, 5.0, 5.0}, {0.0, 1.0, 0.0}})
      for (double t = 0; t < 10; ++t)
        EXPECT_TRUE(std::isfinite(schedule(entry.name, 0.1, warmup, length, cooldown).factor(t)))
            << entry.name << " " << t;
  }
}

TEST(Schedules, RefuseWhatIsNotOne) {
  EXPECT_THROW(schedule("cosin", 0, 1, 2, 0), Error);
  EXPECT_THROW(schedule("cosine", 2, 1, 2, 0), Error);
  EXPECT_THROW(schedule("cosine", 0, 3, 2, 0), Error);
}

}  // namespace
}  // namespace strobe
