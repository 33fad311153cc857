// Training with everything that the catalogue has: optimizers, schedules, averages, batches of
// other shapes. Each resumes to the bit, and does what it says.
#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>

#include "strobe/core/error.h"
#include "strobe/io/checkpoint.h"
#include "strobe/optim/optimizer.h"
#include "strobe/optim/schedule.h"
#include "strobe/train/loaded_run.h"
#include "tests/reference/training.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using reference::slurp;

class Recipe : public reference::TrainingRuns {
 protected:
  void SetUp() override {
    TrainingRuns::SetUp();
    if (IsSkipped()) return;
    constexpr int64_t kDocument = 9;  // several to a block of 24
    reference::write_tiny_dataset(folder_.file("data"), 2000, 333, reference::kTinyText, kDocument);
  }
  std::vector<json> lines(const std::string& name) const {
    std::vector<json> out;
    std::istringstream stream(slurp(folder_.file(name) + "/events.jsonl"));
    for (std::string line; std::getline(stream, line);) out.push_back(json::parse(line));
    return out;
  }
  // A figure of every training step.
  std::vector<double> column(const std::string& name, const char* key) const {
    std::vector<double> out;
    for (const json& line : lines(name))
      if (line.contains("train/loss")) out.push_back(line.at(key).get<double>());
    return out;
  }
  json state(const std::string& name, int64_t step) const {
    return json::parse(
        slurp(fmt::format("{}/checkpoints/step_{:08}/state.json", folder_.file(name), step)));
  }
};

struct Variation {
  const char* name;
  std::function<void(Config&)> change;
};

// Everything that keeps something from step to step.
std::vector<Variation> variations() {
  std::vector<Variation> all = {
      {"cautious",
       [](Config& c) { c.optimizer.decay_cautious = true, c.optimizer.decay_coupled = false; }},
      {"groups",
       [](Config& c) {
         c.optimizer.name = "muon";
         c.optimizer.groups = "*wte*: optimizer=lion lr=1e-3; *mlp*|*.ln_*: optimizer=adafactor";
       }},
      {"averages",
       [](Config& c) {
         c.average.ema = 0.9, c.average.lawa = 3, c.average.every = {2, Length::Unit::steps};
         c.average.start = {3, Length::Unit::steps};
       }},
      {"averaged schedule-free",
       [](Config& c) {
         c.optimizer.name = "schedule_free_adamw", c.schedule.name = "constant";
         c.average.ema = 0.9, c.average.lawa = 2, c.average.every = {3, Length::Unit::steps};
       }},
      {"everything scheduled",
       [](Config& c) {
         c.schedule.weight_decay = "linear(floor=0)";
         c.schedule.momentum = "one_cycle(warmup=30 %, warmup_from=1.05, floor=1.05)";
         c.schedule.dropout = "linear(floor=0)";
         c.schedule.batch = "constant(warmup=50 %, warmup_from=0)";
         c.schedule.sequence = "constant(warmup=60 %, warmup_from=0.2)";
       }},
      {"batch by tokens",
       [](Config& c) {
         c.train.steps.reset(), c.train.tokens = 24 * 2 * 30;
         c.schedule.batch = "linear(warmup=100 tokens, floor=0.3)";
       }},
      {"documents", [](Config& c) { c.data.shuffle = "documents", c.data.mask_documents = true; }},
      {"losses",
       [](Config& c) {
         c.loss.label_smoothing = 0.1, c.loss.z_loss = 1e-3, c.optimizer.clip_value = 0.01;
         c.model.dropout_attention = 0, c.model.dropout_embedding = 0.3;
       }},
      {"plateau",
       [](Config& c) { c.schedule.name = "plateau", c.schedule.patience = 0, c.optimizer.lr = 1; }},
      {"patience", [](Config& c) { c.train.patience = 2, c.optimizer.lr = 0.3; }},
  };
  static const std::vector<OptimizerEntry> entries(optimizers().begin(), optimizers().end());
  for (const OptimizerEntry& entry : entries)
    all.push_back({entry.name.c_str(), [&entry](Config& c) { c.optimizer.name = entry.name; }});
  static const std::vector<ScheduleEntry> shapes(schedules().begin(), schedules().end());
  for (const ScheduleEntry& entry : shapes)
    all.push_back({entry.name.c_str(), [&entry](Config& c) { c.schedule.name = entry.name; }});
  return all;
}

