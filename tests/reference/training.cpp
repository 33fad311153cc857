#include "tests/reference/training.h"

#include <filesystem>
#include <fstream>

#include "strobe/core/error.h"

namespace strobe::reference {

namespace fs = std::filesystem;

void TrainingRuns::SetUp() {
  STROBE_NEEDS_BACKEND(GetParam());
  write_tiny_dataset(folder_.file("data"));
}

Config TrainingRuns::config(int64_t steps) const {
  Config config;
  config.backend = GetParam();
  config.data.path = folder_.file("data");
  config.model.layers = 2, config.model.channels = 32, config.model.heads = 2;
  config.model.context = 24, config.model.dropout = 0.1;
  config.train.steps = static_cast<double>(steps), config.train.micro_batch = 2;
  config.eval.every = {0, Length::Unit::steps}, config.checkpoint.every = {0, Length::Unit::steps};
  config.optimizer.lr = 1e-2;
  return config;
}

RunState TrainingRuns::train(const Config& config, const std::string& name, int64_t stop_after) {
  const std::string path = folder_.file(name);
  int64_t asked = 0;
  Trainer trainer(config, [&] { return stop_after >= 0 && asked++ >= stop_after; });
  const bool resume = fs::exists(path);
  RunFolder run = resume ? RunFolder::open(path) : RunFolder::create(path, trainer.config());
  return trainer.run(run, resume);
}

std::string TrainingRuns::weights(const std::string& name, int64_t step) const {
  const std::string checkpoint =
      fmt::format("{}/checkpoints/step_{:08}/", folder_.file(name), step);
  return slurp(checkpoint + "model.safetensors") + slurp(checkpoint + "optimizer.safetensors");
}

std::string TrainingRuns::events(const std::string& name) const {
  std::ifstream stream(folder_.file(name) + "/events.jsonl");
  std::string out;
  for (std::string line; std::getline(stream, line);) {
    for (const char* key : {"\"seconds\"", "\"tokens_per_second\"", "\"mfu\""})
      if (const size_t at = line.find(key); at != std::string::npos)
        line.erase(at, line.find_first_of(",}", at) - at);
    out += line + "\n";
  }
  return out;
}

std::string TrainingRuns::result(const std::string& name) const {
  return slurp(folder_.file(name) + "/result.json");
}

void TrainingRuns::expect_error(const Config& config, const std::string& part) {
  try {
    Trainer trainer(config, {});
    ADD_FAILURE() << "accepted, should say: " << part;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

}  // namespace strobe::reference
