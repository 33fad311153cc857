// The program as a user meets it: each kind of bad input gets one message, status 1 and leaves
// nothing behind; the verbs from training to generation work on a tiny dataset.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>

#include "strobe/core/error.h"
#include "tests/reference/program_test.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using reference::slurp;
using Result = reference::ProgramResult;

class CommandLine : public reference::ProgramTest {
 protected:
  void SetUp() override {
    reference::write_tiny_dataset(at("data"));
    std::ofstream(at("tiny.toml")) << "threads = 1\n" << reference::kTinyRecipe;
    std::ofstream(at("unclosed.toml")) << "[model\nlayers = 1\n";
    std::ofstream(at("list.toml")) << "optimizer.lr = [1, 2]\n";
    std::ofstream(at("empty.toml")).flush();
    std::ofstream(at("quoted.toml")) << "model.layers = \"3\"\n";
    std::ofstream(at("unquoted.toml")) << "name = 3\n";
    std::ofstream(at("empty.txt")) << " \n";
    std::ofstream(at("text.txt")) << "The river ran by the mill.\n";
    strobe("train tiny.toml --run run");

    fs::copy(at("run"), at("damaged"), fs::copy_options::recursive);
    for (const auto& entry : fs::directory_iterator(at("damaged/checkpoints")))
      if (entry.is_directory()) flip(entry.path() / "model.safetensors", -3);
    reference::write_tiny_dataset(
        at("other"), 2000, 333, "a mill went round and round where the water of the brook ran on");
    for (const char* name : {"a-s1", "b-s1"})
      fs::create_directories(at("study/runs")),
          fs::copy(at("run"), at(fmt::format("study/runs/{}", name)), fs::copy_options::recursive);
    std::ofstream(at("study/study.toml")) << "name = \"study\"\n";
    for (const char* name : {"flipped", "truncated", "foreign", "huge"})
      fs::copy(at("data"), at(name), fs::copy_options::recursive);
    flip(at("flipped/train-00000.tokens"), -100);
    fs::resize_file(at("truncated/train-00000.tokens"), 1000);
    std::ofstream(at("foreign/train-00000.tokens")) << std::string(5000, 'x');
    // A token count that no file could hold, in the shard's header (see ShardHeader).
    std::fstream huge(at("huge/train-00000.tokens"),
                      std::ios::in | std::ios::out | std::ios::binary);
    huge.seekp(16).write("\xff\xff\xff\xff\xff\xff\xff\x7f", 8);
  }

  static void flip(const std::string& file, int64_t from_end) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(from_end, std::ios::end);
    const auto position = stream.tellg();
    const char byte = static_cast<char>(stream.get() ^ 4);
    stream.seekp(position).put(byte);
  }

  std::set<std::string> files() const {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path()))
      names.insert(entry.path());
    return names;
  }

  // In one line, and with nothing done.
  void expect_refused(const std::string& words, const std::string& part) {
    SCOPED_TRACE("strobe " + words);
    const std::set<std::string> before = files();
    const Result result = ProgramTest::expect_refused(words, part);
    EXPECT_TRUE(result.error.starts_with("strobe: ")) << result.error;
    EXPECT_EQ(std::ranges::count(result.error, '\n'), 1) << result.error;
    EXPECT_EQ(files(), before) << "something was left behind";
  }
};

struct Row {
  const char *arguments, *message;
};

TEST_F(CommandLine, RefusesMistypedVerbsAndOptions) {
  constexpr Row kRows[] = {
      {"", "no verb given; known are train"},
      {"trian tiny.toml", "no verb is named 'trian'; did you mean 'train'?"},
      {"frobnicate", "known are train, resume"},
      {"tokenizer", "tokenizer: no verb given; known are train, encode, decode"},
      {"tokenizer encod", "did you mean 'encode'?"},
      {"--josn", "no option is named '--josn'; known are --version, --help"},
      {"--hlep", "did you mean '--help'?"},
      {"tokenizer --bogus", "tokenizer: no option is named '--bogus'; known are --help"},
      {"bench attention --causal=maybe --seq 8", "--causal"},
      {"bench attention --causal false --seq 8", "'false' was not expected"},
      {"train", "no recipe given"},
      {"train tiny.toml --rnu x", "did you mean '--run'?"},
      {"train tiny.toml --optimizer.lr=3e-4", "a recipe's key has no dashes: key=value"},
      {"generate run --temp 1", "did you mean '--temperature'?"},
      {"help trian", "did you mean 'train'?"},
      {"resume", "run is required"},
      {"doctor x", "'x' was not expected"},
      {"generate run --seed x", "--seed: 'x' is not an integer"},
      {"generate run --temperature warm", "--temperature: 'warm' is not a number"},
      {"bench step tiny.toml --steps 1.5", "--steps: '1.5' is not an integer"},
      {"tokenizer train --text text.txt --vocab abc", "--vocab: 'abc' is not an integer"},
  };
  for (const Row& row : kRows) expect_refused(row.arguments, row.message);
}

