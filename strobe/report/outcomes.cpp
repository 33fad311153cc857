#include "strobe/report/outcomes.h"

namespace strobe {

namespace {

using R = RunResult;
using E = EvalPoint;

const OutcomeKind kKinds[] = {
    {"val/loss", "validation loss", "nats a token", &R::loss, &E::loss},
    {"val/bits_per_byte", "validation loss", "bits a byte", &R::bits_per_byte, &E::bits_per_byte},
    {"val/token_perplexity", "validation perplexity a token", "", &R::token_perplexity,
     &E::token_perplexity},
    {"val/word_perplexity", "validation perplexity a word", "", &R::word_perplexity,
     &E::word_perplexity},
    {"val/error", "validation error", "", &R::error, &E::error},
    {"val/loss_ema", "validation loss of averaged weights (EMA)", "nats a token", &R::loss_ema,
     &E::loss_ema},
    {"val/loss_lawa", "validation loss of averaged weights (LAWA)", "nats a token", &R::loss_lawa,
     &E::loss_lawa},
    {"val/loss_averaged", "validation loss (of averaged weights where a run averages)",
     "nats a token", &R::loss_averaged, &E::loss_averaged},
    {"train/loss", "training loss of the last step", "nats a token", &R::train_loss, nullptr},
    {"seconds", "training time", "s", &R::seconds, nullptr},
    {"tokens", "number of training tokens", "", &R::tokens, nullptr},
    {"steps", "number of steps", "", &R::steps, nullptr},
    {"peak_bytes", "peak memory", "bytes", &R::peak_bytes, nullptr},
    {"planned_bytes", "planned memory", "bytes", &R::planned_bytes, nullptr},
    {"parameters", "number of parameters", "", &R::parameters, nullptr},
};

}  // namespace

std::span<const OutcomeKind> outcome_kinds() { return kKinds; }

std::vector<std::string> keys_of_outcome(const std::string& outcome) {
  if (outcome == "val/loss_averaged") return {"val/loss_ema", "val/loss_lawa", "val/loss"};
  return {outcome};
}

const OutcomeKind* find_outcome(const std::string& name) {
  for (const OutcomeKind& kind : kKinds)
    if (name == kind.name) return &kind;
  return nullptr;
}

}  // namespace strobe
