// strobe glue from files to scores, on a tiny BERT and a task of twenty pairs.
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "strobe/core/files.h"
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
    std::filesystem::create_directories(at("text"));
    std::filesystem::create_directories(at("glue/RTE"));
    for (const char* split : {"train", "valid"}) {
      std::ofstream out(at(fmt::format("text/{}.jsonl", split)));
      for (int i = 0; i < 20; ++i)
        out << fmt::format("{{\"text\": \"{}\"}}\n", sentence(random, 10 + i % 7));
    }
    for (const auto& [split, rows] : {std::pair{"train", 40}, {"dev", 20}, {"test", 6}}) {
      const bool labelled = split != std::string("test");
      std::ofstream out(at(fmt::format("glue/RTE/{}.tsv", split)));
      out << "index\tsentence1\tsentence2" << (labelled ? "\tlabel\n" : "\n");
      for (int i = 0; i < rows; ++i) {
        out << fmt::format("{}\t{}\t{}", i, sentence(random, 4), sentence(random, 3));
        if (labelled) out << (i % 2 ? "\tentailment" : "\tnot_entailment");
        out << "\n";
      }
    }
    std::ofstream(at("tiny.toml"))
        << "data.path = \"data\"\nthreads = 1\n[model]\nkind = \"bert\"\nlayers = 1\nchannels = "
           "32\n"
           "heads = 2\ncontext = 32\n[train]\nsteps = 2\nmicro_batch = 2\n";
    strobe("data prepare --text text --tokenizer train:wordpiece:80 --out data");
    strobe("train tiny.toml --run bert");
  }
  std::string errors() const { return slurp(at("errors")); }
  std::string glue(const std::string& more) { return strobe(kGlue + more); }

  inline static const std::string kGlue =
      "glue bert --task RTE, --data glue backend=cpu threads=1 train.sequence=32 ";
};

TEST_F(GlueProgram, ScoresAndSaysOfWhat) {
  const std::string out = glue("--seeds 2 --out runs --test train.epochs=1");
  EXPECT_NE(out.find("dev accuracy"), std::string::npos) << out;
  const Json scores = Json::parse(slurp(at("runs/glue.json")));
  ASSERT_EQ(scores.size(), 1u);
  EXPECT_EQ(scores[0]["task"], "rte");
  EXPECT_EQ(scores[0]["values"].size(), 2u);
  EXPECT_EQ(scores[0]["seeds"], "1 to 2");
  EXPECT_EQ(scores[0]["trained_on_subset"], true) << "40 rows, whatever the file is called";
  EXPECT_EQ(scores[0]["scored_on_subset"], true);
  EXPECT_EQ(scores[0]["protocol"]["train.epochs"], "1");
  const Json& protocol = scores[0]["protocol"];
  EXPECT_FALSE(protocol["data_hash"].get<std::string>().empty());
  EXPECT_TRUE(protocol["precision"] == "f32" || protocol["precision"] == "bf16") << protocol;
  EXPECT_EQ(protocol["attention"], "flash2");
  for (const auto& [key, value] : {std::pair{"optimizer.clip", "1"},
                                   {"optimizer.eps", "1e-06"},
                                   {"schedule.floor", "0"},
                                   {"train_rows", "40"},
                                   {"held_out_rows", "0"},
                                   {"dev_rows", "20"}})
    EXPECT_EQ(protocol[key], value) << protocol;
  EXPECT_NE(out.find("rte, seed 2 of 2: runs/rte-s2\n40 pairs, 2 classes: entailment, "
                     "not_entailment\n"),
            std::string::npos)
      << out;
  EXPECT_NE(out.find("of seed 1: runs/RTE.tsv"), std::string::npos) << out;
  const std::string upload = slurp(at("runs/RTE.tsv"));
  EXPECT_EQ(std::count(upload.begin(), upload.end(), '\n'), 7) << upload;

  // Of a run whose scores are written, the weights are kept.
  for (const char* run : {"rte-s1", "rte-s2"}) {
    std::vector<std::string> files;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(at(fmt::format("runs/{}/checkpoints", run))))
      if (entry.is_regular_file()) files.push_back(entry.path().filename());
    std::sort(files.begin(), files.end());
    EXPECT_EQ(files, (std::vector<std::string>{"model.safetensors", "state.json"})) << run;
  }
  expect_refused("resume runs/rte-s1 train.epochs=2", "has weights alone");
  // Columns are the task's unless others are named.
  const std::string predicted = strobe("predict runs/rte-s1 --file glue/RTE/test.tsv");
  EXPECT_EQ(std::count(predicted.begin(), predicted.end(), '\n'), 6) << predicted;
  EXPECT_NE(predicted.find("entailment"), std::string::npos) << predicted;
  EXPECT_EQ(strobe("predict runs/rte-s1 --file glue/RTE/test.tsv --text-column sentence1 "
                   "--pair-column sentence2"),
            predicted);

  // The same again is read, not trained; anything else is another run.
  const auto written = std::filesystem::last_write_time(at("runs/rte-s1/events.jsonl"));
  glue("--seeds 2 --out runs train.epochs=1");
  EXPECT_EQ(std::filesystem::last_write_time(at("runs/rte-s1/events.jsonl")), written);
  EXPECT_EQ(Json::parse(slurp(at("runs/glue.json")))[0]["values"], scores[0]["values"]);
  expect_refused(kGlue + "--out runs train.epochs=1 optimizer.lr=1e-3", "optimizer.lr=");
  strobe("predict bert --text river", 1);
}

