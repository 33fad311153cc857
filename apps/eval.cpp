// strobe eval: loss and perplexity of a run on a split.
#include <memory>

#include "apps/verbs.h"
#include "strobe/core/error.h"
#include "strobe/data/batches.h"
#include "strobe/train/evaluate.h"
#include "strobe/train/loaded_run.h"

namespace strobe {

namespace {

struct EvalOptions {
  std::string run, split = "valid", data, weights = "best";
  bool json = false;
};

int run_eval(const EvalOptions& options) {
  const Config config = run_config(options.run);
  const Dataset dataset = Dataset::open(options.data.empty() ? config.data.path : options.data);
  check_tokenizer(options.run, Tokenizer::load(dataset.tokenizer_file()), dataset.folder());
  const EvalBatches batches(dataset, options.split, config.train.micro_batch, config.train.sequence,
                            0, config.data.mask_documents);
  LoadedRun run = load_run(options.run, {.sequences = config.train.micro_batch,
                                         .length = config.train.sequence,
                                         .most_sequences = batches.most_sequences()});
  if (options.weights != "best") use_average(run, options.weights);
  catch_stop_signals();
  const Evaluation result = evaluate(*run.engine, dataset, options.split, batches, stop_requested);
  if (stop_requested()) fail("eval: stopped after {} tokens", result.tokens);
  if (options.json) {
    fmt::print("{}\n", to_json(result));
  } else {
    fmt::print(
        "checkpoint        {}\nsplit             {}\ntokens            {}\n"
        "loss              {:.4f} nats a token\ntoken perplexity  {:.3f}\n"
        "word perplexity   {:.3f}\nbits per byte     {:.4f}\n",
        run.checkpoint, result.split, result.tokens, result.loss, result.token_perplexity,
        result.word_perplexity, result.bits_per_byte);
  }
  return 0;
}

}  // namespace

Verb verb_eval() {
  return {"eval", "Perplexity of a run: per token, per word, in bits per byte",
          "strobe eval runs/demo/runs/flash2-optimised-s1 --split test", [](Options& options) {
            auto o = std::make_shared<EvalOptions>();
            options.value(o->run, "run", "run folder", Options::required);
            options.value(o->split, "--split", "valid or test");
            options.value(o->data, "--data", "another dataset folder of the same tokenizer");
            options.value(o->weights, "--weights",
                          "best, or an average that the run kept: ema, lawa");
            options.flag(o->json, "--json", "print one JSON object");
            return [o] { return run_eval(*o); };
          }};
}

}  // namespace strobe
