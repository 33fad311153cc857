// Checkpoints: what is written is read back to the bit, and nothing else is.
#include "strobe/io/checkpoint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "strobe/core/error.h"
#include "strobe/core/files.h"
#include "strobe/io/safetensors.h"
#include "strobe/ops/make_backend.h"
#include "tests/reference/text_files.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using reference::error_of;
using reference::slurp;

void spill(const std::string& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

// Parameters with states, over vectors of their own; the first one is padded.
class Weights {
 public:
  explicit Weights(float first, int states = 2, int64_t channels = 5, int count = 2) {
    for (int i = 0; i < count; ++i) {
      Param& param = params_.emplace_back();
      param.name = fmt::format("transformer.h.{}.weight", i);
      param.padding = i == 0 ? 3 : 0;
      param.value = tensor(7, channels, first + static_cast<float>(i));
      for (int s = 0; s < states; ++s)
        param.state.push_back(tensor(7, channels, first - static_cast<float>(i + s + 1)));
    }
    for (Param& param : params_) pointers_.push_back(&param);
  }

  std::span<Param* const> params() const { return pointers_; }
  // Everything that a checkpoint holds.
  std::vector<float> stored() const {
    std::vector<float> out;
    const auto add = [&](Tensor t) {
      out.insert(out.end(), t.as<float>(), t.as<float>() + t.numel());
    };
    for (const Param& p : params_) {
      add(p.stored(p.value));
      for (const Tensor& state : p.state) add(p.stored(state));
    }
    return out;
  }

 private:
  Tensor tensor(int64_t rows, int64_t columns, float first) {
    auto& memory = memory_.emplace_back(static_cast<size_t>(rows * columns));
    for (size_t i = 0; i < memory.size(); ++i) memory[i] = first + 0.1f * static_cast<float>(i);
    return Tensor(memory.data(), DType::f32, {rows, columns});
  }

  std::vector<std::vector<float>> memory_;
  std::vector<Param> params_;
  std::vector<Param*> pointers_;
};

class Checkpoint : public testing::Test {
 protected:
  std::string path(int64_t step) const { return folder_.file(fmt::format("step_{:08}", step)); }
  TrainState state(int64_t step, int64_t best_step = -1, double best_loss = 4) const {
    TrainState state;
    state.step = step, state.tokens = 1000.0 * static_cast<double>(step), state.seconds = 0.1;
    if (best_step >= 0) state.best_step = best_step, state.best_loss = best_loss;
    return state;
  }
  void save(const Weights& weights, const TrainState& state, int64_t keep = 2) {
    CheckpointWriter writer(folder_.path(), keep);
    writer.save(*ops_, weights.params(), state);
    writer.wait();
  }
  TrainState load(Weights& weights) {
    notes_.clear();
    return load_newest_checkpoint(folder_.path(), *ops_, weights.params(),
                                  [&](const std::string& note) { notes_.push_back(note); });
  }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(folder_.path()))
      out.push_back(entry.path().filename());
    std::ranges::sort(out);
    return out;
  }

  reference::TemporaryFolder folder_;
  std::unique_ptr<Backend> ops_ = make_backend("cpu");
  std::vector<std::string> notes_;
};

TEST_F(Checkpoint, ReadsBackEveryBit) {
  const Weights written(1.5f);
  TrainState was = state(12, 7, 3.0 / 7);
  was.seconds = 1.0 / 3, was.evaluation_due = true;
  save(written, was);
  Weights read(-9);
  ASSERT_NE(read.stored(), written.stored());
  const TrainState is = load(read);
  EXPECT_EQ(read.stored(), written.stored());
  EXPECT_EQ(is.step, was.step);
  EXPECT_EQ(is.tokens, was.tokens);
  EXPECT_EQ(is.seconds, was.seconds);
  EXPECT_EQ(is.best_step, was.best_step);
  EXPECT_EQ(is.best_loss, was.best_loss);
  EXPECT_TRUE(is.evaluation_due);
  EXPECT_TRUE(notes_.empty());
  Weights only_values(-9, 0);
  load_weights(path(12), *ops_, only_values.params());
  EXPECT_EQ(only_values.stored(), Weights(1.5f, 0).stored());
}

