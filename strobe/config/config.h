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
  std::string path, shuffle = "blocks";
  bool mask_documents = false;
  template <class V>
  void fields(V&& v) {
    v("path", path, "folder made by 'strobe data prepare'");
    v("shuffle", shuffle,
      "each epoch in another order: blocks, whose borders stay, or documents, packed anew");
    v("mask_documents", mask_documents,
      "attention ends at document boundaries, where positions begin again; in evaluations too");
  }
};

struct ModelConfig {
  std::string preset, kind = "gpt2", head = "lm", recompute = "none";
  int64_t layers = 12, channels = 768, heads = 12, kv_heads = 0, feed_forward = 0;
  int64_t context = 1024, vocab = 0, classes = 2;
  bool pooler = false;
  double dropout = 0.0;
  std::optional<double> dropout_embedding, dropout_attention, dropout_residual;
  template <class V>
  void fields(V&& v) {
    v("preset", preset,
      "sizes by name: gpt2-124m, gpt2-350m, gpt2-774m, gpt2-1.5b, gpt2-30m, gpt2-tiny; bert-tiny, "
      "bert-mini, bert-small, bert-medium, bert-base, bert-large");
    v("kind", kind, "architecture: gpt2 or bert");
    v("head", head,
      "what is predicted: lm, words (of BERT: masked ones); bert: classification, regression or "
      "none");
    v("classes", classes, "classes of a classification");
    v("pooler", pooler, "bert, lm or none: keep a pooler, which masked words do not train");
    v("layers", layers, "number of blocks, L");
    v("channels", channels, "width, C");
    v("heads", heads, "attention heads, H");
    v("kv_heads", kv_heads, "key-value heads for grouped attention; 0: as many as heads");
    v("feed_forward", feed_forward, "hidden width of the MLP, F; 0: 4 C");
    v("context", context, "longest sequence the positions cover");
    v("vocab", vocab, "vocabulary size, V; 0: the dataset's");
    v("dropout", dropout, "dropout at the embedding, in attention and on residuals");
    v("dropout_embedding", dropout_embedding, "of the embedding; auto: model.dropout");
    v("dropout_attention", dropout_attention, "of attention probabilities; auto: model.dropout");
    v("dropout_residual", dropout_residual, "of residual branches; auto: model.dropout");
    v("recompute", recompute,
      "activations to recompute in the backward: none, gelu, gelu+norm or block");
  }
};

struct MaskConfig {
  double rate = 0.15, masked = 0.8, random = 0.1;
  bool whole_words = false;
  template <class V>
  void fields(V&& v) {
    v("rate", rate, "share of the tokens that a masked language model (bert) is to predict");
    v("masked", masked, "of these, the share that becomes [MASK]");
    v("random", random, "of these, the share that becomes another token; the rest stays");
    v("whole_words", whole_words, "choose the pieces of a word together");
  }
};

struct TextsConfig {
  std::string train, valid, task, text = "text", pair, label = "label", classes;
  double hold_out = 0;
  template <class V>
  void fields(V&& v) {
    v("train", train,
      "labelled texts to fine-tune on (.tsv, .csv, .jsonl); with texts.task, GLUE's folder");
    v("valid", valid, "labelled texts to evaluate on");
    v("task", task, "a task of GLUE's, whose files and columns are known");
    v("text", text, "column of the text");
    v("pair", pair, "column of the second text of a pair; empty: single texts");
    v("label", label, "column of the class, or of the score");
    v("classes", classes, "names of the classes by number, with | between them");
    v("hold_out", hold_out, "without texts.valid: share of the training texts to evaluate on");
  }
};

