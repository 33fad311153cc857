// Training runs: bits, resuming, lengths, what a run folder holds, and what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "strobe/core/error.h"
#include "tests/reference/training.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using reference::slurp;

class Train : public reference::TrainingRuns {
 protected:
  // The message of the Error that training on from `name` with this configuration throws.
  std::string refusal(const Config& config, const std::string& name) {
    try {
      train(config, name);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
};

TEST_P(Train, LowersTheLoss) {
  ASSERT_EQ(train(config(200), "run"), RunState::finished);
  const std::string log = events("run");
  const auto loss_at = [&](int step) {
    const size_t line = log.find(fmt::format("\"step\": {},", step));
    return std::stod(log.substr(log.find("\"train/loss\": ", line) + 14));
  };
  EXPECT_NEAR(loss_at(1), std::log(270.0), 0.3);
  EXPECT_LT(loss_at(200), loss_at(1) - 1);
}

TEST_P(Train, SameSeedSameBitsAndAnotherSeedOthers) {
  train(config(5), "a"), train(config(5), "b");
  Config other = config(5);
  other.seed = 2;
  train(other, "c");
  EXPECT_EQ(weights("a", 5), weights("b", 5));
  EXPECT_EQ(events("a"), events("b"));
  EXPECT_NE(weights("a", 5), weights("c", 5));
}

TEST_P(Train, ResumesAtEveryStepToTheBit) {
  constexpr int64_t kSteps = 30;
  for (const char* optimizer : {"adamw", "muon"}) {
    Config c = config(kSteps);
    c.optimizer.name = optimizer;
    c.eval.every = {7, Length::Unit::steps}, c.eval.tokens = 100;
    c.train.grad_accum = 2;
    const std::string whole = fmt::format("whole-{}", optimizer);
    train(c, whole);
    // `stop` is asked before every step and every batch of an evaluation.
    constexpr int64_t kEvaluations = 5, kBatches = 3;
    const int64_t asked = kSteps + kEvaluations * kBatches;
    for (int64_t stop = 0; stop < asked; stop += c.optimizer.name == "muon" ? 3 : 1) {
      const std::string name = fmt::format("{}-{}", optimizer, stop);
      ASSERT_EQ(train(c, name, stop), RunState::stopped);
      ASSERT_EQ(train(c, name), RunState::finished) << "stopped after " << stop;
      ASSERT_EQ(weights(name, kSteps), weights(whole, kSteps)) << "stopped after " << stop;
      ASSERT_EQ(events(name), events(whole)) << "stopped after " << stop;
      fs::remove_all(folder_.file(name));
    }
  }
}

TEST_P(Train, AFinishedRunGoesOnToALongerLength) {
  Config c = config(6);
  c.schedule.name = "constant", c.schedule.warmup = {0, Length::Unit::steps};
  train(c, "longer");
  c.train.steps = 10;
  ASSERT_EQ(train(c, "longer"), RunState::finished);
  train(c, "at-once");
  EXPECT_EQ(weights("longer", 10), weights("at-once", 10));
}

// What a step sees does not depend on how it is cut, before a resumption or after it.
TEST_P(Train, ResumedWithOtherMicroBatchesReadsOnWhereItWas) {
  Config c = config(6);
  c.model.dropout = 0, c.train.micro_batch = 4;
  c.schedule.name = "constant", c.schedule.warmup = {0, Length::Unit::steps};
  c.optimizer.lr = 1e-4;  // a step changes less than batches differ
  for (const char* name : {"whole", "halved", "doubled"}) train(c, name);
  const auto losses = [&](int64_t micro_batch, int64_t grad_accum, const std::string& name) {
    c.train.steps = 10, c.train.micro_batch = micro_batch, c.train.grad_accum = grad_accum;
    train(c, name);
    std::vector<double> out;
    const std::string log = events(name);
    for (size_t at = 0; (at = log.find("train/loss\": ", at)) != std::string::npos; ++at)
      out.push_back(std::stod(log.substr(at + 13)));
    return out;
  };
  const std::vector<double> whole = losses(4, 1, "whole");
  ASSERT_EQ(whole.size(), 10u);
  const std::vector<double> halved = losses(2, 2, "halved"), doubled = losses(8, 1, "doubled");
  for (size_t step = 0; step < whole.size(); ++step)
    EXPECT_NEAR(halved[step], whole[step], 2e-3) << "step " << step + 1;
  // Twice as much a step: the seventh reads what the seventh and the eighth did, and learns later.
  constexpr double kLearnt = 2e-3;
  ASSERT_GT(std::abs(whole[6] - whole[7]) / 2, 2 * kLearnt) << "one of the two alone would do";
  EXPECT_NEAR(doubled[6], (whole[6] + whole[7]) / 2, kLearnt);
}

TEST_P(Train, ResumingACompleteRunLeavesItAsItIs) {
  train(config(4), "run");
  const std::string whole = result("run"), log = slurp(folder_.file("run/events.jsonl"));
  const std::string environment = folder_.file("run/environment.json");
  std::ofstream(environment, std::ios::app) << " ";  // of the machine that trained
  const std::string described = slurp(environment);
  ASSERT_EQ(train(config(4), "run"), RunState::finished);
  EXPECT_EQ(result("run"), whole);
  EXPECT_EQ(slurp(folder_.file("run/events.jsonl")), log);
  EXPECT_EQ(slurp(environment), described);
}

// Killed between the last checkpoint and the result; then without the evaluation too.
TEST_P(Train, ALostResultIsFoundAgain) {
  train(config(4), "run");
  const auto figures = [&] {
    const std::string text = result("run");
    return text.substr(0, text.find("\"peak_bytes\""));
  };
  const std::string whole = figures(), log = slurp(folder_.file("run/events.jsonl"));
  EXPECT_EQ(whole.find("null"), std::string::npos) << whole;
  fs::remove(folder_.file("run/result.json"));
  ASSERT_EQ(train(config(4), "run"), RunState::finished);
  EXPECT_EQ(figures(), whole);
  EXPECT_EQ(slurp(folder_.file("run/events.jsonl")), log);

  fs::remove(folder_.file("run/result.json"));
  std::ofstream(folder_.file("run/events.jsonl")) << log.substr(0, log.rfind("{\"step\""));
  ASSERT_EQ(train(config(4), "run"), RunState::finished);
  EXPECT_EQ(figures(), whole);
  EXPECT_EQ(slurp(folder_.file("run/events.jsonl")), log);
}

TEST_P(Train, AStopInTheLastEvaluationSavesWhatWasTrained) {
  ASSERT_EQ(train(config(4), "run", 4 + 2), RunState::stopped);
  EXPECT_NE(result("run").find("\"state\": \"stopped\",\n  \"steps\": 4,"), std::string::npos)
      << result("run");
  EXPECT_TRUE(fs::exists(folder_.file("run/checkpoints/step_00000004/state.json")));
  EXPECT_EQ(events("run").find("val/loss"), std::string::npos) << "of a part of the split";
  ASSERT_EQ(train(config(4), "run"), RunState::finished);
  train(config(4), "whole");
  EXPECT_EQ(events("run"), events("whole"));
}

TEST_P(Train, ARefusedChangeLeavesARunAsItIs) {
  using Change = std::function<void(Config&)>;
  struct Row {
    Change change;
    const char* part;
  };
  const Row kAlways[] = {
      {[](Config& c) { c.model.layers = 5; }, "model.layers"},
      {[](Config& c) { c.model.context = 20, c.train.sequence = 20; }, "model.context"},
      {[](Config& c) { c.model.dropout = 0; }, "model.dropout"},
      {[](Config& c) { c.optimizer.name = "muon"; }, "optimizer.name"},
      {[](Config& c) { c.seed = 9; }, "seed"},
      {[](Config& c) { c.train.steps = 3; }, "train.steps"},
  };
  const Row kFinished[] = {{[](Config& c) { c.optimizer.lr = 1; }, "optimizer.lr"}};
  const auto expect_refused = [&](const std::string& name, const Row& row) {
    const std::string file = folder_.file(name) + "/config.toml";
    const std::string before = slurp(file), ended = result(name), log = events(name);
    Config c = config(8);
    row.change(c);
    EXPECT_NE(refusal(c, name).find(row.part), std::string::npos) << refusal(c, name);
    EXPECT_EQ(slurp(file), before) << row.part;
    EXPECT_EQ(result(name), ended) << row.part;
    EXPECT_EQ(events(name), log) << row.part;
  };
  train(config(8), "stopped", 5);
  train(config(8), "finished");
  for (const Row& row : kAlways) expect_refused("stopped", row), expect_refused("finished", row);
  for (const Row& row : kFinished) expect_refused("finished", row);
  // What is the user's to change.
  Config c = config(8);
  c.optimizer.lr = 5e-3, c.model.recompute = "block", c.train.steps = 7;
  ASSERT_EQ(train(c, "stopped"), RunState::finished);
  EXPECT_NE(slurp(folder_.file("stopped/config.toml")).find("lr = 0.005"), std::string::npos);
}

TEST_P(Train, ARunByTheClockRepeatsByItsRecord) {
  Config c = config(1);
  c.train.steps.reset(), c.train.seconds = 0.3;
  ASSERT_EQ(train(c, "clock"), RunState::finished);
  c.schedule.record = folder_.file("clock");
  ASSERT_EQ(train(c, "again"), RunState::finished);
  const int64_t steps =
      std::ranges::count(events("clock"), '\n') - 1;  // one line is the evaluation
  ASSERT_GT(steps, 1);
  EXPECT_EQ(weights("clock", steps), weights("again", steps));
}

TEST_P(Train, KeepsTheNewestCheckpointsAndTheBest) {
  Config c = config(12);
  c.checkpoint.every = {2, Length::Unit::steps}, c.checkpoint.keep = 2;
  train(c, "run");
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder_.file("run/checkpoints")))
    if (entry.is_directory()) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"step_00000010", "step_00000012"}));
}