TEST_P(Recipe, EverythingResumesToTheBit) {
  constexpr int64_t kSteps = 12;
  for (const Variation& variation : variations()) {
    SCOPED_TRACE(variation.name);
    Config c = config(kSteps);
    c.eval.every = {4, Length::Unit::steps}, c.eval.tokens = 100;
    c.train.grad_accum = 3;
    variation.change(c);
    ASSERT_EQ(train(c, "whole"), RunState::finished);
    const auto last = static_cast<int64_t>(lines("whole").back().at("step").get<double>());
    for (const int64_t stop : {1, 5, 9}) {
      ASSERT_EQ(train(c, "part", stop), RunState::stopped);
      ASSERT_EQ(train(c, "part"), RunState::finished);
      ASSERT_EQ(weights("part", last), weights("whole", last)) << "stopped after " << stop;
      ASSERT_EQ(events("part"), events("whole")) << "stopped after " << stop;
      fs::remove_all(folder_.file("part"));
    }
    fs::remove_all(folder_.file("whole"));
  }
}

TEST_P(Recipe, EveryOptimizerLearns) {
  for (const OptimizerEntry& entry : optimizers()) {
    Config c = config(200);
    c.optimizer.name = entry.name, c.model.dropout = 0;
    c.optimizer.lr = entry.name == "lion" ? 1e-3 : 1e-2, c.optimizer.embedding_lr = 1e-2;
    if (entry.name.starts_with("schedule_free")) c.schedule.name = "constant";
    ASSERT_EQ(train(c, entry.name), RunState::finished);
    const std::vector<double> losses = column(entry.name, "train/loss");
    const double last = std::accumulate(losses.end() - 20, losses.end(), 0.0) / 20;
    EXPECT_LT(last, losses.front() - 0.3) << entry.name;
  }
}

TEST_P(Recipe, LengthsTakeAnyUnit) {
  const auto rates = [&](const Config& c, const std::string& name) {
    EXPECT_EQ(train(c, name), RunState::finished);
    const std::vector<double> out = column(name, "lr");
    fs::remove_all(folder_.file(name));
    return out;
  };
  Config c = config(20);
  c.schedule.name = "wsd", c.schedule.floor = 0, c.schedule.warmup = {5, Length::Unit::steps};
  c.schedule.cooldown = {5, Length::Unit::steps};
  const std::vector<double> steps = rates(c, "steps");
  constexpr double kTokens = 24 * 2;
  c.schedule.warmup = {5 * kTokens, Length::Unit::tokens};
  c.schedule.cooldown = {0.25, Length::Unit::fraction};
  EXPECT_EQ(rates(c, "tokens"), steps);
  c.schedule.warmup = {5 * kTokens / (83 * 24), Length::Unit::epochs};
  EXPECT_EQ(rates(c, "epochs"), steps);
  // By the clock: the end of the schedule is when the time is over.
  c.train.steps.reset(), c.train.seconds = 0.5;
  c.schedule.name = "linear", c.schedule.warmup = {3, Length::Unit::steps};
  const std::vector<double> clock = rates(c, "clock");
  ASSERT_GT(clock.size(), 6u);
  EXPECT_EQ(*std::max_element(clock.begin(), clock.begin() + 6),
            *std::max_element(clock.begin(), clock.end()))
      << "a warm-up of three steps is over in six";
  EXPECT_LT(clock.back(), 0.6 * 1e-2) << "and falls until the time is over";
  // And a length in seconds in a run of steps is exchanged at the rate so far.
  c = config(60);
  c.schedule.name = "constant", c.schedule.warmup = {3600, Length::Unit::seconds};
  for (const double lr : rates(c, "hour")) EXPECT_LT(lr, 1e-2);
}

TEST_P(Recipe, BatchesGrow) {
  Config c = config(8);
  c.train.grad_accum = 4;
  c.schedule.batch = "constant(warmup=8, warmup_from=0)";
  ASSERT_EQ(train(c, "run"), RunState::finished);
  const std::vector<double> tokens = column("run", "tokens");
  std::vector<double> micro_batches;
  for (size_t i = 0; i < tokens.size(); ++i)
    micro_batches.push_back((tokens[i] - (i > 0 ? tokens[i - 1] : 0)) / 48);
  EXPECT_EQ(micro_batches, (std::vector<double>{1, 1, 2, 2, 3, 3, 4, 4}));
  EXPECT_EQ(state("run", 8).at("tokens"), 20 * 48);
  // The same tokens in the same order, whatever the steps.
  c.train.steps.reset(), c.train.tokens = 20 * 48;
  ASSERT_EQ(train(c, "tokens"), RunState::finished);
  EXPECT_GE(column("tokens", "tokens").back(), 20 * 48);
  const std::string said = Trainer(c, {}).describe();
  EXPECT_NE(said.find("length          960 tokens, 0.48 epochs\n"), std::string::npos) << said;
}