// Large enough to be written in several pieces, with a rest.
TEST_F(Checkpoint, OfManyPiecesReadsBackEveryBit) {
  constexpr int64_t kChannels = 330'001;
  const Weights written(1.5f, 2, kChannels);
  save(written, state(1));
  // Two states of 7 and of 7 - 3 rows.
  ASSERT_GT(fs::file_size(path(1) + "/optimizer.safetensors"), 2 * 11 * kChannels * sizeof(float));
  Weights read(-9, 2, kChannels);
  load(read);
  EXPECT_TRUE(notes_.empty());
  EXPECT_TRUE(read.stored() == written.stored());
}

TEST_F(Checkpoint, IsOfTheMomentOfTheSave) {
  Weights weights(1);
  const std::vector<float> before = weights.stored();
  {
    CheckpointWriter writer(folder_.path(), 2);
    writer.save(*ops_, weights.params(), state(1));
    for (Param* param : weights.params()) ops_->fill(param->value, -1);
    writer.wait();
  }
  load(weights);
  EXPECT_EQ(weights.stored(), before);
}

TEST_F(Checkpoint, AStateIsReadAsItWasWritten) {
  StateFile file;
  TrainState& s = file.state;
  s.step = 7, s.tokens = 0.1, s.tokens_seen = 1e300, s.flops = 3e17, s.seconds = 1.0 / 3,
  s.best_step = 5;
  s.best_scores = {{"val/f1", std::nan("")}, {"val/accuracy", 0.9}};
  s.evaluation_due = true, s.gemm_plans = "a \"plan\"\n", s.plateau_bad = 3, s.lr_most = 1e-3;
  file.checksums = {{"model.safetensors", "00ff"}};
  spill(folder_.file("state.json"), to_text(file));
  const StateFile read = read_state(folder_.path());
  EXPECT_EQ(to_text(read), to_text(file));
  EXPECT_EQ(read.state.seconds, s.seconds);
  EXPECT_EQ(read.state.best_loss, s.best_loss) << "infinite: never evaluated";
  EXPECT_EQ(read.state.best_scores[1], s.best_scores[1]) << "in their order";
  EXPECT_EQ(read.state.gemm_plans, s.gemm_plans);
  EXPECT_TRUE(read.state.evaluation_due);

  // Of a version that knew less.
  const std::string less = "{\"step\": 7, \"tokens\": 70, \"seconds\": 1, \"checksums\": {}";
  spill(folder_.file("state.json"), fmt::format("{},\n  \"checksum\": \"{:016x}\"\n}}\n", less,
                                                checksum(std::as_bytes(std::span(less)))));
  EXPECT_EQ(read_state(folder_.path()).state.tokens_seen, 70);
  EXPECT_EQ(read_state(folder_.path()).state.best_step, -1);
  EXPECT_TRUE(std::isnan(read_state(folder_.path()).state.flops)) << "nobody counted them";
}

// Any one bit of any byte: the step before is loaded, never what the flip made.
TEST_F(Checkpoint, NoBitFlipAndNoTruncationIsEverLoaded) {
  const Weights older(1), newer(2);
  save(older, state(4));
  save(newer, state(8));
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "state.json"}) {
    const std::string file = path(8) + "/" + name, whole = slurp(file);
    ASSERT_FALSE(whole.empty());
    const auto expect_refused = [&](const std::string& bytes, const std::string& what) {
      spill(file, bytes);
      Weights read(0);
      ASSERT_EQ(load(read).step, 4) << name << ": " << what;
      ASSERT_EQ(read.stored(), older.stored()) << name << ": " << what;
      ASSERT_EQ(notes_.size(), 1u);
      ASSERT_NE(notes_[0].find(name), std::string::npos) << notes_[0];
    };
    // Every byte of what is text, and a sample of the data.
    const size_t text = name == std::string("state.json") ? whole.size() : 400;
    for (size_t byte = 0; byte < whole.size(); byte += byte < text ? 1 : 7) {
      std::string flipped = whole;
      flipped[byte] = static_cast<char>(flipped[byte] ^ (1 << byte % 8));
      expect_refused(flipped, fmt::format("bit {} of byte {}", byte % 8, byte));
      if (HasFatalFailure()) return;
    }
    for (size_t length = 0; length < whole.size(); length += 1 + length / 8) {
      expect_refused(whole.substr(0, length), fmt::format("cut to {} bytes", length));
      if (HasFatalFailure()) return;
    }
    fs::remove(file);
    Weights read(0);
    EXPECT_EQ(load(read).step, 4) << name << " is gone";
    spill(file, whole);
  }
  Weights read(0);
  EXPECT_EQ(load(read).step, 8);
}

