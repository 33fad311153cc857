// Configuration: plain structs that name each field once. Defaults, TOML, the command line, --help,
// --print-config, the report's table and a study's axes share one dotted path ("optimizer.lr").
//
// A visitor is called as v(name, member, help); a nested struct as v(name, struct, help).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "strobe/config/length.h"

namespace strobe {

struct DataConfig {
  std::string path;
  template <class V>
  void fields(V&& v) {
    v("path", path, "folder made by 'strobe data prepare'");
  }
};

struct ModelConfig {
  std::string preset, kind = "gpt2", recompute = "none";
  int64_t layers = 12, channels = 768, heads = 12, kv_heads = 0, feed_forward = 0;
  int64_t context = 1024, vocab = 0;
  double dropout = 0.0;
  template <class V>
  void fields(V&& v) {
    v("preset", preset,
      "sizes by name: gpt2-124m, gpt2-350m, gpt2-774m, gpt2-1.5b, gpt2-30m, gpt2-tiny");
    v("kind", kind, "architecture: gpt2");
    v("layers", layers, "number of blocks, L");
    v("channels", channels, "width, C");
    v("heads", heads, "attention heads, H");
    v("kv_heads", kv_heads, "key-value heads for grouped attention; 0: as many as heads");
    v("feed_forward", feed_forward, "hidden width of the MLP, F; 0: 4 C");
    v("context", context, "longest sequence the positions cover");
    v("vocab", vocab, "vocabulary size, V; 0: the dataset's");
    v("dropout", dropout, "dropout at the embedding, in attention and on residuals");
    v("recompute", recompute, "activations to recompute in the backward: none, gelu, gelu+norm or block");
  }
};

struct AttentionConfig {
  std::string algorithm = "automatic";
  bool deterministic = true;
  template <class V>
  void fields(V&& v) {
    v("algorithm", algorithm, "automatic, naive, flash1, flash2 or flash3");
    v("deterministic", deterministic,
      "sums in a fixed order; false: a GPU may add in any order, and runs then differ in bits");
  }
};

struct GemmConfig {
  bool tf32 = false, tune = false;
  template <class V>
  void fields(V&& v) {
    v("tf32", tf32, "GPU: f32 products may round their operands to 10 bits of mantissa");
    v("tune", tune,
      "GPU: time the library's algorithms once for each product, and keep the choice");
  }
};

struct OptimizerConfig {
  std::string name = "adamw";
  double lr = 6e-4, weight_decay = 0.1, clip = 1.0;
  std::optional<double> beta1, beta2, eps, momentum, embedding_lr;
  bool decay_embeddings = true;
  template <class V>
  void fields(V&& v) {
    v("name", name, "adamw, lion or muon");
    v("lr", lr, "peak learning rate (muon: of the matrices)");
    v("weight_decay", weight_decay, "decoupled, times the learning rate; off for biases and norms");
    v("clip", clip, "largest gradient norm; 0: no clipping");
    v("beta1", beta1, "decay of the first moment; auto: the optimizer's own");
    v("beta2", beta2, "decay of the second moment; auto: the optimizer's own");
    v("eps", eps, "added to the denominator; auto: the optimizer's own");
    v("momentum", momentum, "muon's momentum; auto: 0.95");
    v("embedding_lr", embedding_lr, "muon: AdamW's learning rate for the rest; auto: 6e-4");
    v("decay_embeddings", decay_embeddings, "apply weight decay to embeddings too");
  }
};

struct ScheduleConfig {
  std::string name = "cosine", record;
  Length warmup{0.05, Length::Unit::fraction}, length{1, Length::Unit::fraction};
  Length cooldown{0.2, Length::Unit::fraction};
  double floor = 0.1;
  template <class V>
  void fields(V&& v) {
    v("name", name, "constant, linear, cosine or wsd");
    v("warmup", warmup, "linear warm-up from 0");
    v("length", length, "where the schedule ends");
    v("cooldown", cooldown, "wsd: length of the final decay");
    v("floor", floor, "final learning rate as a share of the peak");
    v("record", record, "run folder whose recorded learning rates to repeat, step by step");
  }
};

struct TrainConfig {
  std::optional<double> steps, tokens, epochs, seconds;
  int64_t micro_batch = 8, sequence = 0, grad_accum = 1;
  Length log_every{10, Length::Unit::steps};
  template <class V>
  void fields(V&& v) {
    v("steps", steps, "length of the run in optimizer steps; set one of the four lengths");
    v("tokens", tokens, "length of the run in training tokens");
    v("epochs", epochs, "length of the run in passes over the training data");
    v("seconds", seconds, "length of the run in seconds of training, evaluation excluded");
    v("micro_batch", micro_batch, "sequences in one forward and backward");
    v("sequence", sequence, "tokens in a sequence, T; 0: the context");
    v("grad_accum", grad_accum, "micro-batches in one optimizer step");
    v("log_every", log_every, "interval between printed lines when not on a terminal");
  }
};

struct EvalConfig {
  Length every{0.1, Length::Unit::fraction};
  int64_t tokens = 0;
  template <class V>
  void fields(V&& v) {
    v("every", every, "interval between evaluations; 0: only at the end");
    v("tokens", tokens, "evaluate on the first so many tokens of the split; 0: all");
  }
};

struct CheckpointConfig {
  Length every{0.25, Length::Unit::fraction};
  int64_t keep = 2;
  template <class V>
  void fields(V&& v) {
    v("every", every, "interval between checkpoints; 0: only at the end");
    v("keep", keep, "newest checkpoints to keep, beside the best; 0: all");
  }
};

struct SampleConfig {
  std::string prompt;
  int64_t tokens = 0;
  template <class V>
  void fields(V&& v) {
    v("prompt", prompt, "text that samples continue");
    v("tokens", tokens, "tokens to sample at the end of the run; 0: none");
  }
};

struct Config {
  std::string name = "run", precision = "auto", backend = "auto", init_from;
  int64_t seed = 1, threads = 0;
  DataConfig data;
  ModelConfig model;
  AttentionConfig attention;
  GemmConfig gemm;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  TrainConfig train;
  EvalConfig eval;
  CheckpointConfig checkpoint;
  SampleConfig sample;
  template <class V>
  void fields(V&& v) {
    v("name", name, "name of the run; its folder is runs/<name>");
    v("seed", seed, "seed of every random number");
    v("threads", threads, "CPU threads; 0: one a core. Results do not depend on it");
    v("backend", backend, "auto, cpu or cuda; auto: a GPU where there is one");
    v("precision", precision, "auto, f32 or bf16; auto: bf16 where it is fast");
    v("init_from", init_from, "run folder whose weights to start from");
    v("data", data, "");
    v("model", model, "");
    v("attention", attention, "");
    v("gemm", gemm, "");
    v("optimizer", optimizer, "");
    v("schedule", schedule, "");
    v("train", train, "");
    v("eval", eval, "");
    v("checkpoint", checkpoint, "");
    v("sample", sample, "");
  }
};

}  // namespace strobe