struct LossConfig {
  double label_smoothing = 0, z_loss = 0;
  template <class V>
  void fields(V&& v) {
    v("label_smoothing", label_smoothing,
      "share of each target that is spread over the vocabulary; in training alone");
    v("z_loss", z_loss,
      "weight of the squared logarithm of the softmax's denominator (PaLM: 1e-4); in training "
      "alone");
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
  std::string name = "adamw", groups;
  double lr = 6e-4, weight_decay = 0.1, clip = 1.0, clip_value = 0;
  std::optional<double> beta1, beta2, eps, momentum, embedding_lr;
  bool decay_embeddings = true, decay_coupled = true, decay_cautious = false;
  // Of a parameter group, and no keys: its learning rate as a share of the run's, and whether its
  // weight decay was said of these parameters, whatever they are.
  double lr_scale = 1;
  bool decay_all = false;
  template <class V>
  void fields(V&& v) {
    v("name", name, "'strobe list optimizers' prints them: adamw, lion, muon and more");
    v("lr", lr, "peak learning rate (matrix optimizers: of the matrices)");
    v("weight_decay", weight_decay, "decoupled from the gradient; off for biases and norms");
    v("clip", clip, "largest gradient norm; 0: no clipping");
    v("clip_value", clip_value, "largest element of a gradient, before clip; 0: any");
    v("beta1", beta1, "decay of the first moment; auto: the optimizer's own");
    v("beta2", beta2, "decay of the second moment; auto: the optimizer's own");
    v("eps", eps, "added to the denominator; auto: the optimizer's own");
    v("momentum", momentum, "of muon and normuon; auto: 0.95");
    v("embedding_lr", embedding_lr,
      "muon, normuon: AdamW's learning rate for the rest; auto: 6e-4");
    v("decay_embeddings", decay_embeddings, "apply weight decay to embeddings too");
    v("decay_coupled", decay_coupled,
      "weight decay is multiplied by the learning rate; false: by the schedule's factor alone");
    v("decay_cautious", decay_cautious, "decay only weights that the update shrinks anyway");
    v("groups", groups,
      "parameters with options of their own, by patterns of their names: '*wte*|*wpe*: lr=1e-3 "
      "weight_decay=0; *mlp*: optimizer=lion lr_scale=0.1'; the first pattern that fits counts");
  }
};

/// How a quantity changes over a run: a line of `strobe list schedules` and its options.
struct CurveConfig {
  std::string name = "constant", warmup_shape = "linear", cooldown_shape = "linear", milestones;
  Length warmup{0, Length::Unit::fraction}, length{1, Length::Unit::fraction};
  Length cooldown{0.2, Length::Unit::fraction};
  Length every{0.25, Length::Unit::fraction};
  double warmup_from = 0, floor = 0, threshold = 1e-4;
  int64_t patience = 2;
  std::optional<double> cycles, power, gamma;
  std::optional<Length> timescale;
  template <class V>
  void fields(V&& v) {
    v("name", name, "shape; 'strobe list schedules' prints them all");
    v("warmup", warmup, "length of the rise to the peak");
    v("warmup_shape", warmup_shape, "of the rise: linear, cosine, 1-sqrt or square");
    v("warmup_from", warmup_from, "where the rise begins, as a share of the peak");
    v("length", length, "where the schedule ends");
    v("floor", floor, "final value as a share of the peak");
    v("cooldown", cooldown, "wsd, power_cool: length of the final decay");
    v("cooldown_shape", cooldown_shape, "wsd: linear, cosine, 1-sqrt or square");
    v("cycles", cycles, "cosine: waves (auto: 0.5); cosine_restarts: cycles (auto: 1)");
    v("power", power, "polynomial, power_cool: exponent; auto: the shape's own");
    v("gamma", gamma, "step, multistep, exponential, plateau: factor; auto: the shape's own");
    v("every", every, "step, exponential: distance between multiplications by gamma");
    v("milestones", milestones, "multistep: lengths, as '50 %, 75 %', which is also what '' means");
    v("timescale", timescale, "inverse_sqrt: length; auto: the warm-up's");
    v("patience", patience, "plateau: evaluations without an improvement that are let pass");
    v("threshold", threshold,
      "plateau: relative improvement that counts, of what train.patience watches");
  }
};

/// The learning rate's curve, and those of other quantities as text, "linear(floor=0.1)".
struct ScheduleConfig : CurveConfig {
  ScheduleConfig() { name = "cosine", warmup = {0.05, Length::Unit::fraction}, floor = 0.1; }
  std::string weight_decay = "constant", momentum = "constant", dropout = "constant";
  std::string batch = "constant", sequence = "constant", record;
  template <class V>
  void fields(V&& v) {
    CurveConfig::fields(v);
    v("weight_decay", weight_decay,
      "curve that weight decay is multiplied by, for example 'linear(floor=0, warmup=5 %)'");
    v("momentum", momentum, "curve that momentum (beta1) is multiplied by");
    v("dropout", dropout, "curve that dropout is multiplied by");
    v("batch", batch,
      "curve of grad_accum, its peak: 'constant(warmup=10 %, warmup_from=0.25)' warms up");
    v("sequence", sequence,
      "curve of the attended length, its peak train.sequence: longer blocks are cut");
    v("record", record, "run folder whose recorded learning rates to repeat, step by step");
  }
};

struct TrainConfig {
  std::optional<int64_t> steps;
  std::optional<double> tokens, epochs, seconds;
  int64_t micro_batch = 8, sequence = 0, grad_accum = 1, patience = 0;
  double memory_limit = 0;
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
    v("memory_limit", memory_limit,
      "GiB that the run may plan, as if the device had no more; 0: all that is free");
    v("patience", patience,
      "end the run after so many evaluations without a lower validation loss, of labelled texts a "
      "lower error; 0: never");
    v("log_every", log_every, "interval between printed lines when not on a terminal");
  }
};

struct AverageConfig {
  double ema = 0;
  int64_t lawa = 0;
  Length every{0.05, Length::Unit::fraction}, start{0, Length::Unit::fraction};
  template <class V>
  void fields(V&& v) {
    v("ema", ema, "decay a step of an exponential moving average of the weights; 0: none");
    v("lawa", lawa, "mean of the newest so many snapshots of the weights (LAWA); 0: none");
    v("every", every, "lawa: interval between snapshots");
    v("start", start, "averages begin here; each is evaluated beside the weights themselves");
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
  bool best = true;
  int64_t keep = 2;
  template <class V>
  void fields(V&& v) {
    v("every", every, "interval between checkpoints; 0: only at the end");
    v("best", best, "also one whenever an evaluation is the best so far");
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
  TextsConfig texts;
  MaskConfig mask;
  ModelConfig model;
  LossConfig loss;
  AttentionConfig attention;
  GemmConfig gemm;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  TrainConfig train;
  AverageConfig average;
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
    v("init_from", init_from,
      "run folder, or folder of Hugging Face transformers', whose weights to start from");
    v("data", data, "");
    v("texts", texts, "");
    v("mask", mask, "");
    v("model", model, "");
    v("loss", loss, "");
    v("attention", attention, "");
    v("gemm", gemm, "");
    v("optimizer", optimizer, "");
    v("schedule", schedule, "");
    v("train", train, "");
    v("average", average, "");
    v("eval", eval, "");
    v("checkpoint", checkpoint, "");
    v("sample", sample, "");
  }
};

}  // namespace strobe
