// Schedules against their closed forms and other libraries (tools/make_optim_fixtures.py), and the
// texts that curves are written in.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "strobe/config/terms.h"
#include "strobe/core/error.h"
#include "strobe/io/safetensors.h"
#include "strobe/optim/schedule.h"
#include "strobe/train/run_schedules.h"
#include "tests/reference/text_files.h"

namespace strobe {
namespace {

Schedule schedule(const CurveConfig& config, double warmup, double length, double cooldown = 0,
                  double every = 0, double timescale = 0, std::vector<double> milestones = {}) {
  return make_schedule(config, {warmup, length, cooldown, every, timescale, std::move(milestones)});
}
CurveConfig curve(const std::string& name, double floor = 0) {
  CurveConfig config;
  config.name = name, config.floor = floor;
  return config;
}

TEST(Schedules, FollowTheirFormulas) {
  CurveConfig square = curve("wsd", 0.1);
  square.cooldown_shape = "square";
  for (double t = 1; t <= 120; ++t) {
    const double warm = t / 10, share = (std::min(t, 100.0) - 10) / 90;
    const double cooled = std::max(0.0, std::min(t, 100.0) - 80) / 20;
    const auto expect = [&](const CurveConfig& config, double value) {
      EXPECT_NEAR(schedule(config, 10, 100, 20).factor(t), t < 10 ? warm : value, 1e-12)
          << config.name << " " << t;
    };
    expect(curve("constant", 0.1), 1);
    expect(curve("linear", 0.1), 1 - 0.9 * share);
    expect(curve("cosine", 0.1), 0.1 + 0.45 * (1 + std::cos(std::numbers::pi * share)));
    expect(curve("wsd", 0.1), 1 - 0.9 * cooled);
    expect(square, 1 - 0.9 * cooled * cooled);
    expect(curve("power_cool"), std::pow(1 - cooled, 1.2));
  }
}

// The libraries count updates from 0 and their first one may do nothing; strobe counts from 1.
TEST(Schedules, EqualOtherLibrariesOneUpdateLater) {
  const auto file = SafetensorsFile::open(STROBE_SOURCE_DIR "/tests/data/optim.safetensors");
  const auto expect = [&](const std::string& name, const Schedule& is) {
    const Tensor wanted = file.tensor("schedule_" + name);
    for (int64_t t = 0; t < wanted.numel(); ++t)
      EXPECT_NEAR(is.factor(static_cast<double>(t)), wanted.as<float>()[t], 1e-6)
          << name << " " << t;
  };
  const auto changed = [](CurveConfig config, const auto& change) {
    change(config);
    return config;
  };
  expect("constant", schedule(curve("constant"), 10, 100));
  expect("linear", schedule(curve("linear"), 10, 100));
  expect("cosine", schedule(curve("cosine", 0.1), 10, 100));
  expect("cosine_waves",
         schedule(changed(curve("cosine"), [](auto& c) { c.cycles = 1.5; }), 10, 100));
  expect("cosine_restarts",
         schedule(changed(curve("cosine_restarts"), [](auto& c) { c.cycles = 3; }), 10, 100));
  expect("polynomial",
         schedule(changed(curve("polynomial", 0.05), [](auto& c) { c.power = 2; }), 10, 100));
  expect("inverse_sqrt", schedule(curve("inverse_sqrt"), 10, 100));
  expect("inverse_sqrt_timescale", schedule(curve("inverse_sqrt"), 10, 100, 0, 0, 50));
  for (const std::string shape : {"linear", "cosine", "1-sqrt"}) {
    CurveConfig config = curve("wsd");
    config.cooldown_shape = config.warmup_shape = shape;
    expect(shape == "linear" ? "wsd" : "wsd_" + shape, schedule(config, 10, 100, 20));
  }
  expect("step", schedule(changed(curve("step"), [](auto& c) { c.gamma = 0.5; }), 0, 1000, 0, 30));
  expect("multistep", schedule(curve("multistep"), 0, 1000, 0, 0, 0, {75, 50}));
  expect("exponential",
         schedule(changed(curve("exponential"), [](auto& c) { c.gamma = 0.97; }), 0, 1000, 0, 1));
  CurveConfig one_cycle = curve("one_cycle", 4e-6);
  one_cycle.warmup_shape = "cosine", one_cycle.warmup_from = 0.04;
  expect("one_cycle", schedule(one_cycle, 0.3 * 101 - 1, 100));
}

TEST(Schedules, ReduceOnAPlateauAsTorchDoes) {
  const auto file = SafetensorsFile::open(STROBE_SOURCE_DIR "/tests/data/optim.safetensors");
  CurveConfig config = curve("plateau");
  config.gamma = 0.5, config.patience = 3, config.threshold = 1e-2;
  Plateau plateau;
  const Tensor losses = file.tensor("plateau_losses"), wanted = file.tensor("plateau");
  for (int64_t i = 0; i < losses.numel(); ++i) {
    plateau.observe(static_cast<double>(losses.as<float>()[i]), config);
    Schedule is = schedule(config, 0, 100);
    is.plateau = plateau.factor;
    EXPECT_NEAR(is.factor(50), wanted.as<float>()[i], 1e-7) << i;
  }
  EXPECT_LT(plateau.factor, 0.1) << "it has reduced";
}

TEST(Schedules, EveryEntryHasAReferenceAndADocstring) {
  const auto file = SafetensorsFile::open(STROBE_SOURCE_DIR "/tests/data/optim.safetensors");
  for (const ScheduleEntry& entry : schedules()) {
    EXPECT_FALSE(entry.formula.empty() || entry.source.empty()) << entry.name;
    const bool closed_form = entry.name == "power_cool" || entry.name == "plateau";
    EXPECT_TRUE(closed_form || file.header().tensors.contains("schedule_" + entry.name))
        << entry.name;
  }
}

TEST(Schedules, RunFromTheirStartToTheFloorAndNeverDivideByZero) {
  for (const ScheduleEntry& entry : schedules()) {
    CurveConfig config = curve(entry.name, 0.1);
    config.warmup_from = 0.5;
    for (const char* shape : {"linear", "cosine", "1-sqrt", "square"}) {
      config.warmup_shape = shape;
      const Schedule is = schedule(config, 10, 50, 10, 10);
      EXPECT_NEAR(is.factor(0), 0.5, 1e-12) << entry.name << " " << shape;
      EXPECT_NEAR(is.factor(10), 1, 1e-12) << entry.name << " " << shape;
      for (double t = 0; t <= 60; ++t) {
        EXPECT_GE(is.factor(t), 0.1 - 1e-12) << entry.name;
        EXPECT_LE(is.factor(t), 1 + 1e-12) << entry.name;
      }
    }
    for (const auto& [warmup, length, cooldown] :
         {std::tuple{0.0, 0.0, 0.0}, {5.0, 5.0, 5.0}, {0.0, 1.0, 0.0}})
      for (double t = 0; t < 10; ++t)
        EXPECT_TRUE(std::isfinite(schedule(config, warmup, length, cooldown).factor(t)))
            << entry.name << " " << t;
  }
  for (const char* name :
       {"linear", "cosine", "cosine_restarts", "polynomial", "one_cycle", "wsd", "power_cool"})
    EXPECT_NEAR(schedule(curve(name), 0, 50, 10).factor(50), 0, 1e-12) << name;
}

TEST(Schedules, RefuseWhatIsNotOne) {
  const auto refuses = [](const std::function<void(CurveConfig&)>& change, const char* part,
                          double warmup = 1) {
    CurveConfig config = curve("cosine");
    change(config);
    reference::expect_fails([&] { schedule(config, warmup, 2); }, part);
  };
  refuses([](CurveConfig& c) { c.name = "cosin"; }, "did you mean 'cosine'");
  refuses([](CurveConfig& c) { c.floor = 2; }, "schedule.floor: 2 is outside [0, 1]");
  refuses([](CurveConfig& c) { c.warmup_from = -1; }, "schedule.warmup_from");
  refuses([](CurveConfig& c) { c.warmup_shape = "steep"; }, "known are linear, cosine, 1-sqrt");
  refuses([](CurveConfig& c) { c.cooldown_shape = "steep"; }, "schedule.cooldown_shape");
  refuses([](CurveConfig& c) { c.gamma = 2; }, "schedule.gamma");
  refuses([](CurveConfig& c) { c.power = -1; }, "schedule.power");
  refuses([](CurveConfig& c) { c.cycles = -1; }, "schedule.cycles");
  refuses([](CurveConfig& c) { c.patience = -1; }, "schedule.patience");
  refuses([](CurveConfig& c) { c.every = {0, Length::Unit::steps}; }, "schedule.every");
  refuses([](CurveConfig& c) { c.milestones = "5 %, soon"; },
          "schedule.milestones: length: ' soon'");
  refuses([](CurveConfig&) {}, "is longer than the schedule", 3);
}

TEST(Schedules, SayWhatWarmUpAndCooldownLeaveOfEachOther) {
  const auto notice = [](const std::string& curve) {
    Config config;
    config.train.steps = 100;
    static_cast<CurveConfig&>(config.schedule) = parse_curve(curve, "schedule");
    return RunSchedules(config, run_length(config.train, 64, 6400)).notice();
  };
  EXPECT_EQ(notice("linear(warmup=20 %)"), "");
  EXPECT_EQ(notice("wsd(warmup=20 %, cooldown=80 %)"), "");
  EXPECT_EQ(notice("wsd(warmup=20 %, cooldown=90 %)"),
            "the cooldown asks for 90 % of the run, and the warm-up leaves 80 %");
  EXPECT_EQ(notice("linear(warmup=100, cooldown=90 %)"),
            "the warm-up fills the run: the learning rate only rises");
  EXPECT_EQ(notice("constant(warmup=100)"), notice("linear(warmup=100 %)"));
}

TEST(Curves, AreReadFromText) {
  EXPECT_EQ(parse_curve("cosine", "k").name, "cosine");
  const CurveConfig is =
      parse_curve(" wsd( floor = 0.1, warmup=2M tokens warmup_shape=cosine, gamma=0.5 )", "k");
  EXPECT_EQ(is.name, "wsd");
  EXPECT_EQ(is.floor, 0.1);
  EXPECT_EQ(is.warmup, (Length{2e6, Length::Unit::tokens}));
  EXPECT_EQ(is.warmup_shape, "cosine");
  EXPECT_EQ(is.gamma, 0.5);
  const auto lengths = parse_lengths("50 %, 3 epochs,100", "k");
  EXPECT_EQ(lengths, (std::vector<Length>{{0.5, Length::Unit::fraction},
                                          {3, Length::Unit::epochs},
                                          {100, Length::Unit::steps}}));
  for (const auto& [text, part] :
       {std::pair<const char*, const char*>{"wsd(floor=0.1", "closing bracket"},
        {"wsd(flor=0.1)", "no option 'flor'; known are warmup"},
        {"wsd(name=x)", "no option 'name'"},
        {"wsd(floor)", "not key=value"},
        {"wsd(floor=high)", "not a number"},
        {"wsd(warmup=soon)", "'soon' is not one"}}) {
    const std::string said = reference::error_of([&] { parse_curve(text, "schedule.batch"); });
    EXPECT_TRUE(said.starts_with("schedule.batch") && reference::contains(said, part)) << said;
  }
}

}  // namespace
}  // namespace strobe