TEST_P(Train, SavesTheBestOnTheWayUnlessToldOtherwise) {
  Config c = config(12);
  c.checkpoint.every = {0, Length::Unit::steps}, c.checkpoint.keep = 0;
  c.eval.every = {4, Length::Unit::steps};
  for (const bool best : {true, false}) {
    c.checkpoint.best = best;
    const std::string run = best ? "best" : "last";
    train(c, run);
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.file(run + "/checkpoints")))
      if (entry.is_directory()) names.insert(entry.path().filename());
    EXPECT_EQ(names.contains("step_00000004"), best) << run;
    EXPECT_TRUE(names.contains("step_00000012")) << run;
  }
}

TEST_P(Train, ADamagedCheckpointFallsBackToTheOneBefore) {
  Config c = config(8);
  c.checkpoint.every = {4, Length::Unit::steps};
  train(c, "run");
  const std::string whole = weights("run", 8);
  const std::string file = folder_.file("run/checkpoints/step_00000008/model.safetensors");
  std::string bytes = slurp(file);
  bytes[bytes.size() - 3] = static_cast<char>(bytes[bytes.size() - 3] ^ 1);
  std::ofstream(file, std::ios::binary) << bytes;
  ASSERT_EQ(train(c, "run"), RunState::finished);
  EXPECT_EQ(weights("run", 8), whole);
}

