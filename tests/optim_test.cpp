// Optimizers against independent implementations (tools/make_optim_fixtures.py): every entry of the
// catalogue has its course there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <fstream>
#include <set>

#include "strobe/config/fields.h"
#include "strobe/config/load.h"
#include "strobe/core/error.h"
#include "strobe/io/safetensors.h"
#include "strobe/ops/make_backend.h"
#include "strobe/optim/groups.h"
#include "strobe/optim/optimizer.h"
#include "strobe/optim/schedule.h"
#include "strobe/optim/unread.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

constexpr int64_t kSteps = 60, kRows = 6, kColumns = 10, kSize = kRows * kColumns;

// One parameter over vectors of its own.
struct Weight {
  std::vector<float> value, grad;
  std::vector<bf16> compute;
  std::deque<std::vector<float>> states;
  int64_t rows, columns;
  Param param;

  // `rank` 1: the same elements as a vector.
  Weight(ParamKind kind, const float* start, DType dtype = DType::f32, int64_t rows = kRows,
         int64_t columns = kColumns, int rank = 2)
      : value(start, start + rows * columns),
        grad(value.size()),
        compute(value.size()),
        rows(rows),
        columns(columns) {
    const auto shaped = [&](void* data, DType type) {
      return rank == 1 ? Tensor(data, type, {rows * columns}) : Tensor(data, type, {rows, columns});
    };
    param.name = "w", param.kind = kind;
    param.value = shaped(value.data(), DType::f32);
    param.grad = shaped(grad.data(), DType::f32);
    param.compute = dtype == DType::f32 ? param.value : shaped(compute.data(), DType::bf16);
  }
  void add_states(const Optimizer& optimizer) {
    for (Tensor state : optimizer.states(param)) {
      states.emplace_back(static_cast<size_t>(state.numel()));
      state.data = states.back().data();
      param.state.push_back(state);
    }
  }
};

// An optimizer, a parameter of some shape, and the tensor that says where it should arrive.
struct Course {
  std::string optimizer, wanted;
  int64_t rows = kRows, columns = kColumns;
  ParamKind kind = ParamKind::matrix;
  int64_t maps = 1;
  std::string name = "w";
  int rank = 2;
  std::function<void(OptimizerConfig&)> change = nullptr;
  bool used = false;  // what the model is used with, not what gradients are taken at

  friend void PrintTo(const Course& course, std::ostream* stream) { *stream << course.wanted; }
};

class Optimizers : public testing::TestWithParam<Course> {};

OptimizerConfig config_of(const Course& course) {
  OptimizerConfig config;
  config.name = course.optimizer, config.lr = 1e-2, config.weight_decay = 0.1;
  config.embedding_lr = 3e-3;
  if (course.change) course.change(config);
  return config;
}

double error_after_sixty_steps(const Course& course, const SafetensorsFile& file, DType dtype) {
  const auto ops = make_backend("cpu");
  const auto optimizer = make_optimizer(config_of(course));
  Weight weight(course.kind, file.tensor("start").as<float>(), dtype, course.rows, course.columns,
                course.rank);
  weight.param.name = course.name, weight.param.maps = course.maps;
  weight.add_states(*optimizer);
  Param* params[] = {&weight.param};
  optimizer->initialise(*ops, params);
  std::vector<char> memory(static_cast<size_t>(optimizer->workspace_bytes(*ops, params)));
  const Tensor workspace(memory.data(), DType::u8, {static_cast<int64_t>(memory.size())});
  double squares = 0;
  for (int64_t i = 0; i < kSteps; ++i) {
    StepState state;
    // A schedule-free optimizer warms its learning rate up; the others have theirs from the start.
    const double warm = course.optimizer.starts_with("schedule_free")
                            ? std::min(1.0, static_cast<double>(i + 1) / 10)
                            : 1.0;
    state.step = i, state.lr = static_cast<float>(1e-2 * warm);
    squares += warm * warm;
    state.average = static_cast<float>(warm * warm / squares);
    ops->set_step_state(state);
    const float* grads = file.tensor("grads").as<float>() + i * kSize;
    std::copy(grads, grads + weight.grad.size(), weight.grad.begin());
    optimizer->step(*ops, params, memory.empty() ? Tensor{} : workspace);
  }
  std::vector<float> got = weight.value;
  if (course.used) {
    EXPECT_TRUE(optimizer->averages(weight.param));
    optimizer->write_average(*ops, weight.param,
                             Tensor(got.data(), DType::f32, {course.rows, course.columns}));
  }
  const float* want = file.tensor(course.wanted).as<float>();
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - want[i]);
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
  const bool products = GetParam().optimizer.ends_with("muon");
  EXPECT_LT(error_after_sixty_steps(GetParam(), file, DType::bf16), products ? 2e-2 : 2e-5);
}