TEST_F(Checkpoint, TheWeightsAloneAreVerifiedToo) {
  save(Weights(1), state(3));
  const std::string file = path(3) + "/model.safetensors", whole = slurp(file);
  for (size_t i = 1; i <= 40; ++i) {
    std::string flipped = whole;
    flipped[flipped.size() - i] = static_cast<char>(flipped[flipped.size() - i] ^ 1);
    spill(file, flipped);
    Weights read(0, 0);
    EXPECT_NE(error_of([&] { load_weights(path(3), *ops_, read.params()); }).find("damaged"),
              std::string::npos);
    EXPECT_EQ(read.stored(), Weights(0, 0).stored()) << "nothing of it is loaded";
  }
}

TEST_F(Checkpoint, SaysWhatDoesNotFit) {
  save(Weights(1), state(3));
  const auto refusal = [&](Weights weights) {
    EXPECT_THROW(load(weights), Error);
    return notes_.empty() ? std::string() : notes_[0];
  };
  const std::string shape = refusal(Weights(0, 2, 6));
  EXPECT_NE(shape.find("transformer.h.0.weight"), std::string::npos) << shape;
  EXPECT_NE(shape.find("(4, 5)"), std::string::npos) << shape;
  EXPECT_NE(shape.find("(4, 6)"), std::string::npos) << shape;
  EXPECT_NE(refusal(Weights(0, 2, 5, 3)).find("transformer.h.2.weight"), std::string::npos);
  EXPECT_NE(refusal(Weights(0, 2, 5, 1)).find("transformer.h.1.weight"), std::string::npos)
      << "a model of fewer layers";
  EXPECT_NE(refusal(Weights(0, 1)).find("state1"), std::string::npos) << "another optimizer's";
  EXPECT_NE(refusal(Weights(0, 3)).find("state2"), std::string::npos) << "another optimizer's";
}

// The optimizer's states do not fit: the model's weights, which would, are left alone too.
TEST_F(Checkpoint, LoadsAllOfOneOrNothing) {
  save(Weights(1), state(3));
  Weights read(5, 1);
  EXPECT_THROW(load(read), Error);
  EXPECT_EQ(read.stored(), Weights(5, 1).stored());
}

TEST_F(Checkpoint, IsOfTheStepThatItsNameSays) {
  save(Weights(1), state(3));
  fs::rename(path(3), path(9));
  Weights read(0);
  EXPECT_THROW(load(read), Error);
  EXPECT_NE(notes_.at(0).find("step 3"), std::string::npos) << notes_[0];
}

TEST_F(Checkpoint, WhatAKilledWriterLeftIsPassedOverAndRemoved) {
  const Weights weights(1);
  save(weights, state(4));
  fs::copy(path(4), path(8) + ".partial");
  fs::create_directory(folder_.file("step_00000012.partial"));
  spill(folder_.file("best.json.partial"), "{\"st");
  spill(folder_.file("notes.txt"), "the user's");
  fs::create_directory(folder_.file("step_abc"));
  Weights read(0);
  EXPECT_EQ(load(read).step, 4);
  EXPECT_TRUE(notes_.empty());
  CheckpointWriter writer(folder_.path(), 2);
  EXPECT_EQ(names(), (std::vector<std::string>{"notes.txt", "step_00000004", "step_abc"}));
}

// The checkpoint of a step is replaced in two renames; a kill between them must not lose it.
TEST_F(Checkpoint, AKillBetweenTheRenamesOfAReplacementLosesNothing) {
  const Weights weights(1);
  save(weights, state(4));
  fs::rename(path(4), path(4) + ".old.partial");
  fs::copy(path(4) + ".old.partial", path(4) + ".partial");
  CheckpointWriter writer(folder_.path(), 2);
  Weights read(0);
  EXPECT_EQ(load(read).step, 4);
  EXPECT_EQ(read.stored(), weights.stored());
}

TEST_F(Checkpoint, OfTheSameStepIsReplaced) {
  save(Weights(1), state(4));
  save(Weights(2), state(4));
  Weights read(0);
  load(read);
  EXPECT_EQ(read.stored(), Weights(2).stored());
  EXPECT_EQ(names(), std::vector<std::string>{"step_00000004"});
}