TEST_P(Train, TokensEpochsAndStepsMeasureTheSame) {
  Config c = config(1);
  c.train.steps.reset();
  c.train.tokens = 24 * 2 * 9;
  train(c, "tokens");
  EXPECT_TRUE(fs::exists(folder_.file("tokens/checkpoints/step_00000009")));
  c.train.tokens.reset();
  c.train.epochs = 0.5;  // 83 blocks of 24 tokens in pairs: half an epoch is 20.75 steps
  train(c, "epochs");
  EXPECT_TRUE(fs::exists(folder_.file("epochs/checkpoints/step_00000021")));
}

TEST_P(Train, ADivergedRunKeepsItsLastGoodCheckpoint) {
  Config c = config(400);
  c.optimizer.lr = 9e5, c.optimizer.clip = 0, c.model.dropout = 0;
  c.schedule.name = "constant", c.schedule.warmup = {0, Length::Unit::steps};
  ASSERT_EQ(train(c, "run"), RunState::diverged);
  EXPECT_NE(slurp(folder_.file("run/result.json")).find("diverged"), std::string::npos);
  EXPECT_FALSE(fs::is_empty(folder_.file("run/checkpoints")));
}

class TwoBackends : public Train {};

TEST_P(TwoBackends, GoOnWithEachOthersRuns) {
  Config c = config(12);
  c.precision = "f32", c.model.dropout = 0;
  for (const std::string first : {"cpu", "cuda"}) {
    c.backend = first;
    ASSERT_EQ(train(c, first, 6), RunState::stopped);
    c.backend = first == "cpu" ? "cuda" : "cpu";
    ASSERT_EQ(train(c, first), RunState::finished);
  }
  const auto last_loss = [&](const std::string& name) {
    const std::string log = events(name);
    return std::stod(log.substr(log.rfind("\"train/loss\": ") + 14));
  };
  EXPECT_NEAR(last_loss("cpu"), last_loss("cuda"), 1e-3);
}