const Course kCourses[] = {
    {"adamw", "adamw"},
    {"nadamw", "nadamw"},
    {"lion", "lion"},
    {.optimizer = "lion",
     .wanted = "lion_uncoupled",
     .change = [](OptimizerConfig& c) { c.decay_coupled = false; }},
    {.optimizer = "lion",
     .wanted = "lion_cautious",
     .change = [](OptimizerConfig& c) { c.decay_cautious = true; }},
    {"schedule_free_adamw", "schedule_free_adamw"},
    {.optimizer = "schedule_free_adamw", .wanted = "schedule_free_adamw_used", .used = true},
    {"muon", "muon"},
    {"muon", "muon_tall", 10, 6},
    {"muon", "muon_fused", 4, 12, ParamKind::matrix, 3},
    {"muon", "muon_embedding", kRows, kColumns, ParamKind::embedding},
    {"muon", "muon_embedding", kRows, kColumns, ParamKind::head},
    {"normuon", "normuon"},
    {"normuon", "normuon_tall", 10, 6},
    {"normuon", "normuon_fused", 4, 12, ParamKind::matrix, 3},
    {"adafactor", "adafactor"},
    {"adafactor", "adafactor_vector", kRows, kColumns, ParamKind::matrix, 1, "w", 1},
    // A group is another optimizer at another rate: here the run's own are not what it should be.
    {.optimizer = "muon",
     .wanted = "adamw",
     .name = "h.0.mlp.c_fc.weight",
     .change =
         [](OptimizerConfig& c) {
           c.lr = 1e-2, c.weight_decay = 0.5;
           c.groups = "*wte*: lr=1; *.attn.*|*mlp*: optimizer=adamw lr_scale=1, weight_decay=0.1";
         }},
};

INSTANTIATE_TEST_SUITE_P(All, Optimizers, testing::ValuesIn(kCourses), [](const auto& info) {
  return fmt::format("{}_{}", info.param.wanted, info.index);
});

TEST(Optimizers, EveryEntryOfTheCatalogueHasACourse) {
  for (const OptimizerEntry& entry : optimizers()) {
    const bool checked =
        std::any_of(std::begin(kCourses), std::end(kCourses), [&](const Course& c) {
          return c.optimizer == entry.name && c.wanted.starts_with(entry.name);
        });
    EXPECT_TRUE(checked) << entry.name;
    EXPECT_FALSE(entry.summary.empty() || entry.formula.empty() || entry.source.empty() ||
                 entry.options.empty())
        << entry.name;
  }
}

// One step of a weight that has its gradient and states.
void step_once(Backend& ops, Optimizer& optimizer, Weight& weight, const StepState& state) {
  Param* params[] = {&weight.param};
  std::vector<char> memory(static_cast<size_t>(optimizer.workspace_bytes(ops, params)) + 1);
  ops.set_step_state(state);
  optimizer.step(ops, params,
                 Tensor(memory.data(), DType::u8, {static_cast<int64_t>(memory.size())}));
}

