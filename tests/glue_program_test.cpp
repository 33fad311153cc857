// strobe glue from files to scores, on a tiny BERT and a task of twenty pairs.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/reference/program_test.h"
#include "tests/reference/text_files.h"

namespace strobe {
namespace {

using Json = nlohmann::json;
using reference::sentence;
using reference::slurp;

class GlueProgram : public reference::ProgramTest {
 protected:
  void SetUp() override {
    RandomSequence random(1, RandomUse::sample, 1);
    std::filesystem::create_directories(folder_.file("text"));
    std::filesystem::create_directories(folder_.file("glue/RTE"));
    for (const char* split : {"train", "valid"}) {
      std::ofstream out(folder_.file(fmt::format("text/{}.jsonl", split)));
      for (int i = 0; i < 20; ++i)
        out << fmt::format("{{\"text\": \"{}\"}}\n", sentence(random, 10 + i % 7));
    }
    for (const auto& [split, rows] : {std::pair{"train", 40}, {"dev", 20}, {"test", 6}}) {
      const bool labelled = split != std::string("test");
      std::ofstream out(folder_.file(fmt::format("glue/RTE/{}.tsv", split)));
      out << "index\tsentence1\tsentence2" << (labelled ? "\tlabel\n" : "\n");
      for (int i = 0; i < rows; ++i) {
        out << fmt::format("{}\t{}\t{}", i, sentence(random, 4), sentence(random, 3));
        if (labelled) out << (i % 2 ? "\tentailment" : "\tnot_entailment");
        out << "\n";
      }
    }
    std::ofstream(folder_.file("tiny.toml"))
        << "data.path = \"data\"\nthreads = 1\n[model]\nkind = \"bert\"\nlayers = 1\nchannels = "
           "32\n"
           "heads = 2\ncontext = 32\n[train]\nsteps = 2\nmicro_batch = 2\n";
    strobe("data prepare --text text --tokenizer train:wordpiece:80 --out data");
    strobe("train tiny.toml --run bert");
  }
  std::string errors() const { return slurp(folder_.file("errors")); }
  std::string glue(const std::string& more, int expected = 0) {
    return strobe(
        "glue bert --task rte --data glue backend=cpu threads=1 train.sequence=32 " + more,
        expected);
  }
};

TEST_F(GlueProgram, ScoresAndSaysOfWhat) {
  const std::string out = glue("--seeds 2 --out runs --test train.epochs=1");
  EXPECT_NE(out.find("dev accuracy"), std::string::npos) << out;
  const Json scores = Json::parse(slurp(folder_.file("runs/glue.json")));
  ASSERT_EQ(scores.size(), 1u);
  EXPECT_EQ(scores[0]["task"], "rte");
  EXPECT_EQ(scores[0]["values"].size(), 2u);
  EXPECT_EQ(scores[0]["seeds"], "1 to 2");
  EXPECT_EQ(scores[0]["trained_on_subset"], false);
  EXPECT_EQ(scores[0]["protocol"]["train.epochs"], "1");
  EXPECT_FALSE(scores[0]["protocol"]["data_hash"].get<std::string>().empty());
  const std::string upload = slurp(folder_.file("runs/RTE.tsv"));
  EXPECT_EQ(std::count(upload.begin(), upload.end(), '\n'), 7) << upload;

  // Of a run whose scores are written, the weights are kept.
  for (const char* run : {"rte-s1", "rte-s2"}) {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(
             folder_.file(fmt::format("runs/{}/checkpoints", run))))
      if (entry.is_regular_file()) files.push_back(entry.path().filename());
    std::sort(files.begin(), files.end());
    EXPECT_EQ(files, (std::vector<std::string>{"model.safetensors", "state.json"})) << run;
  }
  strobe("resume runs/rte-s1 train.epochs=2", 1);
  EXPECT_NE(errors().find("has weights alone"), std::string::npos) << errors();
  // Columns are the task's unless others are named.
  const std::string predicted = strobe("predict runs/rte-s1 --file glue/RTE/test.tsv");
  EXPECT_EQ(std::count(predicted.begin(), predicted.end(), '\n'), 6) << predicted;
  EXPECT_NE(predicted.find("entailment"), std::string::npos) << predicted;
  EXPECT_EQ(strobe("predict runs/rte-s1 --file glue/RTE/test.tsv --text-column sentence1 "
                   "--pair-column sentence2"),
            predicted);

  // The same again is read, not trained; anything else is another run.
  const auto written = std::filesystem::last_write_time(folder_.file("runs/rte-s1/events.jsonl"));
  glue("--seeds 2 --out runs train.epochs=1");
  EXPECT_EQ(std::filesystem::last_write_time(folder_.file("runs/rte-s1/events.jsonl")), written);
  EXPECT_EQ(Json::parse(slurp(folder_.file("runs/glue.json")))[0]["values"], scores[0]["values"]);
  glue("--out runs train.epochs=1 optimizer.lr=1e-3", 1);
  EXPECT_NE(errors().find("optimizer.lr="), std::string::npos) << errors();
  strobe("predict bert --text river", 1);
}

TEST_F(GlueProgram, FineTuningSaysWhatItIsWorth) {
  const std::string rows = slurp(folder_.file("glue/RTE/dev.tsv"));
  std::ofstream(folder_.file("kinds.tsv")) << rows;
  const std::string tune =
      "finetune bert --train kinds.tsv --text-column sentence1 --label-column label backend=cpu "
      "threads=1 train.sequence=32 train.epochs=1 ";
  std::string out = strobe(tune + "--run none optimizer.momentum=0.9 optimizer.eps=1e-7");
  EXPECT_NE(out.find("no score: all of kinds.tsv is trained on; --valid FILE or texts.hold_out"),
            std::string::npos)
      << out;
  EXPECT_NE(errors().find("no score"), std::string::npos) << "before it trains too: " << errors();
  EXPECT_NE(errors().find("config: optimizer.momentum is set, but adamw does not read it; it reads "
                          "beta1, beta2, eps\n"),
            std::string::npos)
      << errors();
  EXPECT_EQ(errors().find("optimizer.eps"), std::string::npos) << errors();
  out = strobe(tune + "--run some texts.hold_out=0.2");
  EXPECT_NE(out.find("best checkpoint: step 1, accuracy 0."), std::string::npos) << out;
  EXPECT_EQ(out.find("no score"), std::string::npos) << out;
  EXPECT_EQ(errors().find("config:"), std::string::npos) << errors();
  const std::string predicted = strobe("predict some --file kinds.tsv");
  EXPECT_EQ(std::count(predicted.begin(), predicted.end(), '\n'), 20) << predicted;
}

TEST_F(GlueProgram, MissesAFileBeforeItTrains) {
  std::filesystem::remove(folder_.file("glue/RTE/test.tsv"));
  glue("--out runs --test", 1);
  EXPECT_NE(errors().find("test.tsv"), std::string::npos) << errors();
  EXPECT_FALSE(std::filesystem::exists(folder_.file("runs")));
  glue("--out runs texts.valid=dev", 1);
  EXPECT_NE(errors().find("texts.valid=dev"), std::string::npos) << errors();
}

}  // namespace
}  // namespace strobe