// The algorithms that were timed are kept with the run: another timing may choose others.
TEST_P(Train, ResumesWithTheProductsItTimed) {
  Config c = config(6);
  c.gemm.tune = true;
  const auto with_cache = [&](const std::string& cache) {
    fs::create_directories(folder_.file(cache));
    setenv("XDG_CACHE_HOME", folder_.file(cache).c_str(), 1);
  };
  with_cache("cache-0");
  ASSERT_EQ(train(c, "run", 3), RunState::stopped);
  fs::copy(folder_.file("run"), folder_.file("again"), fs::copy_options::recursive);
  train(c, "run");
  with_cache("cache-1");
  train(c, "again");
  unsetenv("XDG_CACHE_HOME");
  EXPECT_EQ(weights("run", 6), weights("again", 6));
  const std::string state = slurp(folder_.file("run/checkpoints/step_00000006/state.json"));
  EXPECT_EQ(state.find("gemm_plans") != std::string::npos, GetParam() == "cuda");
}

TEST_P(Train, StartsFromAnotherRunsWeights) {
  train(config(6), "first");
  Config c = config(1);
  c.init_from = folder_.file("first");
  train(c, "second");
  EXPECT_EQ(slurp(folder_.file("second/checkpoints/step_00000000/model.safetensors")),
            slurp(folder_.file("first/checkpoints/step_00000006/model.safetensors")));
  c.model.context = c.train.sequence = 20;
  const std::string said = refusal(c, "third");
  EXPECT_NE(said.find("wpe.weight of f32 (24, 32); this model's is f32 (20, 32)"), said.npos)
      << said;
}

TEST_P(Train, RefusesDataOfAnotherTokenizer) {
  train(config(4), "run", 2);
  const std::string tokenizer = slurp(folder_.file("run/tokenizer.json"));
  reference::write_tiny_dataset(folder_.file("other"), 2000, 333,
                                "a mill went round and round where the water of the brook ran on");
  Config c = config(4);
  c.data.path = folder_.file("other");
  EXPECT_NE(refusal(c, "run").find("another tokenizer"), std::string::npos) << refusal(c, "run");
  EXPECT_EQ(slurp(folder_.file("run/tokenizer.json")), tokenizer);
  c.init_from = folder_.file("run");
  EXPECT_NE(refusal(c, "new").find("another tokenizer"), std::string::npos) << refusal(c, "new");
  // Other text in the same tokens is the user's choice.
  c = config(4);
  reference::write_tiny_dataset(folder_.file("longer"), 3000);
  c.data.path = folder_.file("longer");
  EXPECT_EQ(train(c, "run"), RunState::finished);
}

// The disk was full, or the process killed, before there was a checkpoint.
TEST_P(Train, ARunWithoutItsFirstCheckpointBegins) {
  train(config(4), "whole");
  RunFolder::create(folder_.file("run"), Trainer(config(4), {}).config());
  ASSERT_EQ(train(config(4), "run"), RunState::finished);
  EXPECT_EQ(weights("run", 4), weights("whole", 4));
  EXPECT_EQ(events("run"), events("whole"));
  fs::remove_all(folder_.file("run/checkpoints"));
  EXPECT_NE(refusal(config(4), "run").find("no whole checkpoint"), std::string::npos)
      << "one that has ended has lost them";
}

TEST_P(Train, PathsInARunAreWhole) {
  const fs::path here = fs::current_path();
  fs::current_path(folder_.path());
  Config c = config(2);
  c.data.path = "data";
  const std::string path = Trainer(c, {}).config().data.path;
  fs::current_path(here);
  EXPECT_EQ(path, fs::canonical(folder_.file("data")).string());
}

TEST_P(Train, PlansWhatItSays) {
  const std::string text = Trainer(config(5), {}).describe();
  for (const char* part :
       {"parameters", "gradients", "optimizer state", "checkpoint", "tokens a step"})
    EXPECT_NE(text.find(part), std::string::npos) << part;
}

