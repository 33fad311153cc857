// A model on a device with all the memory it will use, planned before the first step.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "strobe/config/config.h"
#include "strobe/data/batches.h"
#include "strobe/model/model.h"
#include "strobe/ops/backend.h"
#include "strobe/optim/optimizer.h"
#include "strobe/train/batch_room.h"

namespace strobe {

/// What an engine will be asked to run.
struct EngineShape {
  bool training = false;
  int64_t sequences = 0, length = 0;  // of one micro-batch; 0: no batches
  int64_t decode_capacity = 0;        // tokens; 0: no decoding
  int64_t micro_batches = 1;          // in one optimizer step
  int64_t most_sequences = 0;  // attended apart, when blocks are cut; 0: as many as `sequences`
  int64_t scored_rows = 0;     // the most that a head which picks its rows reads; 0: all
  bool predicts = false;       // predict() will be called
};

/// Throws Error unless a training run of this shape can be: every size 1 or more, sequences within
/// the context, no more rows than one micro-batch can hold.
void check_shape(const EngineShape& shape, int64_t context);

/// What one engine needs, known before anything is allocated.
struct EnginePlan {
  struct Part {
    std::string name;
    int64_t bytes;
  };
  std::vector<Part> parts;  // what is live at the peak, merged by name
  int64_t bytes = 0;
  int64_t parameters = 0;
  // Operations, as executed: of a whole optimizer step, and of its parts.
  double step_flops = 0, micro_batch_flops = 0, update_flops = 0;
};

class Engine {
 public:
  /// Plans only. Impossible shapes and names throw Error. `ops` is the device to use instead of
  /// the one that the configuration names: a decorator, say.
  Engine(const Config& config, int64_t vocab, const EngineShape& shape,
         std::unique_ptr<Backend> ops = nullptr);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const EnginePlan& plan() const { return plan_; }
  /// Bytes that there are for it: what is free on the device, or train.memory_limit where that is
  /// less; 0 if unknown.
  int64_t room() const;
  /// Throws Error, naming what is the first not to fit, if there is less room than was planned.
  void check_memory() const;
  /// Takes the memory that was planned; throws Error when it is not there.
  void allocate();

  Backend& ops() { return *ops_; }
  Model& model() { return *model_; }
  DType dtype() const { return dtype_; }
  std::span<Param* const> params() { return params_; }

  struct StepResult {
    double loss = 0;     // mean, in nats; NaN where nothing was scored
    int64_t scored = 0;  // that it is the mean of
    StepState state;     // after the step: grad_norm, halt
  };
  /// Issues one optimizer step on `batches`; `input` carries seed, step and what schedules say. On
  /// a device that runs ops after they return, several may be under way.
  void start_step(const StepInput& input, std::span<const HostBatch> batches,
                  float dropout_scale = 1);
  /// Waits for the oldest step that was started.
  StepResult finish_step();
  /// Both; returns the mean loss in nats. grad_norm and halt are in ops().step_state().
  double step(const StepInput& input, std::span<const HostBatch> batches);
  /// Sum of the losses of the scored tokens, in nats.
  double evaluate(const HostBatch& batch);
  /// What the head says of the rows it reads, outputs() values a row.
  std::vector<float> predict(const HostBatch& batch);

  /// Once parameters have their first values: gives the optimizer's states theirs.
  void start_optimizer();
  /// Moves the exponential average of the weights one step; `first`: it begins here.
  void average_weights(bool first);
  /// Keeps the weights as snapshot `number`, from 0.
  void take_snapshot(int64_t number);
  /// What the model is used with from here on. `training`: what gradients are taken at. `best`:
  /// what the optimizer says is to be used. `ema`; `lawa`: the mean of the newest of `snapshots`.
  enum class Weights { training, best, ema, lawa };
  void use_weights(Weights which, int64_t snapshots = 0);
  /// Brings Param::used, which checkpoints hold, up to date.
  void refresh_used();

  /// Forgets what was decoded before.
  void start_decoding();
  void decode(std::span<const int32_t> tokens, std::vector<float>& logits);

 private:
  void lay_out(Arena& arena);
  void run_step(Backend& ops, Arena& arena, int64_t micro_batches,
                const std::function<void(int64_t)>& load);
  void upload(const HostBatch& batch);
  void stop_decoding();

  EngineShape shape_;
  std::unique_ptr<Backend> ops_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::vector<Param*> params_;
  double clip_, clip_value_;
  AverageConfig average_;
  DType dtype_;
  int64_t memory_limit_;  // 0: none
  EnginePlan plan_;

  void* memory_ = nullptr;
  Arena arena_;
  BatchRoom room_;
  Batch batch_;                // at hand
  std::vector<Tensor> spare_;  // of each parameter: weights to evaluate, where these are derived
  Weights weights_ = Weights::training;
  float dropout_scale_ = 1;
  Tensor grads_, losses_room_, losses_, loss_sum_, loss_sums_, outputs_;
  struct UnderWay {
    int64_t ticket, micro_batches, scored;
  };
  std::deque<UnderWay> under_way_;  // oldest first
  std::shared_ptr<DecodeCache> cache_;
  int64_t decode_mark_ = 0;
};

/// "auto", "f32" or "bf16" as a type; auto is bf16 where the device multiplies it faster.
DType resolve_precision(const std::string& precision, const DeviceInfo& device);

}  // namespace strobe