TEST_F(Checkpoint, KeepsTheNewestAndTheBest) {
  for (int64_t step = 1; step <= 6; ++step) save(Weights(1), state(step, step < 3 ? step : 2));
  EXPECT_EQ(names(), (std::vector<std::string>{"best.json", "step_00000002", "step_00000005",
                                               "step_00000006"}));
  EXPECT_EQ(best_checkpoint(folder_.path()), path(2));
  save(Weights(1), state(7, 7), 0);
  EXPECT_EQ(names().size(), 5u) << "0 keeps all";
  EXPECT_EQ(best_checkpoint(folder_.path()), path(7));
}

// After a damaged checkpoint the run goes on from the one before: what it writes then is the
// newest, whatever the damaged one's number, and must not be pruned in its favour.
TEST_F(Checkpoint, ADamagedOneNeverOutlivesAWholeOne) {
  save(Weights(1), state(8), 1);
  save(Weights(1), state(12), 0);
  spill(path(12) + "/model.safetensors", "damaged");
  Weights read(0);
  ASSERT_EQ(load(read).step, 8);
  save(Weights(3), state(10), 1);
  EXPECT_EQ(load(read).step, 10);
  EXPECT_EQ(read.stored(), Weights(3).stored());
  EXPECT_TRUE(notes_.empty()) << notes_[0];
}

// The best one was damaged, and training went back to a time when another was.
TEST_F(Checkpoint, TheBestIsTheStatesOwn) {
  save(Weights(1), state(4, 4, 3.5));
  save(Weights(2), state(8, 8, 3.0));
  spill(path(8) + "/model.safetensors", "damaged");
  Weights read(0);
  const TrainState back = load(read);
  ASSERT_EQ(back.best_step, 4);
  save(Weights(3), state(6, back.best_step, back.best_loss));
  EXPECT_EQ(best_checkpoint(folder_.path()), path(4));
}

TEST_F(Checkpoint, TheBestIsWrittenUnderItsOwnName) {
  save(Weights(1), state(4, 4, 3.5));
  EXPECT_EQ(slurp(folder_.file("best.json")), "{\"step\": 4, \"val/loss\": 3.5}\n");
  TrainState scored = state(8, 8, 0.15);
  scored.best_scores = {{"val/accuracy", 0.9}, {"val/f1", 0.8}};
  save(Weights(2), scored);
  EXPECT_EQ(slurp(folder_.file("best.json")),
            "{\"step\": 8, \"val/accuracy\": 0.9, \"val/f1\": 0.8}\n");
  Weights read(0);
  EXPECT_EQ(load(read).best_scores, scored.best_scores);
}

TEST_F(Checkpoint, WithoutABestTheNewestIsTaken) {
  EXPECT_NE(error_of([&] { best_checkpoint(folder_.path()); }).find("no checkpoint"),
            std::string::npos);
  save(Weights(1), state(3));
  save(Weights(1), state(5));
  EXPECT_EQ(best_checkpoint(folder_.path()), path(5));
  spill(folder_.file("best.json"), "{\"step\": 4}");  // not there
  EXPECT_EQ(best_checkpoint(folder_.path()), path(5));
  spill(folder_.file("best.json"), "no JSON");
  EXPECT_EQ(best_checkpoint(folder_.path()), path(5));
}

TEST_F(Checkpoint, NeedsRoomWhereItWillBe) {
  const std::string later = folder_.file("not/yet/there");
  EXPECT_NO_THROW(check_disk_room(later, 4096));
  EXPECT_NE(error_of([&] { check_disk_room(later, int64_t{1} << 60); }).find("the disk has"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(folder_.file("not")));
  EXPECT_FALSE(has_checkpoint(later));
  save(Weights(1), state(3));
  EXPECT_TRUE(has_checkpoint(folder_.path()));
}

TEST_F(Checkpoint, ErrorsOfTheWriterComeWithTheNextCall) {
  const Weights weights(1);
  CheckpointWriter writer(folder_.path(), 2);
  spill(path(4) + ".partial", "in the way of nothing");
  writer.save(*ops_, weights.params(), state(4));
  EXPECT_NO_THROW(writer.wait());
  fs::remove_all(folder_.path());
  spill(folder_.path(), "a file where the folder was");
  writer.save(*ops_, weights.params(), state(5));
  EXPECT_THROW(writer.wait(), Error);
  EXPECT_NO_THROW(writer.wait()) << "an error is told once";
  fs::remove(folder_.path());
  fs::create_directory(folder_.path());
  writer.save(*ops_, weights.params(), state(6));
  writer.wait();
  Weights read(0);
  EXPECT_EQ(load(read).step, 6);
}

}  // namespace
}  // namespace strobe