TEST_F(GlueProgram, FineTuningSaysWhatItIsWorth) {
  const std::string rows = slurp(at("glue/RTE/dev.tsv"));
  std::ofstream(at("kinds.tsv")) << rows;
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
  EXPECT_NE(out.find("16 texts, 4 held out, 2 classes: entailment, not_entailment\n"),
            std::string::npos)
      << out;
  EXPECT_NE(out.find("/bert has none\n"), std::string::npos) << out;
  // The same is said of it later.
  const std::string best = out.substr(out.find("best checkpoint"));
  EXPECT_EQ(strobe("resume some"), "nothing is left to train\n" + best);
  EXPECT_NE(strobe("eval some").find("texts             4\n"), std::string::npos);
  expect_refused("eval none", "texts.valid or texts.hold_out gives");
  for (const auto& [more, part] :
       std::vector<std::pair<const char*, const char*>>{{"init_from=bert", "the first argument"},
                                                        {"model.head=regression", "--regression"},
                                                        {"model.classes=5", "the labels say"},
                                                        {"texts.label=score", "--label-column"}})
    expect_refused(tune + "--run other " + more, part);
  expect_refused(tune + "--run other texts.hold_out=0.2 --valid kinds.tsv", "one of the two");
  // The defaults of a fine-tuning are shown without a run, and without a folder for scratch.
  const std::string config =
      shell(fmt::format("TMPDIR=/nonexistent {} {} --print-config train.steps=7", STROBE_BINARY,
                        tune.substr(0, tune.find(" train.epochs"))),
            0);
  EXPECT_NE(config.find("optimizer.lr                 5e-05"), std::string::npos) << config;
  EXPECT_NE(config.find("train.epochs                 auto"), std::string::npos) << config;
  const std::string predicted = strobe("predict some --file kinds.tsv");
  EXPECT_EQ(std::count(predicted.begin(), predicted.end(), '\n'), 20) << predicted;
}

TEST_F(GlueProgram, MissesAFileBeforeItTrains) {
  std::ofstream(at("glue/RTE/test.tsv")) << "idx\tsentence1\tsentence2\n0\ta\tb\n";
  expect_refused(kGlue + "--out runs --test", "no column 'index'");
  std::filesystem::remove(at("glue/RTE/test.tsv"));
  expect_refused(kGlue + "--out runs --test", "test.tsv");
  EXPECT_FALSE(std::filesystem::exists(at("runs")));
}