TEST_P(Train, KeepsToItsMemoryLimit) {
  Config c = config(5);
  c.train.memory_limit = 1e-6;  // 1073 bytes
  EXPECT_NE(Trainer(c, {}).describe().find("DOES NOT FIT"), std::string::npos);
  try {
    train(c, "limited");
    FAIL() << "a run larger than its limit began";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("1.0 KiB are available"), std::string::npos)
        << error.what();
  }
  c.train.memory_limit = 1;
  EXPECT_EQ(Trainer(c, {}).describe().find("DOES NOT FIT"), std::string::npos);
}

TEST_P(Train, RefusesWhatCannotRun) {
  const auto changed = [&](const std::function<void(Config&)>& change) {
    Config c = config(5);
    change(c);
    return c;
  };
  expect_error(changed([](Config& c) { c.data.path += "-missing"; }), "no dataset.json");
  expect_error(changed([](Config& c) { c.model.vocab = 100; }), "fewer than the 270");
  expect_error(changed([](Config& c) { c.train.sequence = 25; }), "context of 24");
  expect_error(changed([](Config& c) { c.model.context = 5000, c.train.sequence = 5000; }),
               "training split");
  expect_error(changed([](Config& c) { c.train.micro_batch = 0; }), "micro_batch");
  expect_error(changed([](Config& c) { c.train.memory_limit = -1; }), "memory_limit");
  expect_error(changed([](Config& c) { c.train.steps.reset(); }), "set one of");
  expect_error(changed([](Config& c) { c.train.tokens = 5; }), "set one of");
  expect_error(changed([](Config& c) { c.train.steps = -1; }), "more than 0");
  expect_error(changed([](Config& c) { c.schedule.warmup = {9, Length::Unit::steps}; }), "warm-up");
  expect_error(changed([](Config& c) { c.schedule.name = "cosign"; }), "did you mean 'cosine'");
  expect_error(changed([](Config& c) { c.optimizer.name = "muom"; }), "did you mean 'muon'");
  expect_error(changed([](Config& c) { c.schedule.record = "/nowhere"; }), "events.jsonl");
}

TEST_P(Train, OneProcessTrainsInARunFolder) {
  Trainer trainer(config(2), {});
  const RunFolder first = RunFolder::create(folder_.file("run"), trainer.config());
  EXPECT_THROW(RunFolder::open(folder_.file("run")), Error);
  EXPECT_THROW(RunFolder::create(folder_.file("run"), trainer.config()), Error);
  EXPECT_THROW(RunFolder::open(folder_.file("data")), Error);
}

TEST_P(Train, TornEventsAreWrittenAgain) {
  Config c = config(8);
  c.checkpoint.every = {4, Length::Unit::steps};
  train(c, "whole");
  train(c, "torn", 6);
  std::ofstream(folder_.file("torn/events.jsonl"), std::ios::app) << "{\"step\": 7, \"tok";
  ASSERT_EQ(train(c, "torn"), RunState::finished);
  EXPECT_EQ(events("torn"), events("whole"));
}

// What lies between a run's events is left out, with a word; nothing else is.
TEST_P(Train, ForeignLinesInTheLogAreLeftOut) {
  Config c = config(8);
  c.eval.every = {3, Length::Unit::steps};
  train(c, "whole");
  const std::string log = folder_.file("run/events.jsonl");
  const auto resumed_with = [&](const std::function<std::string(const std::string&)>& change) {
    fs::remove_all(folder_.file("run"));
    train(c, "run", 3 + kValidationBatches + 2);
    const std::string changed = change(slurp(log));
    std::ofstream(log, std::ios::binary) << changed;
    testing::internal::CaptureStdout();
    EXPECT_EQ(train(c, "run"), RunState::finished);
    return testing::internal::GetCapturedStdout();
  };
  const std::string garbled = resumed_with(
      [](const std::string& text) { return "garbage\n{\"step\": 1, \"torn\n" + text; });
  EXPECT_NE(garbled.find("2 lines of"), std::string::npos) << garbled;
  EXPECT_EQ(events("run"), events("whole"));
  for (const char* text : {"\x01\x02", "all\ngone\n"}) {
    const std::string lost = resumed_with([&](const std::string&) { return text; });
    EXPECT_NE(lost.find("0 of the 5 steps"), std::string::npos) << lost;
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, Train, testing::Values("cpu"));
INSTANTIATE_TEST_SUITE_P(Cuda, Train, testing::Values("cuda"));
INSTANTIATE_TEST_SUITE_P(Cuda, TwoBackends, testing::Values("cuda"));

}  // namespace
}  // namespace strobe