// Of steps of one and of four micro-batches, what a micro-batch takes and what Muon's update does.
TEST_P(Recipe, OperationsOfAllItsStepsAreCounted) {
  Config c = config(1);
  c.optimizer.name = "muon";
  const auto flops = [&](const std::string& name) {
    return json::parse(result(name)).at("flops").get<double>();
  };
  ASSERT_EQ(train(c, "one"), RunState::finished);
  c.train.grad_accum = 4;
  ASSERT_EQ(train(c, "four"), RunState::finished);
  const double micro = (flops("four") - flops("one")) / 3, update = flops("one") - micro;
  EXPECT_GT(update, 0);
  c.train.steps = 8, c.eval.every = {5, Length::Unit::steps};
  c.schedule.batch = "constant(warmup=8, warmup_from=0)";  // 1, 1, 2, 2, 3, 3, 4, 4
  ASSERT_EQ(train(c, "growing"), RunState::finished);
  EXPECT_NEAR(flops("growing"), 8 * update + 20 * micro, 1e-9 * flops("growing"));
  std::vector<double> evaluated;
  for (const json& line : lines("growing"))
    if (line.contains("val/loss")) evaluated.push_back(line.at("flops").get<double>());
  ASSERT_EQ(evaluated.size(), 2u);
  EXPECT_NEAR(evaluated[0], 5 * update + 9 * micro, 1e-9 * evaluated[0]);
  // What is done stays counted where a run goes on by another recipe.
  c.schedule.batch = "constant";
  ASSERT_EQ(train(c, "changed", 3), RunState::stopped);
  c.train.grad_accum = 1, c.train.steps = 5;
  ASSERT_EQ(train(c, "changed"), RunState::finished);
  EXPECT_NEAR(flops("changed"), 5 * update + 14 * micro, 1e-9 * flops("changed"));
}

TEST_P(Recipe, ACutSequenceSeesLess) {
  Config c = config(1);
  c.model.dropout = 0;
  const auto first_loss = [&](const std::string& name) {
    EXPECT_EQ(train(c, name), RunState::finished);
    return column(name, "train/loss")[0];
  };
  const double whole = first_loss("whole");
  c.schedule.sequence = "constant(warmup=100 %, warmup_from=0.1)";
  c.train.steps = 50;
  const double cut = first_loss("cut");
  EXPECT_NE(cut, whole);
  EXPECT_NEAR(cut, whole, 0.3) << "at the start nothing has been learnt";
}

TEST_P(Recipe, AveragesAreEvaluatedBesideTheWeights) {
  Config c = config(20);
  c.eval.every = {10, Length::Unit::steps};
  c.schedule.name = "constant";
  c.average.ema = 0.5, c.average.lawa = 4, c.average.every = {1, Length::Unit::steps};
  c.average.start = {12, Length::Unit::steps};
  ASSERT_EQ(train(c, "run"), RunState::finished);
  std::vector<json> evaluations;
  for (const json& line : lines("run"))
    if (line.contains("val/loss")) evaluations.push_back(line);
  ASSERT_EQ(evaluations.size(), 2u);
  EXPECT_FALSE(evaluations[0].contains("val/loss_ema")) << "they have not begun";
  const json result = json::parse(this->result("run"));
  for (const char* key : {"val/loss_ema", "val/loss_lawa"}) {
    EXPECT_NEAR(evaluations[1].at(key).get<double>(), evaluations[1].at("val/loss").get<double>(),
                0.5);
    EXPECT_NE(evaluations[1].at(key), evaluations[1].at("val/loss"));
    EXPECT_EQ(result.at(key), evaluations[1].at(key));
  }
  // The stored averages give the losses that were logged.
  const Dataset data = Dataset::open(folder_.file("data"));
  const EvalBatches batches(data, "valid", 2, 24);
  for (const std::string name : {"ema", "lawa"}) {
    LoadedRun run = load_run(folder_.file("run"), {.sequences = 2, .length = 24});
    run.checkpoint = folder_.file("run/checkpoints/step_00000020");
    use_average(run, name);
    EXPECT_NEAR(evaluate(*run.engine, data, "valid", batches, {}).loss,
                evaluations[1].at("val/loss_" + name).get<double>(), 1e-5)
        << name;
    EXPECT_THROW(use_average(run, "swa"), Error);
  }
}

TEST_P(Recipe, AScheduleFreeRunIsStoredAsItIsUsed) {
  Config c = config(30);
  c.optimizer.name = "schedule_free_adamw", c.schedule.name = "constant";
  c.model.dropout = 0;
  ASSERT_EQ(train(c, "run"), RunState::finished);
  const Dataset data = Dataset::open(folder_.file("data"));
  const EvalBatches batches(data, "valid", 2, 24);
  LoadedRun run = load_run(folder_.file("run"), {.sequences = 2, .length = 24});
  const double logged = json::parse(result("run")).at("val/loss").get<double>();
  EXPECT_NEAR(evaluate(*run.engine, data, "valid", batches, {}).loss, logged, 1e-5);
}

