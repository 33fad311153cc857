// strobe generate: text from a run.
#include <cstdio>
#include <memory>

#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/train/loaded_run.h"
#include "strobe/train/sampler.h"

namespace strobe {

namespace {

struct GenerateOptions {
  std::string run, prompt;
  int64_t tokens = 100, seed = 1;
  SamplerOptions sampler;
};

int run_generate(const GenerateOptions& options) {
  if (options.tokens < 1) fail("generate: --max-new-tokens {} is not 1 or more", options.tokens);
  check_sampler(options.sampler);
  const Config config = run_config(options.run);
  const Tokenizer tokenizer = Tokenizer::load(run_tokenizer(options.run));
  std::vector<int32_t> prompt;
  tokenizer.encode(options.prompt, prompt);
  const auto prompt_tokens = std::max<int64_t>(1, static_cast<int64_t>(prompt.size()));
  if (prompt_tokens >= config.model.context)
    fail("generate: the prompt has {} tokens; the model's context of {} leaves no room to continue",
         prompt_tokens, config.model.context);
  const int64_t tokens = std::min(options.tokens, config.model.context - prompt_tokens);
  if (tokens < options.tokens)
    fmt::print(stderr, "strobe: generate: only {} tokens fit into the context of {}\n", tokens,
               config.model.context);
  LoadedRun run = load_run(options.run, {.decode_capacity = prompt_tokens + tokens});
  catch_stop_signals();
  fmt::print("{}", options.prompt);
  SamplerOptions sampler = options.sampler;
  sampler.seed = static_cast<uint64_t>(options.seed);
  const auto write = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  generate(*run.engine, tokenizer, options.prompt, tokens, sampler, write, stop_requested);
  fmt::print("\n");
  return 0;
}

}  // namespace

Verb verb_generate() {
  return {
      "generate", "Continue a text with a trained model",
      "strobe generate runs/demo/runs/flash2-optimised-s1 --prompt \"The river\"",
      [](Options& options) {
        auto o = std::make_shared<GenerateOptions>();
        options.value(o->run, "run", "run folder", Options::required);
        options.value(o->prompt, "--prompt", "text to continue");
        options.value(o->tokens, "--max-new-tokens", "the most tokens to write");
        options.value(o->sampler.temperature, "--temperature",
                      "0: always the most likely token; 1: the model's own distribution");
        options.value(o->sampler.top_k, "--top-k",
                      "choose among the so many likeliest tokens; 0: all");
        options.value(
            o->sampler.top_p, "--top-p",
            "choose among the likeliest tokens that make up this much of the probability; 1: all");
        options.value(o->seed, "--seed", "seed of the choice");
        return [o] { return run_generate(*o); };
      }};
}

}  // namespace strobe