TEST(Optimizers, DecayOnlyWhatDecays) {
  const auto ops = make_backend("cpu");
  const std::vector<float> ones(kSize, 1.0f);
  for (const bool decay_embeddings : {true, false})
    for (const ParamKind kind : {ParamKind::matrix, ParamKind::embedding, ParamKind::head,
                                 ParamKind::bias, ParamKind::norm}) {
      OptimizerConfig config;
      config.weight_decay = 0.5, config.decay_embeddings = decay_embeddings;
      const auto optimizer = make_optimizer(config);
      Weight weight(kind, ones.data());
      weight.add_states(*optimizer);
      StepState state;
      state.lr = 0.1f;
      step_once(*ops, *optimizer, weight, state);
      const bool decays = kind == ParamKind::matrix || kind == ParamKind::head ||
                          (kind == ParamKind::embedding && decay_embeddings);
      EXPECT_NEAR(weight.value[0], decays ? 0.95 : 1.0, 1e-6);
    }
}

// One step from random weights: without decay, with it, and with cautious decay, which is with or
// without it, element by element.
TEST(Optimizers, AnyDecaysCautiouslyWhereItsUpdateShrinksTheWeight) {
  const auto file = SafetensorsFile::open(STROBE_SOURCE_DIR "/tests/data/optim.safetensors");
  const auto ops = make_backend("cpu");
  for (const OptimizerEntry& entry : optimizers()) {
    const auto step = [&](double decay, bool cautious) {
      OptimizerConfig config;
      config.name = entry.name, config.lr = 1e-2;
      config.weight_decay = decay, config.decay_cautious = cautious;
      const auto optimizer = make_optimizer(config);
      Weight weight(ParamKind::matrix, file.tensor("start").as<float>());
      weight.add_states(*optimizer);
      const float* grads = file.tensor("grads").as<float>();
      std::copy(grads, grads + kSize, weight.grad.begin());
      Param* params[] = {&weight.param};
      optimizer->initialise(*ops, params);
      StepState state;
      state.lr = 1e-2f;
      step_once(*ops, *optimizer, weight, state);
      return weight.value;
    };
    const float* start = file.tensor("start").as<float>();
    const std::vector<float> none = step(0, false), all = step(0.5, false), some = step(0.5, true);
    int64_t decayed = 0;
    for (size_t i = 0; i < kSize; ++i) {
      const bool shrinks = (start[i] - none[i]) * start[i] >= 0;
      EXPECT_EQ(some[i], shrinks ? all[i] : none[i]) << entry.name << " " << i;
      decayed += shrinks;
    }
    EXPECT_GT(decayed, 0) << entry.name;
    EXPECT_LT(decayed, kSize) << entry.name;
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
    weight.add_states(*optimizer);
    std::fill(weight.grad.begin(), weight.grad.end(), NAN);
    StepState state;
    state.lr = 0.1f, state.halt = 1;
    step_once(*ops, *optimizer, weight, state);
    EXPECT_EQ(weight.value, ones) << entry.name;
    for (const auto& state : weight.states)
      EXPECT_EQ(state, std::vector<float>(state.size())) << entry.name;
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
  config.name = "adamw", config.decay_coupled = false;
  EXPECT_THROW(make_optimizer(config), Error);
  config.name = "schedule_free_adamw", config.lr = 1e-3, config.beta1 = 0;
  EXPECT_THROW(make_optimizer(config), Error);
}

// What is said of these keys, set on the command line over a file.
std::vector<std::string> unread(const std::string& file,
                                const std::vector<std::string>& overrides) {
  const reference::TemporaryFolder folder;
  const std::string path = folder.file("recipe.toml");
  std::ofstream(path) << file;
  const LoadedConfig loaded = load_config(path, overrides);
  std::vector<std::string> out = unread_keys(loaded.config, loaded, load_config(path, {}).config);
  for (std::string& sentence : out)
    if (const size_t at = sentence.find(path); at != std::string::npos)
      sentence.replace(at, path.size(), "recipe");
  return out;
}

TEST(UnreadKeys, AreNamedWithWhatIsRead) {
  using Lines = std::vector<std::string>;
  EXPECT_EQ(unread("", {}), Lines{});
  EXPECT_EQ(
      unread("", {"optimizer.momentum=0.9", "schedule.name=linear", "schedule.cycles=3"}),
      (Lines{"optimizer.momentum is set, but adamw does not read it; it reads beta1, beta2, eps",
             "schedule.cycles is set, but linear does not read it; it reads warmup, "
             "warmup_shape, warmup_from, length, floor"}));
  EXPECT_EQ(
      unread("[optimizer]\nname = \"lion\"\neps = 1e-6\n", {}),
      Lines{"optimizer.eps is set (recipe:3), but lion does not read it; it reads beta1, beta2"});
  // Defaults of a file, what every choice reads, and "auto" are nobody's mistake.
  EXPECT_EQ(unread("[schedule]\nname = \"constant\"\nfloor = 0.1\nevery = \"25 %\"\n",
                   {"optimizer.clip=2", "optimizer.embedding_lr=auto", "optimizer.lr=1"}),
            Lines{});
  EXPECT_EQ(unread("", {"schedule.name=constant", "schedule.floor=0.1"}).size(), 1u);
  // Every group's optimizer counts, and AdamW for what a matrix optimizer leaves.
  EXPECT_EQ(unread("", {"optimizer.momentum=0.9", "optimizer.groups=*wte*: optimizer=muon"}),
            Lines{});
  EXPECT_EQ(unread("", {"optimizer.name=muon", "optimizer.beta1=0.8", "optimizer.embedding_lr=1"}),
            Lines{});
  // Curves of other quantities.
  EXPECT_EQ(unread("", {"schedule.dropout=linear(floor=0.5, cycles=2)"}),
            Lines{"schedule.dropout's cycles is set, but linear does not read it; it reads warmup, "
                  "warmup_shape, warmup_from, length, floor"});
  EXPECT_EQ(unread("", {"optimizer.name=adafactor", "schedule.momentum=linear"}),
            Lines{"schedule.momentum is set, but adafactor does not read it; it reads beta2, eps"});
  // What a group's own text sets, and averages that nobody takes.
  EXPECT_EQ(
      unread("", {"optimizer.groups=*wte*: momentum=0.8 lr=1e-3; *mlp*: optimizer=lion eps=1e-6"}),
      (Lines{"momentum of optimizer.groups' '*wte*' is set, but adamw does not read it; it "
             "reads beta1, beta2, eps",
             "eps of optimizer.groups' '*mlp*' is set, but lion does not read it; it reads "
             "beta1, beta2"}));
  EXPECT_EQ(unread("", {"average.every=2", "average.ema=0.9", "average.start=3"}),
            Lines{"average.every is set, but a run without average.lawa does not read it"});
  EXPECT_EQ(unread("", {"average.start=3"}).size(), 1u);
  EXPECT_EQ(unread("", {"average.every=2", "average.lawa=3"}), Lines{});
  EXPECT_THROW(unread("", {"optimizer.name=adamm"}), Error);
  EXPECT_THROW(unread("", {"schedule.name=liner"}), Error);
}

// AdamW's betas are not Lion's, unless somebody says so.
TEST(UnreadKeys, BetasSetForAnotherOptimizerAreNamed) {
  using Lines = std::vector<std::string>;
  const std::string adamw = "[optimizer]\nbeta1 = 0.9\nbeta2 = 0.95\n";
  const Lines said = {"optimizer.beta2 is 0.95, as adamw has it; lion's default is 0.99"};
  EXPECT_EQ(unread(adamw, {"optimizer.name=lion"}), said);
  EXPECT_EQ(unread(adamw, {"optimizer.groups=*wte*: optimizer=lion; *wpe*: optimizer=lion"}), said);
  for (const char* own : {"optimizer.beta2=0.99", "optimizer.beta2=0.95", "optimizer.beta2=auto"})
    EXPECT_EQ(unread(adamw, {"optimizer.name=lion", own}), Lines{}) << own;
  EXPECT_EQ(unread(adamw, {"optimizer.groups=*wte*: optimizer=lion beta2=0.95"}), Lines{});
  EXPECT_EQ(unread(adamw, {"optimizer.name=nadamw"}), Lines{});
  // What a recipe says of its own optimizer, or one group of it, is meant.
  EXPECT_EQ(unread(adamw + "name = \"lion\"\n", {}), Lines{});
  EXPECT_EQ(unread(adamw + "groups = \"*wte*: optimizer=lion\"\n", {"optimizer.lr=1"}), Lines{});
}

// Each key that some entry reads is a key.
TEST(UnreadKeys, OptionsOfTheCatalogueAreKeys) {
  Config config;
  std::set<std::string> keys;
  for (const Field& field : fields_of(config)) keys.insert(field.path);
  for (const OptimizerEntry& entry : optimizers())
    for (const OwnOption& option : entry.options)
      EXPECT_TRUE(keys.contains("optimizer." + option.key)) << entry.name << " " << option.key;
  for (const ScheduleEntry& entry : schedules())
    for (const OwnOption& option : entry.options)
      EXPECT_TRUE(keys.contains("schedule." + option.key)) << entry.name << " " << option.key;
}

std::string refusal(const std::string& groups) {
  OptimizerConfig config;
  config.groups = groups;
  const std::vector<float> ones(kSize, 1.0f);
  Weight weight(ParamKind::matrix, ones.data());
  weight.param.name = "h.0.mlp.c_fc.weight";
  Param* params[] = {&weight.param};
  try {
    make_optimizer(config);
    check_groups(config, params);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Optimizers, GroupsThatCannotBeReadAreRefused) {
  for (const auto& [groups, part] :
       {std::pair<std::string, std::string>{"*mlp*", "no colon"},
        {"*mlp*: lr", "not key=value"},
        {"*mlp*: lr=", "no value"},
        {"*mlp*: lr=fast", "not a number"},
        {"*mlp*: rate=1", "'rate' is unknown; known are optimizer, lr"},
        {"*mlp*: optimizer=adamm", "did you mean 'adamw'"},
        {"*mlp*: lr=-1", "outside"},
        {"|*mlp*: lr=1", "empty pattern"},
        {"*mpl*: lr=1", "no parameter is named like '*mpl*'"},
        {"*mlp*: lr=1; ; *fc*: lr_scale=0.5, beta1=0.8", "accepted"}})
    EXPECT_NE(refusal(groups).find(part), std::string::npos) << groups << ": " << refusal(groups);
}

TEST(Optimizers, PatternsOfGroupsFitWholeNames) {
  const auto fits = [](const std::string& pattern, const std::string& name) {
    return ParamGroup{{pattern}, {}, {}}.has(name);
  };
  for (const char* pattern : {"*", "**", "h.0.c_fc", "h*", "*c", "*.c*", "h.*.c_fc", "*0*c*c*"})
    EXPECT_TRUE(fits(pattern, "h.0.c_fc")) << pattern;
  for (const char* pattern : {"h", "*.", "h.0.c_fc?", "0*", "*h.1*", "h.0.c_fc*x", "*c*c*c*"})
    EXPECT_FALSE(fits(pattern, "h.0.c_fc")) << pattern;
  EXPECT_FALSE(fits(std::string(60, '*') + "x", std::string(200, 'h')));  // and soon
}

TEST(Optimizers, AGroupsDecayIsForWhateverIsInIt) {
  const auto ops = make_backend("cpu");
  const std::vector<float> ones(kSize, 1.0f);
  for (const std::string pattern : {"w", "other"}) {
    OptimizerConfig config;
    config.groups = pattern + ": weight_decay=0.5 lr_scale=2";
    const auto optimizer = make_optimizer(config);
    Weight weight(ParamKind::bias, ones.data());
    weight.add_states(*optimizer);
    Param* params[] = {&weight.param};
    StepState state;
    state.lr = 0.1f;
    ops->set_step_state(state);
    optimizer->step(*ops, params, {});
    EXPECT_NEAR(weight.value[0], pattern == "w" ? 1 - 0.2 * 0.5 : 1, 1e-6);
  }
}

// Inputs that are 0 and outputs that nothing depends on: rows and columns without a gradient.
TEST(Optimizers, WhatHasNoGradientStaysFinite) {
  const auto ops = make_backend("cpu");
  const std::vector<float> ones(kSize, 1.0f);
  for (const OptimizerEntry& entry : optimizers()) {
    OptimizerConfig config;
    config.name = entry.name;
    const auto optimizer = make_optimizer(config);
    Weight weight(ParamKind::matrix, ones.data());
    weight.add_states(*optimizer);
    Param* params[] = {&weight.param};
    optimizer->initialise(*ops, params);
    std::vector<char> memory(static_cast<size_t>(optimizer->workspace_bytes(*ops, params)));
    const Tensor workspace(memory.data(), DType::u8, {static_cast<int64_t>(memory.size())});
    for (int64_t i = 0; i < kSize; ++i)
      weight.grad[static_cast<size_t>(i)] = i < kColumns || i % kColumns == 0 ? 0.0f : 1.0f;
    StepState state;
    state.lr = 0.1f;
    ops->set_step_state(state);
    optimizer->step(*ops, params, memory.empty() ? Tensor{} : workspace);
    for (const float value : weight.value) ASSERT_TRUE(std::isfinite(value)) << entry.name;
  }
}

TEST(Optimizers, WeightDecayAndMomentumFollowTheirSchedules) {
  const auto ops = make_backend("cpu");
  const std::vector<float> ones(kSize, 1.0f);
  OptimizerConfig config;
  config.weight_decay = 0.5;
  const auto optimizer = make_optimizer(config);
  Weight weight(ParamKind::matrix, ones.data());
  weight.add_states(*optimizer);
  Param* params[] = {&weight.param};
  StepState state;
  state.lr = 0.1f, state.decay_scale = 0.25f, state.momentum_scale = 0.5f;
  ops->set_step_state(state);
  optimizer->step(*ops, params, {});
  EXPECT_NEAR(weight.value[0], 1 - 0.1 * 0.5 * 0.25, 1e-7);
  std::fill(weight.grad.begin(), weight.grad.end(), 1.0f);
  optimizer->step(*ops, params, {});
  EXPECT_NEAR(weight.states[0][0], 1 - 0.9 * 0.5, 1e-7) << "beta1 is halved";
}

TEST(Optimizers, AnExponentialAverageEqualsTorchs) {
  const auto file = SafetensorsFile::open(STROBE_SOURCE_DIR "/tests/data/optim.safetensors");
  const auto ops = make_backend("cpu");
  OptimizerConfig config;
  config.lr = 1e-2, config.weight_decay = 0.1;
  const auto optimizer = make_optimizer(config);
  Weight weight(ParamKind::matrix, file.tensor("start").as<float>());
  weight.add_states(*optimizer);
  Param* params[] = {&weight.param};
  std::vector<float> average(kSize);
  UpdateTarget target;
  target.value = target.compute = Tensor(average.data(), DType::f32, {kRows, kColumns});
  target.grad = weight.param.value;
  for (int64_t i = 0; i < kSteps; ++i) {
    StepState state;
    state.step = i, state.lr = 1e-2f, state.grad_scale = 1;
    ops->set_step_state(state);
    const float* grads = file.tensor("grads").as<float>() + i * kSize;
    std::copy(grads, grads + kSize, weight.grad.begin());
    optimizer->step(*ops, params, {});
    state.grad_scale = 0.1f;  // clipping is no business of an average
    ops->set_step_state(state);
    if (i == 0)
      average = weight.value;
    else
      ops->update(EmaRule{0.9f}, {&target, 1});
  }
  const float* want = file.tensor("ema").as<float>();
  for (size_t i = 0; i < average.size(); ++i) EXPECT_NEAR(average[i], want[i], 2e-5);
}

}  // namespace
}  // namespace strobe
