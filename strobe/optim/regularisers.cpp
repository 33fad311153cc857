#include "strobe/optim/regularisers.h"

namespace strobe {

namespace {

const RegulariserEntry kEntries[] = {
    {"dropout",
     "x mask / keep at the embedding, on attention probabilities and on residual branches; the "
     "keep "
     "probability is rounded to 1/256",
     {"model.dropout", "model.dropout_embedding", "model.dropout_attention",
      "model.dropout_residual", "schedule.dropout"},
     "Srivastava et al. 2014, JMLR 15"},
    {"weight decay",
     "w -= l d w, or (l / peak l) d w where it is not coupled; none for biases and norms; "
     "cautious: "
     "only where the update has w's sign",
     {"optimizer.weight_decay", "optimizer.decay_embeddings", "optimizer.decay_coupled",
      "optimizer.decay_cautious", "optimizer.groups", "schedule.weight_decay"},
     "Loshchilov & Hutter 2019, arXiv:1711.05101; cautious: Chen et al. 2025, arXiv:2510.12402"},
    {"label smoothing",
     "loss = (1 - s) (-log p[target]) + s mean(-log p), over the vocabulary, in training alone",
     {"loss.label_smoothing"},
     "Szegedy et al. 2016, arXiv:1512.00567"},
    {"z-loss",
     "loss += c (log sum exp(logits))^2, in training alone",
     {"loss.z_loss"},
     "Chowdhery et al. 2022, arXiv:2204.02311"},
    {"clipping by norm",
     "g *= min(1, c / (||g|| + 1e-6)), over all gradients of a step",
     {"optimizer.clip"},
     "Pascanu et al. 2013, arXiv:1211.5063"},
    {"clipping by value",
     "g = min(max(g, -c), c), before the norm is taken",
     {"optimizer.clip_value"},
     "torch.nn.utils.clip_grad_value_"},
    {"exponential average",
     "a = decay a + (1 - decay) w after every step; evaluated beside w, as val/loss_ema",
     {"average.ema", "average.start"},
     "Polyak & Juditsky 1992"},
    {"LAWA",
     "the mean of the newest k snapshots of w; evaluated beside w, as val/loss_lawa",
     {"average.lawa", "average.every", "average.start"},
     "Kaddour 2022, arXiv:2209.14981; Sanyal et al. 2023, arXiv:2306.03241"},
    {"batch warm-up",
     "micro-batches of a step = max(1, round(grad_accum curve))",
     {"schedule.batch", "train.grad_accum"},
     "Smith et al. 2018, arXiv:1711.00489"},
    {"sequence-length warm-up",
     "blocks of train.sequence tokens are cut into sequences of T curve, in sixteenths of T, that "
     "do "
     "not see each other; a step keeps its tokens",
     {"schedule.sequence", "train.sequence"},
     "Li et al. 2022, arXiv:2108.06084"},
    {"early stopping",
     "the run ends after so many evaluations without a lower validation loss; of labelled texts, "
     "without "
     "a lower error: 1 minus the mean of the scores",
     {"train.patience", "eval.every"},
     "Prechelt 1998, doi:10.1007/3-540-49430-8_3"},
    {"document shuffling",
     "each epoch puts the documents in another order and cuts the stream into blocks anew",
     {"data.shuffle"},
     "NanoGPT Slowrun, records"},
    {"document masking",
     "attention ends at document boundaries, where positions begin again; in evaluations too",
     {"data.mask_documents"},
     "Krell et al. 2021, arXiv:2107.02027"},
};

}  // namespace

std::span<const RegulariserEntry> regularisers() { return kEntries; }

}  // namespace strobe
