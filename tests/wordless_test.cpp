// Batches of masked words in which no word can be: the end of a document alone, unknown words.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "strobe/core/error.h"
#include "strobe/data/prepare.h"
#include "strobe/train/finetune.h"
#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

TEST(Wordless, ABatchWithoutAWordIsNoDivergence) {
  const reference::TemporaryFolder folder;
  std::filesystem::create_directory(folder.file("text"));
  for (const char* name : {"train", "valid"}) {
    std::ofstream out(folder.file(fmt::format("text/{}.jsonl", name)));
    for (int i = 0; i < 6; ++i)
      out << fmt::format("{{\"text\": \"{} ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃ ☃\"}}\n", reference::kTinyText);
  }
  PrepareOptions options;
  options.text.paths = {folder.file("text")}, options.out = folder.file("data");
  options.tokenizer = STROBE_SOURCE_DIR "/tests/data/wordpiece_hf.json";
  prepare(
      options, [](const PrepareProgress&) {}, [] { return false; });
  Config config;
  config.backend = "cpu", config.data.path = options.out;
  config.model.kind = "bert", config.model.layers = 1, config.model.channels = 32;
  config.model.heads = 2, config.model.context = 24;
  config.train.epochs = 1, config.train.micro_batch = 1, config.threads = 1;
  config.eval.every = config.checkpoint.every = {0, Length::Unit::steps};
  for (const int64_t sequence : {3, 8}) {
    SCOPED_TRACE(sequence);
    config.train.sequence = sequence;
    const std::string run = folder.file(fmt::format("run-{}", sequence));
    ASSERT_EQ(finetune(config, run, {}), RunState::finished);
    EXPECT_NE(reference::slurp(run + "/events.jsonl").find("\"train/loss\": null"),
              std::string::npos);
    EXPECT_EQ(reference::slurp(run + "/result.json").find("\"val/loss\": null"), std::string::npos);
  }
}

}  // namespace
}  // namespace strobe
