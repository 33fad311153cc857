// A model as training sees it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "strobe/config/config.h"
#include "strobe/core/param.h"
#include "strobe/model/context.h"

namespace strobe {

/// The state of decoding: what every layer keeps of the tokens so far.
struct DecodeCache;

class Model {
 public:
  virtual ~Model() = default;

  /// Every parameter, in a fixed order: the one list behind initialisation, optimizers,
  /// checkpoints, files and reports.
  virtual void for_each_param(const ParamVisitor& visit) = 0;

  /// losses (M) f32; gradients of all parameters are added to, each scaled by StepState.loss_scale.
  virtual void forward_backward(Context& ctx, Tensor losses, const Batch& batch) = 0;
  /// losses (M) f32, without dropout.
  virtual void evaluate(Context& ctx, Tensor losses, const Batch& batch) = 0;

  /// Whether the head reads batch.picks alone.
  virtual bool picks_rows() const { return false; }
  /// What the head says of a row: logits of words or classes, a score.
  virtual int64_t outputs() const = 0;
  /// out (M, outputs) f32, without dropout.
  virtual void predict(Context& ctx, Tensor out, const Batch& batch) = 0;

  /// Memory for decoding up to `capacity` tokens, from ctx.arena. Throws Error where the model does
  /// not continue text.
  virtual std::shared_ptr<DecodeCache> start_decoding(Context& ctx, int64_t capacity) = 0;
  /// Appends `tokens` (ids in host memory) and writes the logits after the last of them: f32, in
  /// host memory, one for each entry of the vocabulary.
  virtual void decode(Context& ctx, DecodeCache& cache, std::span<const int32_t> tokens,
                      std::vector<float>& logits) = 0;

  /// Model FLOPs of one training token at sequence length T: GPT-2's are 6 N_params + 6 L C T
  /// (causal).
  virtual double flops_per_token(int64_t sequence) = 0;
};

/// Builds the model that `model.kind` names; `vocab` is the true size, padded inside for speed.
/// Parameters have shapes but no memory yet. Impossible shapes throw Error.
std::unique_ptr<Model> make_model(const Config& config, int64_t vocab);

/// All parameters; the model must outlive the list.
std::vector<Param*> params_of(Model& model);
/// Elements that are stored, padding excluded.
int64_t count_params(Model& model);

/// Gives every parameter its master and compute copy and, for training, its gradient. Gradients
/// are one block, so that one fill() clears them: the tensor returned.
Tensor allocate_params(Model& model, Arena& arena, DType dtype, bool training);

/// Draws initial values: a function of the seed and the parameter's place alone.
void initialise_params(Backend& ops, Model& model, uint64_t seed);

/// compute = value, for every parameter.
void refresh_compute(Backend& ops, Model& model);

}  // namespace strobe
