// strobe eval: loss and perplexity of a run on a split.
#include <cmath>
#include <memory>

#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/train/evaluate.h"
#include "strobe/train/loaded_run.h"
#include "strobe/train/run_data.h"

namespace strobe {

namespace {

struct EvalOptions {
  std::string run, split = "valid", data, weights = "best";
  bool json = false;
};

int run_eval(const EvalOptions& options) {
  Config config = run_config(options.run);
  if (!options.data.empty()) config.data.path = options.data;
  config.eval.tokens = 0;
  const std::unique_ptr<RunData> data = open_run_data(config, options.run);
  check_tokenizer(options.run, data->tokenizer(), data->place());
  const std::unique_ptr<EvalSource> batches = data->open_split(config, options.split);
  LoadedRun run = load_run(options.run, {.sequences = config.train.micro_batch,
                                         .length = config.train.sequence,
                                         .most_sequences = batches->most_sequences(),
                                         .predicts = data->predicts()});
  if (options.weights != "best") use_average(run, options.weights);
  catch_stop_signals();
  const Evaluation result = data->evaluate(*run.engine, options.split, *batches, stop_requested);
  if (stop_requested()) fail("eval: stopped after {} tokens", result.tokens);
  if (options.json) {
    fmt::print("{}\n", to_json(result));
  } else {
    fmt::print("checkpoint        {}\nsplit             {}\n{:<18}{}\n{:<18}{:.4f}\n",
               run.checkpoint, result.split, data->predicts() ? "texts" : "tokens", result.tokens,
               "loss", result.loss);
    for (const auto& [name, value] : result.scores) fmt::print("{:<18}{:.4f}\n", name, value);
    const auto figure = [](const char* name, double value, int digits) {
      if (!std::isnan(value)) fmt::print("{:<18}{:.{}f}\n", name, value, digits);
    };
    figure("token perplexity", result.token_perplexity, 3);
    figure("word perplexity", result.word_perplexity, 3);
    figure("bits per byte", result.bits_per_byte, 4);
  }
  return 0;
}

}  // namespace

Verb verb_eval() {
  return {"eval", "Perplexity of a run: per token, per word, in bits per byte",
          "strobe eval runs/demo/runs/flash2-optimised-s1 --split test", [](Options& options) {
            auto o = std::make_shared<EvalOptions>();
            options.value(o->run, "run", "run folder", Options::required);
            options.value(o->split, "--split", "valid, test or train; of MNLI also dev-mismatched");
            options.value(o->data, "--data", "another dataset folder of the same tokenizer");
            options.value(o->weights, "--weights",
                          "best, or an average that the run kept: ema, lawa");
            options.flag(o->json, "--json", "print one JSON object");
            return [o] { return run_eval(*o); };
          }};
}

}  // namespace strobe
