// Optimizers that treat a matrix as a whole: what Muon and its like share.
//
// Matrices of one shape go through direct() together. Projections for queries, keys and values
// share one (C, 3 C) weight but are separate maps, and are treated as three. Embeddings, heads,
// biases and norms are AdamW's, with a learning rate of their own.
#pragma once

#include "strobe/optim/entries.h"

namespace strobe {

class MatrixOptimizer : public Optimizer {
 public:
  explicit MatrixOptimizer(const OptimizerConfig& config);

  std::vector<Tensor> states(const Param& param) const override;
  int64_t workspace_bytes(const Backend& ops, std::span<Param* const> params) const override;
  void step(Backend& ops, std::span<Param* const> params, Tensor workspace) override;

 protected:
  /// States beside the momentum: at most one, a number a column.
  virtual std::vector<Tensor> more_states(const Param&) const { return {}; }
  /// The type of momenta, where products are of `dtype`.
  virtual DType direction_dtype(const Backend&, DType /*dtype*/) const { return DType::f32; }
  /// Turns momenta (n, rows, columns) into what the learning rate multiplies. `parts` are the
  /// matrices, with their columns of the states.
  virtual void direct(Backend& ops, Tensor updates, std::span<const UpdateTarget> parts,
                      DType dtype, Tensor workspace) const = 0;
  virtual int64_t direct_workspace_bytes(const Backend& ops, int64_t n, int64_t rows,
                                         int64_t columns, DType dtype) const = 0;

 private:
  /// Columns [i width, (i + 1) width) of a parameter.
  UpdateTarget part_of(const Param& param, int64_t i, int64_t width) const;
  void update_batch(Backend& ops, std::span<const Param* const> batch, Tensor workspace) const;

  OptimizerConfig config_;
  float momentum_;
  double rest_lr_;
  ElementwiseOptimizer<AdamWRule> rest_;
};

/// momentum, embedding_lr, and those of AdamW, which has the rest.
std::vector<OwnOption> matrix_options();

}  // namespace strobe