// What a task is, and which runs are made, is said in one way.
TEST_F(GlueProgram, RefusesKeysThatAreItsOwn) {
  for (const auto& [more, part] : std::vector<std::pair<const char*, const char*>>{
           {"texts.valid=dev", "texts.valid=dev"},
           {"seed=3", "--seeds"},
           {"name=x", "--out"},
           {"init_from=x", "--mnli"},
           {"model.head=regression", "the head is the task's own"},
           {"model.classes=3", "the classes are the task's own"},
           {"--mnli nowhere", "--mnli: there is no folder nowhere"},
           {"--mnli bert", "was not trained on MNLI"}}) {
    expect_refused(kGlue + std::string("--out runs ") + more, part);
  }
  std::filesystem::rename(at("glue/RTE"), at("glue/QNLI"));
  expect_refused("glue bert --task qnli --data glue --mnli bert", "--task names none of them");
  expect_refused("glue bert --task rte,RTE --data glue", "--task names rte twice");
  strobe("glue bert --task ,, --data glue", 1);
  strobe("glue bert --task axe --data glue", 1);
  EXPECT_EQ(errors().find("ax,"), std::string::npos) << errors();
  EXPECT_FALSE(std::filesystem::exists(at("runs")));
}

TEST_F(GlueProgram, HoldsOutAPartAndTakesAnyLength) {
  const std::string out = glue(
      "--out runs texts.hold_out=0.25 train.steps=6 "
      "train.patience=2 eval.every=\"1 steps\"");
  EXPECT_NE(out.find("30 pairs, 10 held out, 2 classes"), std::string::npos) << out;
  EXPECT_NE(out.find("best checkpoint of each run"), std::string::npos) << out;
  const Json scores = Json::parse(slurp(at("runs/glue.json")));
  const Json& protocol = scores[0]["protocol"];
  EXPECT_EQ(protocol["texts.hold_out"], "0.25");
  EXPECT_EQ(protocol["held_out_rows"], "10");
  EXPECT_EQ(protocol["train.steps"], "6");
  EXPECT_EQ(protocol["train.patience"], "2");
  EXPECT_FALSE(protocol.contains("train.epochs")) << protocol;
  EXPECT_NE(strobe("eval runs/rte-s1").find("texts             10\n"), std::string::npos);
  EXPECT_NE(strobe("eval runs/rte-s1 --split dev").find("texts             20\n"),
            std::string::npos);
  expect_refused("eval runs/rte-s1 --split test", "has no labels");
}

