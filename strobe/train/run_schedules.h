// Everything that follows a schedule in a run, as values for one step.
#pragma once

#include "strobe/config/config.h"
#include "strobe/optim/schedule.h"
#include "strobe/train/run_length.h"

namespace strobe {

class RunSchedules {
 public:
  /// Throws Error for curves that cannot be.
  RunSchedules(const Config& config, const RunLength& length);

  struct Values {
    float lr = 0, decay_scale = 1, momentum_scale = 1, dropout_scale = 1;
    int64_t micro_batches = 1;
    int64_t longest = 0;  // sequence length; train.sequence unless it is scheduled
  };
  /// For the step after `done`. `plateau` is what the run has come to.
  Values at(const Progress& done, const Plateau& plateau) const;

  /// What warm-up and cooldown of the learning rate leave of each other, if that is less than they
  /// ask for; "" otherwise.
  std::string notice() const;

  /// The learning rate's curve is `plateau`: it watches evaluations.
  bool watches_evaluations() const;
  const CurveConfig& lr_curve() const { return lr_; }
  /// The shortest that `longest` may become.
  int64_t shortest() const;

  /// Whether steps of this configuration may have fewer micro-batches than train.grad_accum.
  static bool varies_batch(const Config& config);

 private:
  /// factor() of a curve at the step after `done`, which takes `tokens`.
  double factor(const CurveConfig& curve, const Progress& done, double tokens,
                const std::string& key, double plateau = 1) const;

  RunLength length_;
  CurveConfig lr_, weight_decay_, momentum_, dropout_, batch_, sequence_;
  double peak_lr_, micro_tokens_;
  int64_t grad_accum_, length_of_sequence_;
};

}  // namespace strobe