TEST_F(CommandLine, RefusesWrongConfigurations) {
  constexpr Row kRows[] = {
      {"missing.toml", "cannot read missing.toml"},
      {"data", "cannot read data"},
      {"unclosed.toml", "unclosed.toml:1"},
      {"list.toml", "it takes one value"},
      {"empty.toml", "data.path is not set"},
      {"quoted.toml", "model.layers is a string, \"3\" (quoted.toml:1); it takes integer"},
      {"unquoted.toml", "name is not a string: 3"},
      {"study/study.toml question=x", "'question' (command line) is a key of studies"},
      {"tiny.toml data.path=run", "'strobe data prepare --text FILES --out run' makes one"},
      {"tiny.toml lr", "write key=value"},
      {"tiny.toml optimiser.lr=1", "did you mean 'optimizer.lr'?"},
      {"tiny.toml learning_rate=1", "did you mean 'optimizer.lr'?"},
      {"tiny.toml block_size=64", "did you mean 'model.context'?"},
      {"tiny.toml n_embd=64", "did you mean 'model.channels'?"},
      {"tiny.toml per_device_train_batch_size=4", "did you mean 'train.micro_batch'?"},
      {"tiny.toml qqqqqqqqqq=4", "'strobe train --keys' lists the keys"},
      {"tiny.toml train.steps=abc", "train.steps: 'abc' is not a number"},
      {"tiny.toml train.steps=1.5", "train.steps: '1.5' is not an integer"},
      {"tiny.toml model.layers=2.5", "'2.5' is not an integer"},
      {"tiny.toml optimizer.decay_embeddings=maybe", "neither true nor false"},
      {"tiny.toml eval.every=often", "eval.every: length: 'often'"},
      {"tiny.toml train.tokens=9 train.epochs=1", "both set the length"},
      {"tiny.toml train.steps=0", "more than 0"},
      {"tiny.toml train.steps=1e300", "is beyond 9e15, the largest integer"},
      {"tiny.toml train.steps=5e15", "at most"},
      {"tiny.toml model.preset=gpt2-124", "known are gpt2-124m"},
      {"tiny.toml model.heads=3", "divisible by heads (3)"},
      {"tiny.toml model.kv_heads=-1", "kv_heads"},
      {"tiny.toml model.dropout=1", "model.dropout"},
      {"tiny.toml model.layers=0", "model.layers: 0"},
      {"tiny.toml model.context=5000", "training split"},
      {"tiny.toml train.sequence=25", "context of 24"},
      {"tiny.toml train.micro_batch=0", "micro_batch (0)"},
      {"tiny.toml train.grad_accum=-1", "grad_accum (-1)"},
      {"tiny.toml model.vocab=100", "fewer than the 270"},
      {"tiny.toml eval.tokens=-1", "eval.tokens: -1"},
      {"tiny.toml checkpoint.keep=-1", "checkpoint.keep: -1"},
      {"tiny.toml threads=100000", "threads: 100000"},
      {"tiny.toml threads=-1", "threads: -1"},
      {"tiny.toml optimizer.lr=-1", "optimizer.lr: -1"},
      {"tiny.toml optimizer.name=muom", "did you mean 'muon'?"},
      {"tiny.toml attention.algorithm=flash9", "known are automatic, naive"},
      {"tiny.toml precision=f16", "known are auto, f32, bf16"},
      {"tiny.toml backend=tpu", "known are auto, cpu"},
      {"tiny.toml data.path=", "data.path is not set"},
      {"tiny.toml init_from=missing", "missing"},
      {"tiny.toml sample.tokens=25", "do not fit the context of 24"},
  };
  for (const Row& row : kRows)
    expect_refused(fmt::format("train {} --run new", row.arguments), row.message);
}