TEST_F(GlueProgram, KeepsTheScoresOfOtherCalls) {
  std::filesystem::create_directory(at("runs"));
  const auto entry = [](const char* task, const char* score, double value) {
    return Json{{"task", task}, {"score", score}, {"values", {value, value, 0.0}}};
  };
  Json before = {entry("sst2", "dev accuracy", 0.9), entry("rte", "dev accuracy", 0.1)};
  std::ofstream(at("runs/glue.json")) << before;
  const auto after = [&] {
    std::map<std::string, Json> out;
    for (const Json& one : Json::parse(slurp(at("runs/glue.json"))))
      out[fmt::format("{} {}", one["task"].get<std::string>(), one["score"].get<std::string>())] =
          one;
    return out;
  };
  glue("--out runs train.epochs=1");
  EXPECT_EQ(after().size(), 2u);
  EXPECT_EQ(after()["sst2 dev accuracy"], before[0]);
  EXPECT_EQ(after()["rte dev accuracy"]["values"].size(), 1u);

  // Once all tasks are there, their average is too: without WNLI, of medians.
  before = {entry("cola", "dev matthews", 0.5), entry("sst2", "dev accuracy", 0.9),
            entry("mrpc", "dev f1", 0.9),       entry("mrpc", "dev accuracy", 0.8),
            entry("qqp", "dev f1", 0.8),        entry("qqp", "dev accuracy", 0.8),
            entry("stsb", "dev pearson", 0.8),  entry("stsb", "dev spearman", 0.8),
            entry("mnli", "dev accuracy", 0.8), entry("mnli", "dev-mismatched accuracy", 0.1),
            entry("qnli", "dev accuracy", 0.8), entry("rte", "dev accuracy", 0.5)};
  std::ofstream(at("runs/glue.json")) << before;
  std::filesystem::rename(at("glue/RTE"), at("glue/WNLI"));
  for (const char* split : {"train", "dev"}) {
    std::string rows = slurp(at(fmt::format("glue/WNLI/{}.tsv", split)));
    for (const auto& [from, to] : {std::pair{"not_entailment", "0"}, {"entailment", "1"}})
      for (size_t at; (at = rows.find(from)) != std::string::npos;)
        rows.replace(at, std::string(from).size(), to);
    std::ofstream(at(fmt::format("glue/WNLI/{}.tsv", split))) << rows;
  }
  const std::string out = strobe(
      "glue bert --task wnli --data glue --out runs backend=cpu threads=1 "
      "train.sequence=32 train.epochs=1");
  const Json average = after()["average dev"];
  ASSERT_FALSE(average.is_null());
  EXPECT_NEAR(average["values"][0].get<double>(), (0.5 + 0.9 + 0.85 + 4 * 0.8 + 0.5) / 8, 1e-12);
  EXPECT_NE(out.find("medians over seeds: 74.3"), std::string::npos) << out;
  std::ofstream(at("runs/glue.json")) << "{}";
  expect_refused(kGlue + "--out runs", "no record of scores");
}