TEST_P(Recipe, StopsEarly) {
  Config c = config(400);
  c.optimizer.lr = 0.05, c.schedule.name = "constant";
  c.eval.every = {10, Length::Unit::steps}, c.train.patience = 2;
  ASSERT_EQ(train(c, "run"), RunState::finished);
  const auto steps = column("run", "step");
  EXPECT_LT(steps.back(), 400) << "two thousand tokens are soon learnt by heart";
  EXPECT_NE(result("run").find("\"state\": \"finished\""), std::string::npos);
  const std::string log = events("run");
  ASSERT_EQ(train(c, "run"), RunState::finished);
  EXPECT_EQ(events("run"), log) << "it stays where it stopped";
}

TEST_P(Recipe, APlateauLowersTheRate) {
  Config c = config(60);
  c.optimizer.lr = 0.1;
  c.schedule.name = "plateau", c.schedule.patience = 0, c.schedule.gamma = 0.5;
  c.schedule.warmup = {0, Length::Unit::steps}, c.schedule.floor = 0.01;
  c.eval.every = {5, Length::Unit::steps};
  ASSERT_EQ(train(c, "run"), RunState::finished);
  const std::vector<double> rates = column("run", "lr");
  EXPECT_NEAR(rates.front(), 0.1, 1e-6);
  EXPECT_LT(rates.back(), 0.06);
}

TEST_P(Recipe, RefusesWhatCannotBe) {
  const auto refuses = [&](const std::function<void(Config&)>& change, const std::string& part) {
    Config c = config(5);
    change(c);
    expect_error(c, part);
  };
  refuses([](Config& c) { c.schedule.batch = "constant(warmup=10 %)"; }, "grad_accum is the peak");
  refuses([](Config& c) { c.schedule.batch = "linear(floor=2)"; }, "above 1");
  refuses([](Config& c) { c.schedule.weight_decay = "liner"; }, "did you mean 'linear'");
  refuses([](Config& c) { c.schedule.weight_decay = "plateau"; }, "the learning rate's alone");
  refuses([](Config& c) { c.schedule.momentum = "linear(floor=1.2)"; }, "schedule.momentum: floor");
  refuses([](Config& c) { c.schedule.dropout = "linear(floor=10)"; }, "schedule.dropout: floor");
  refuses([](Config& c) { c.schedule.sequence = "linear(warmup"; }, "closing bracket");
  refuses([](Config& c) { c.schedule.name = "multistep", c.schedule.milestones = "5 cm"; },
          "schedule.milestones");
  refuses([](Config& c) { c.schedule.warmup = {9, Length::Unit::steps}; }, "longer than");
  refuses([](Config& c) { c.data.shuffle = "pages"; }, "known are blocks, documents");
  refuses([](Config& c) { c.average.ema = 1; }, "average.ema");
  refuses([](Config& c) { c.average.lawa = -1; }, "average.lawa");
  refuses(
      [](Config& c) {
        c.average.lawa = 2, c.average.every = {0, Length::Unit::steps};
      },
      "average.every");
  refuses([](Config& c) { c.train.patience = -1; }, "train.patience");
  refuses([](Config& c) { c.train.patience = 1; }, "eval.every is 0");
  refuses([](Config& c) { c.schedule.name = "plateau"; }, "eval.every is 0");
  refuses([](Config& c) { c.loss.label_smoothing = 1; }, "loss.label_smoothing");
  refuses([](Config& c) { c.loss.z_loss = -1; }, "loss.z_loss");
  refuses([](Config& c) { c.model.dropout_attention = 1; }, "model.dropout_attention");
  refuses([](Config& c) { c.optimizer.clip_value = -1; }, "optimizer.clip_value");
  // What computes takes them for 1.
  refuses([](Config& c) { c.optimizer.beta1 = 0.99999999; }, "optimizer.beta1");
  refuses([](Config& c) { c.average.ema = 0.99999999; }, "average.ema");
  refuses([](Config& c) { c.model.dropout = 0.999; }, "model.dropout");
  refuses([](Config& c) { c.optimizer.groups = "*conv*: lr=1"; }, "no parameter is named like");
  refuses([](Config& c) { c.optimizer.name = "lamb"; }, "known are adamw");
}

INSTANTIATE_TEST_SUITE_P(Cpu, Recipe, testing::Values("cpu"));
INSTANTIATE_TEST_SUITE_P(Cuda, Recipe, testing::Values("cuda"));

}  // namespace
}  // namespace strobe