TEST_F(CommandLine, ListsTheCatalogue) {
  for (const auto& [what, parts] :
       {std::pair<std::string, std::vector<std::string>>{
            "optimizers",
            {"adamw", "nadamw", "lion", "schedule_free_adamw", "muon", "normuon", "adafactor",
             "formula", "options   beta1 (0.9)", "arXiv:1711.05101"}},
        {"schedules", {"one_cycle", "power_cool", "plateau", "cooldown_shape", "options"}},
        {"regularisers", {"label smoothing", "LAWA", "loss.z_loss (0): ", "document masking"}},
        {"all", {"adafactor", "inverse_sqrt", "early stopping"}}}) {
    const std::string listed = strobe("list " + what);
    for (const std::string& part : parts)
      EXPECT_NE(listed.find(part), std::string::npos) << what << ": " << part;
  }
  strobe("list schedules --plot --out schedules.html");
  const std::string page = slurp(at("schedules.html"));
  for (const char* part : {"<svg", "wsd", "1-sqrt", "warm-ups", "</html>"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
  EXPECT_EQ(page.find(" nan"), std::string::npos);
  fs::remove(at("schedules.html"));
  expect_refused("list optimisers", "did you mean 'optimizers'");
  expect_refused("list opt", "did you mean 'optimizers'");
  expect_refused("list optimizers --plot", "draws schedules");
  expect_refused("list schedules --plot --out nowhere/page.html", "nowhere");
}

// docs/catalogue.md is what the program prints.
TEST_F(CommandLine, TheDocumentedCatalogueIsThePrograms) {
  const std::string documented = slurp(STROBE_SOURCE_DIR "/docs/catalogue.md");
  EXPECT_EQ(strobe("list all --markdown"), documented.substr(documented.find("## ")))
      << "make docs writes it anew";
}

TEST_F(CommandLine, RefusesWhatDoesNotFitInMemoryBeforeTraining) {
  const auto begin = std::chrono::steady_clock::now();
  // 10^12 parameters: 12 L C^2.
  expect_refused("train tiny.toml model.layers=80 model.channels=32768 model.heads=128 --run new",
                 "are available");
  expect_refused(
      "train tiny.toml model.layers=16777216 model.channels=16777216 model.heads=65536 "
      "--run new",
      "parameters; at most");
  expect_refused("train tiny.toml train.grad_accum=4000000000000 --run new", "are available");
  expect_refused("bench step tiny.toml train.sequence=-3", "context of 24");
  expect_refused("bench step tiny.toml train.micro_batch=0", "micro_batch (0)");
  expect_refused("bench step tiny.toml model.vocab=-4", "model.vocab: -4");
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(passed.count(), 10);
}

TEST_F(CommandLine, ADryRunEndsAsTheRunWould) {
  const std::string small = strobe("train tiny.toml --dry-run");
  EXPECT_NE(small.find("the run fits"), std::string::npos) << small;
  const Result large =
      run("train tiny.toml model.layers=80 model.channels=32768 model.heads=128 --dry-run");
  EXPECT_EQ(large.status, 1);
  EXPECT_NE(large.out.find("the run DOES NOT FIT"), std::string::npos) << large.out;
  EXPECT_NE(large.out.find("optimizer state"), std::string::npos) << "what of it is large";
  EXPECT_NE(large.error.find("are available"), std::string::npos) << large.error;
}

TEST_F(CommandLine, AFullDiskLeavesNoRunBehind) {
  const auto in_namespace = [&](const std::string& command) {
    return result_of(
        fmt::format("mkdir -p small && unshare -rm sh -c 'mount -t tmpfs -o size=64k none small && "
                    "{}'",
                    command));
  };
  if (in_namespace("true").status != 0) GTEST_SKIP() << "needs a file system of its own";
  const Result full =
      in_namespace(kStrobe + "train tiny.toml --run small/run; test ! -e small/run");
  EXPECT_EQ(full.status, 0);
  EXPECT_NE(full.error.find("the disk has"), std::string::npos) << full.error;
}

TEST_F(CommandLine, ARunIsUsedFromAnyDirectory) {
  for (const char* words : {"eval ../run", "resume ../run"})
    shell("mkdir -p elsewhere && cd elsewhere && " + kStrobe + words, 0);
}

TEST_F(CommandLine, RefusesDamagedOrMissingData) {
  constexpr Row kRows[] = {
      {"data info missing", "no dataset.json"},
      {"train tiny.toml data.path=missing --run new", "no dataset.json"},
      {"train tiny.toml data.path=flipped --run new", "checksum"},
      {"train tiny.toml data.path=truncated --run new", "train-00000.tokens"},
      {"train tiny.toml data.path=foreign --run new", "train-00000.tokens"},
      {"train tiny.toml data.path=huge --run new", "train-00000.tokens"},
      {"data info flipped", "checksum"},
      {"data prepare --text empty.txt --out new", "empty"},
      {"data prepare --text missing.txt --out new", "missing.txt"},
      {"data prepare --text text.txt --out data", "data exists"},
      {"data prepare --out new", "--text"},
      {"data prepare --text text.txt --out new --valid 2", "--valid 2"},
      {"data prepare --text text.txt --out new --tokenizer train:abc", "train:2048"},
      {"data prepare --text text.txt --out new --tokenizer gpt5", "gpt5"},
      {"data prepare --corpus wikitext-9 --out new", "wikitext-103"},
      {"tokenizer encode --tokenizer missing.json", "no file missing.json"},
      {"tokenizer encode --tokenizer tiny.toml", "tiny.toml"},
      {"tokenizer decode --tokenizer data/tokenizer.json 270", "0 to 269"},
      {"tokenizer decode --tokenizer data/tokenizer.json one", "'one' is not a token id"},
  };
  for (const Row& row : kRows) expect_refused(row.arguments, row.message);
}

TEST_F(CommandLine, RefusesWrongRuns) {
  constexpr Row kRows[] = {
      {"train tiny.toml --run run", "the run folder run exists"},
      {"train tiny.toml --run data/dataset.json/x", "data/dataset.json/x"},
      {"resume missing", "no run folder missing"},
      {"resume data", "not a run folder"},
      {"resume run train.step=9", "did you mean 'train.steps'?"},
      {"eval missing", "no run folder missing"},
      {"resume run model.layers=5", "model.layers"},
      {"resume run optimizer.lr=1", "optimizer.lr"},
      {"resume run train.steps=2", "train.steps"},
      {"eval run --data other", "another tokenizer"},
      {"resume run data.path=other", "another tokenizer"},
      {"train tiny.toml data.path=other init_from=run --run new", "another tokenizer"},
      {"eval study", "its runs are study/runs/a-s1, study/runs/b-s1"},
      {"generate study --prompt a", "its runs are study/runs/a-s1"},
      {"resume study", "its runs are study/runs/a-s1"},
      {"train tiny.toml --run study", "study is there and is no run; --run names another"},
      {"eval run --split tset", "it has train, valid"},
      {"eval damaged", "damaged"},
      {"generate damaged --prompt a --max-new-tokens 5", "damaged"},
      {"generate run --temperature -1", "temperature -1"},
      {"generate run --top-p 2", "top-p 2"},
      {"generate run --top-k -1", "top-k -1"},
      {"generate run --max-new-tokens 0", "--max-new-tokens 0"},
      {"generate run --prompt 'zq zq zq zq zq zq zq zq zq zq zq'", "context of 24"},
      {"report missing --out new.html", "no run folder missing"},
  };
  for (const Row& row : kRows) expect_refused(row.arguments, row.message);
  const Result result = run("resume damaged");  // one line for each checkpoint passed over
  EXPECT_EQ(result.status, 1);
  EXPECT_NE((result.out + result.error).find("is damaged"), std::string::npos) << result.error;
}

TEST_F(CommandLine, BenchmarksEndAndSayWhatTheyMeasured) {
  const auto has = [&](const std::string& words, const std::string& part) {
    const std::string out = strobe(words);
    EXPECT_NE(out.find(part), std::string::npos) << part << " is not in " << out;
  };
  has("bench step tiny.toml --steps 1 --json", "\"vocab\": 270,");  // the dataset's
  has("bench step tiny.toml --steps 1 data.path=nosuch", "there is no dataset nosuch");
  has("bench step tiny.toml --steps 1 --vocab 300", "300  (--vocab)");
  const std::string small = "bench attention --heads 1 --seq 16 --repeats 2 --threads 1 --json";
  has(small, "\"busy\": ");
  has(small + " --causal=false", "\"causal\": false");
  has(small, "\"causal\": true");
  const auto begin = std::chrono::steady_clock::now();
  has("bench ops --channels 64 --tokens 64 --vocab 512 --parameters 1000 --threads 1 --json",
      "\"busy\": ");
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(passed.count(), 60);
}

TEST_F(CommandLine, SaysWhenItsOutputIsLost) {
  for (const char* arguments :
       {"eval run --json", "data info data", "generate run --max-new-tokens 2", "train --keys",
        "train tiny.toml --dry-run", "--help"}) {
    SCOPED_TRACE(arguments);
    const Result full = run(std::string(arguments) + " >/dev/full");
    EXPECT_EQ(full.status, 1);
    EXPECT_NE(full.error.find("standard output could not be written"), std::string::npos)
        << full.error;
    EXPECT_EQ(std::ranges::count(full.error, '\n'), 1) << full.error;
  }
}

TEST_F(CommandLine, OneProcessAtATimeAndCtrlCSaves) {
  const Result result = result_of(fmt::format(R"(
    {0} train tiny.toml train.steps=1000000000 --run long > said & first=$!
    until [ -e long/events.jsonl ] || ! kill -0 $first; do sleep 0.05; done
    {0} resume long && exit 99
    kill -INT $first; wait $first)",
                                              STROBE_BINARY));
  EXPECT_EQ(result.status, 130) << result.error;
  EXPECT_NE(result.error.find("another process is working on run long"), std::string::npos)
      << result.error;
  EXPECT_EQ(run("resume long train.steps=1 --nonsense").status, 1);
  strobe("eval long");
}

// What a user may not have meant is said before hours of training, and does not stop it.
TEST_F(CommandLine, SaysWhichKeysAreSetInVain) {
  std::ofstream(at("adamw.toml")) << slurp(at("tiny.toml")) << "[optimizer]\nbeta2 = 0.95\n";
  const std::string betas =
      "config: optimizer.beta2 is 0.95, as adamw has it; lion's default is 0.99\n";
  EXPECT_EQ(run("train adamw.toml optimizer.name=lion --dry-run").error, betas);
  const Result trained = run("train adamw.toml optimizer.name=lion --run lion");
  EXPECT_EQ(trained.status, 0);
  EXPECT_NE(trained.error.find(betas), std::string::npos) << trained.error;
  EXPECT_EQ(run("resume lion train.steps=5").error.find("config:"), std::string::npos);
  EXPECT_EQ(run("train adamw.toml optimizer.name=lion --dry-run --no-notices").error, "");
}

TEST_F(CommandLine, TrainsResumesEvaluatesGeneratesAndMeasures) {
  const auto expect_keys = [&](const std::string& arguments,
                               std::initializer_list<const char*> keys) {
    SCOPED_TRACE(arguments);
    const std::string out = strobe(arguments);
    EXPECT_TRUE(out.starts_with("{")) << out;
    for (const char* key : keys)
      EXPECT_NE(out.find(fmt::format("\"{}\": ", key)), std::string::npos)
          << key << " is not in " << out;
    EXPECT_EQ(out.find("nan"), std::string::npos) << out;
  };
  strobe("train tiny.toml --run happy");
  strobe("resume happy train.steps=6");
  EXPECT_TRUE(fs::exists(at("happy/checkpoints/step_00000006")));
  const std::string log = slurp(at("happy/events.jsonl"));
  for (const char* key :
       {"step", "tokens", "seconds", "train/loss", "lr", "train/grad_norm", "tokens_per_second"})
    EXPECT_NE(log.find(fmt::format("\"{}\": ", key)), std::string::npos) << key;
  expect_keys("eval happy --json",
              {"split", "tokens", "loss", "token_perplexity", "word_perplexity", "bits_per_byte"});
  expect_keys("bench step tiny.toml --steps 1 --json",
              {"step_ms", "tokens_per_second", "gflops", "busy", "parameters", "planned_bytes",
               "peak_bytes"});
  const std::string words = "generate happy --prompt 'the river' --max-new-tokens 5 --seed 3";
  const std::string text = strobe(words);
  EXPECT_TRUE(text.starts_with("the river")) << text;
  EXPECT_EQ(strobe(words), text);
  strobe("train tiny.toml --dry-run --run planned");
  EXPECT_FALSE(fs::exists(at("planned")));
  EXPECT_NE(strobe("train --keys").find("optimizer.lr"), std::string::npos);
  EXPECT_NE(strobe("train --help").find("--keys"), std::string::npos);
  EXPECT_NE(strobe("train tiny.toml --print-config").find("tiny.toml:"), std::string::npos);
}

}  // namespace
}  // namespace strobe