// What another call writes while this one trains stays too.
TEST_F(GlueProgram, CallsAtOnceKeepEachOthersScores) {
  std::filesystem::create_directory(at("runs"));
  auto writing = std::make_unique<FileLock>(at("runs/glue.json.lock"), "the scores");
  std::thread call([&] { glue("--out runs train.epochs=1"); });
  for (int i = 0; i < 1000 && !std::filesystem::exists(at("runs/rte-s1")); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::ofstream(at("runs/glue.json"))
      << R"([{"task": "sst2", "score": "dev accuracy", "values": [0.9]}])";
  writing.reset();
  call.join();
  const Json scores = Json::parse(slurp(at("runs/glue.json")));
  ASSERT_EQ(scores.size(), 2u) << scores;
  EXPECT_EQ(scores[0]["task"], "sst2");
  EXPECT_EQ(scores[1]["task"], "rte");
}

// Who has a part of MNLI may lack the mismatched development set.
TEST_F(GlueProgram, ScoresASubsetOfMnli) {
  std::filesystem::create_directory(at("glue/MNLI"));
  for (const char* part : {"train-1k", "dev-1k"})
    std::ofstream(at(fmt::format("glue/MNLI/{}.tsv", part)))
        << "index\tsentence1\tsentence2\tgold_label\n"
           "0\triver\train\tneutral\n1\train\triver\tentailment\n";
  const std::string out = strobe(
      "glue bert --task mnli --data glue --out runs backend=cpu threads=1 "
      "train.sequence=32 train.epochs=1");
  EXPECT_NE(out.find("there is no dev_mismatched.tsv"), std::string::npos) << out;
  EXPECT_EQ(Json::parse(slurp(at("runs/glue.json"))).size(), 1u);
  // Its classifier of three classes is another than RTE's of two.
  const std::string rte = glue("--out runs --mnli runs/mnli-s1 train.epochs=1");
  EXPECT_NE(rte.find("runs/mnli-s1 are entailment, neutral, contradiction\n"), std::string::npos)
      << rte;
}

// A prediction of a part would look like all of it.
TEST_F(GlueProgram, AStoppedPredictionPrintsNothing) {
  strobe(
      "finetune bert --train glue/RTE/dev.tsv --text-column sentence1 --label-column label "
      "--run kinds backend=cpu threads=1 train.sequence=32 train.epochs=1");
  {
    RandomSequence random(1, RandomUse::sample, 1);
    std::ofstream out(at("many.tsv"));
    out << "sentence1\n";
    for (int i = 0; i < 300000; ++i) out << sentence(random, 20) << "\n";
  }
  const std::string line = fmt::format(
      "timeout --preserve-status -s INT 2 {} predict kinds --file many.tsv", STROBE_BINARY);
  EXPECT_EQ(shell(line, 130).size(), 0u);
}

TEST_F(GlueProgram, PredictRefusesWhatItWouldPassOver) {
  glue("--out runs train.epochs=1");
  strobe(
      "finetune bert --train glue/RTE/dev.tsv --text-column sentence1 --label-column label "
      "--run single backend=cpu threads=1 train.sequence=32 train.epochs=1");
  for (const auto& [words, part] : std::vector<std::pair<const char*, const char*>>{
           {"runs/rte-s1 --text river", "was trained on pairs"},
           {"single --text river --pair rain", "was trained on single texts"},
           {"single --file glue/RTE/dev.tsv --pair-column sentence2", "on single texts"},
           {"single --text river --text-column x", "columns are a file's"},
           {"runs/rte-s1 --file glue/RTE/dev.tsv --pair rain", "--pair goes with --text"},
           {"single", "give either"},
           {"nowhere --text river", "no run folder nowhere"}}) {
    expect_refused(std::string("predict ") + words, part);
  }
  expect_refused("fill nowhere --text [MASK]", "no run folder nowhere");
  expect_refused("fill single --text [MASK]", "a bert with the head 'classification'");
  expect_refused("fill bert --text [MASK] --top 0", "--top 0 is not 1 or more");
  EXPECT_FALSE(strobe("predict single --text \"\"").empty());
  // JSON lines from a pipe are what a file of them is.
  std::ofstream(at("two.jsonl")) << "{\"sentence1\": \"river\"}\n{\"sentence1\": \"rain\"}\n";
  const std::string of_file = strobe("predict single --file two.jsonl");
  EXPECT_EQ(std::count(of_file.begin(), of_file.end(), '\n'), 2);
  EXPECT_EQ(shell(fmt::format("{} predict single --file - < two.jsonl", STROBE_BINARY), 0),
            of_file);
  std::ofstream(at("bad.jsonl")) << "{\"sentence1\": \"river\"}\n[]\n";
  shell(fmt::format("{} predict single --file - < bad.jsonl", STROBE_BINARY), 1);
  EXPECT_NE(errors().find("standard input, line 2"), std::string::npos) << errors();
  expect_refused("finetune bert --train - --run pipe", "cannot be read again");
  // What does not fit is said, of one text and of a file, and JSON stays JSON.
  std::string words;
  for (int i = 0; i < 40; ++i) words += "river ";
  const std::string cut = " longer than 32 tokens and cut";
  EXPECT_TRUE(Json::accept(strobe("predict single --text '" + words + "' --json")));
  EXPECT_NE(errors().find("1 text is" + cut), std::string::npos) << errors();
  std::ofstream(at("long.tsv")) << "sentence1\tlabel\n"
                                << words << "\tentailment\n"
                                << words << "\tnot_entailment\nriver\tentailment\n";
  strobe("predict single --file long.tsv");
  EXPECT_NE(errors().find("2 texts are" + cut), std::string::npos) << errors();
  EXPECT_NE(strobe("finetune bert --train glue/RTE/dev.tsv --text-column sentence1 --label-column "
                   "label --valid long.tsv --run cut backend=cpu threads=1 train.sequence=32 "
                   "train.steps=1")
                .find("; 2 to evaluate on are" + cut),
            std::string::npos);
}

}  // namespace
}  // namespace strobe
