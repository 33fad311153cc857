#include "tests/reference/synthetic_runs.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "strobe/config/load.h"
#include "strobe/core/json_text.h"

namespace strobe {

namespace {

// A fixed number in (-1, 1) for (run, step).
double jitter(int64_t a, int64_t b) {
  return std::sin(static_cast<double>(a) * 12.9898 + static_cast<double>(b) * 78.233);
}

void write(const std::string& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

}  // namespace

void write_run(const std::string& folder, const SyntheticRun& run) {
  std::filesystem::create_directories(folder);
  Config config;
  config.name = run.name, config.seed = run.seed;
  config.attention.algorithm = run.attention, config.optimizer.name = run.optimizer;
  config.model.dropout = run.optimizer == "adamw" ? 0.1 : 0;
  config.train.steps = run.steps;
  write(folder + "/config.toml", to_toml(config));

  const auto steps = static_cast<double>(run.steps);
  std::string events;
  for (int64_t step = 1; step <= run.steps; ++step) {
    const double part = static_cast<double>(step) / steps;
    const double tokens = static_cast<double>(step) * 2048;
    const double loss = run.final_loss + 2 * (std::exp(-5 * part) - std::exp(-5.0));
    const std::string at =
        fmt::format(R"({{"step": {}, "tokens": {}, "seconds": {:.3f}, "flops": {})", step, tokens,
                    tokens / run.tokens_per_second, tokens * 7e6);
    events += fmt::format(
        R"({}, "train/loss": {}, "lr": {}, "train/grad_norm": {}, "tokens_per_second": {:.1f}}})"
        "\n",
        at, loss + run.noise * jitter(run.seed, step), 1e-3 * (1 - part),
        1 + 0.1 * jitter(run.seed, -step), run.tokens_per_second * (1 + 0.01 * jitter(step, 3)));
    if (step % std::max<int64_t>(1, run.steps / 10) == 0 || step == run.steps)
      events += fmt::format(
          R"({}, "val/loss": {}, "val/token_perplexity": {}, "val/word_perplexity": {}, "val/bits_per_byte": {}}})"
          "\n",
          at, loss, std::exp(loss), std::exp(1.5 * loss), loss / 2.35);
  }
  write(folder + "/events.jsonl", events);
  write(folder + "/environment.json",
        fmt::format(R"({{"strobe": "0.1.0", "device": "a test", "threads": 2, "attention": {}}})",
                    json_quote(run.attention)));
  std::string memory = R"([{"part": "parameters", "bytes": 5000000})";
  for (int layer = 0; layer < 4; ++layer)
    memory += fmt::format(R"(, {{"part": "activations: h.{}.attn", "bytes": {}}})", layer,
                          run.attention == "naive" ? 20000000 : 2000000);
  write(folder + "/memory.json", memory + "]");
  if (run.state.empty()) return;
  write(folder + "/result.json",
        fmt::format(R"({{"state": {}, "steps": {}, "tokens": {}, "seconds": {}, "val/loss": {}, )"
                    R"("val/bits_per_byte": {}, "val/word_perplexity": {}, )"
                    R"("tokens_per_second": {}, "peak_bytes": {}, "planned_bytes": 1, )"
                    R"("parameters": 1316608}})",
                    json_quote(run.state), run.steps, steps * 2048,
                    steps * 2048 / run.tokens_per_second, run.final_loss, run.final_loss / 2.35,
                    std::exp(1.5 * run.final_loss), run.tokens_per_second, run.peak_bytes));
  write(folder + "/samples.txt", run.sample);
}

void write_study(const std::string& folder, const SyntheticStudy& study) {
  std::string arms, seeds;
  for (int64_t seed = 1; seed <= study.seeds; ++seed)
    seeds += fmt::format("{}{}", seed > 1 ? ", " : "", seed);
  for (const int flash : {0, 1})
    for (const int tuned : {0, 1}) {
      const std::string attention = flash ? "flash2" : "naive";
      const std::string recipe = tuned ? "optimised" : "baseline";
      const std::string name = attention + "-" + recipe;
      arms += fmt::format(
          R"({}{{"name": "{}", "levels": {{"attention": "{}", "recipe": "{}"}}, "overrides": {{}}}})",
          arms.empty() ? "" : ", ", name, attention, recipe);
      for (int64_t seed = 1; seed <= study.seeds; ++seed) {
        SyntheticRun run;
        run.name = fmt::format("{}-s{}", name, seed);
        run.seed = seed, run.attention = attention, run.optimizer = tuned ? "muon" : "adamw";
        run.tokens_per_second = (flash ? 20480 : 10240) * (1 + 0.001 * jitter(seed, flash));
        run.steps = flash ? 250 : 125;
        run.peak_bytes = flash ? 150e6 : 300e6;
        run.final_loss = 6.5 + study.attention * flash + study.recipe * tuned +
                         study.interaction * flash * tuned + 0.05 * jitter(seed, 99) +
                         study.noise * jitter(seed * 7 + flash * 2 + tuned, 5);
        write_run(folder + "/runs/" + run.name, run);
      }
    }
  for (const char* attention : {"naive", "flash2"}) {
    SyntheticRun run;
    run.name = attention, run.attention = attention;
    run.tokens_per_second = attention == std::string("naive") ? 10240 : 20480;
    write_run(folder + "/equal-tokens/" + attention, run);
  }
  write(folder + "/study.json",
        fmt::format(R"({{"name": "test", "question": {}, "seeds": [{}], "seconds": 25, )"
                    R"("factors": {{"attention": ["naive", "flash2"], )"
                    R"("recipe": ["baseline", "optimised"]}}, "arms": [{}], )"
                    R"("text": {{"unigram_nats": 6.3, "bigram_nats": 4.9, )"
                    R"("unigram_bits_per_byte": 2.7, "bigram_bits_per_byte": 2.1}}, )"
                    R"("equal_tokens": {{"factor": "attention", "steps": 40, "runs": )"
                    R"({{"naive": "equal-tokens/naive", "flash2": "equal-tokens/flash2"}}}}}})",
                    json_quote(study.question), seeds, arms));
}

std::string joined(const StudyResult& result) {
  std::string out = result.headline;
  for (const std::string& sentence : result.sentences) out += "\n" + sentence;
  return out;
}

}  // namespace strobe
