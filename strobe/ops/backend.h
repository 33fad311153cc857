// THE CONTRACT between models and devices: one abstract class that lists what a device must do.
//
// Shapes   B batch, T sequence, C channels, V vocabulary, H heads, D head dim, F feed-forward,
//          N = B*T rows. A batch is N packed rows; cu_seqlens says where its sequences begin.
// Order    outputs come first. dx is the gradient of the loss with respect to x.
// Rule     gradients of PARAMETERS accumulate (+=); gradients of ACTIVATIONS are overwritten (=).
// Types    activations and compute weights are f32 or bf16, all of one call alike; parameter
//          gradients, statistics and optimizer states are f32; ids and offsets are i32.
// Memory   every operand lives in the backend's memory and is contiguous unless said otherwise.
//          An op allocates nothing: what it keeps (saved) and needs (workspace) is stated as a
//          function of shape and passed in.
// Host     nothing here waits for the device but download(), finish_download(), step_state(),
//          seconds() and synchronize(). What changes from step to step sits in the StepState, in
//          the backend's own memory, so that the same ops can be replayed with other values.
//
// Basic ops are pure virtual. A fused op has a default body that composes the basic ones; a backend
// overrides it where a measured gain earns it, and the op test compares it with the composition.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "strobe/core/tensor.h"
#include "strobe/ops/attention.h"
#include "strobe/ops/update_rules.h"

namespace strobe {

/// What the host decides about a step, written before it.
struct StepInput {
  uint64_t seed = 0;
  int64_t step = 0;          // optimizer updates done before this one
  int32_t micro_step = 0;    // within gradient accumulation
  float lr = 0;              // the schedule's value
  float decay_scale = 1;     // what schedules multiply weight decay ...
  float momentum_scale = 1;  // ... and momentum by
  float average = 1;     // lr^2 over the sum of lr^2 so far: schedule-free's weight of this step
  float loss_scale = 1;  // what d(loss)/d(row loss) is: 1 / scored tokens of the global batch
};

/// What changes from step to step: the host's decisions, and the results of the step.
struct StepState : StepInput {
  float grad_norm = 0;   // before clipping
  float grad_scale = 1;  // what updates multiply gradients by: the clipping factor
  int32_t halt = 0;      // set when grad_norm is not finite, and sticky: updates do nothing
};

/// One parameter as an optimizer's elementwise update sees it.
struct UpdateTarget {
  Tensor value, compute, grad;    // f32; the compute copy is refreshed unless it is `value` itself
  Tensor state0, state1, state2;  // f32; empty where the rule has fewer
  float lr_scale = 1, weight_decay = 0;
  bool cautious = false;  // decays only where the update has the weight's sign

  Tensor& state(int i) { return i == 0 ? state0 : i == 1 ? state1 : state2; }
  const Tensor& state(int i) const { return i == 0 ? state0 : i == 1 ? state1 : state2; }
};

/// Second moments of a matrix, and what is done with them.
struct MomentScaling {
  float beta = 0.95f;      // decay of the moments ...
  float exponent = 0;      // ... or, where this is below 0, beta = 1 - t^exponent in step t
  float eps_square = 0;    // added to squares
  float eps = 0;           // added to their root
  float most_rms = 0;      // above 0: the result is scaled down to this root mean square
  bool keep_norm = false;  // the result gets the norm of what it was made of
  bool gradient = false;   // what is scaled is a gradient: clipping comes first
  float scale = 1;         // of the result
};

enum class Gelu { tanh, erf };

/// Pre-norm: a norm's output is read by a branch alone, and the stream goes on from its input.
/// Post-norm: the stream goes on from the output.
enum class NormPlace { pre, post };

/// What a norm's backward writes beside gradients: the norm's output, as the forward wrote it, for
/// whoever did not keep it.
struct NormAgain {
  Tensor y, bias;  // y (N, C) is empty where it was kept
  float eps = 0;
};

struct EmbeddingTable {
  Tensor table;  // (rows, C)
  Tensor ids;    // i32 (N)
};

struct CrossEntropy {
  int64_t vocab = 0;          // rows of the head at or beyond it are padding and get probability 0
  float label_smoothing = 0;  // share of the target that is spread over the vocabulary, evenly
  float z_loss = 0;           // times (log of the softmax's denominator)^2 is added
};

struct DeviceInfo {
  std::string name;        // "2 cores, Intel Xeon (AVX-512, AMX-BF16)"
  std::string kind;        // "cpu" or "cuda"
  bool fast_bf16 = false;  // bf16 products run faster than f32
  /// Of products of bf16, and of f32, a second: measured or published; 0 if unknown.
  double peak_flops = 0, peak_flops_f32 = 0;
  double peak(DType dtype) const { return dtype == DType::bf16 ? peak_flops : peak_flops_f32; }
  /// Ops run after they return: to keep the device busy, issue a step before the results of the one
  /// before it are read.
  bool asynchronous = false;
  int64_t memory_bytes = 0;  // of the device's own memory; 0: the machine's is used
  int64_t free_bytes = 0;    // that allocate() could give now, of either; 0 if unknown
  int64_t fixed_bytes = 0;   // of it, taken by the backend beside allocate()
  std::vector<std::pair<std::string, std::string>> details;  // for people: features, libraries
};

/// Choices that are the user's.
struct BackendOptions {
  bool tf32 = false;       // f32 products may round their operands to 10 bits of mantissa
  bool tune_gemm = false;  // time the library's algorithms for each product, and keep the choice
  bool graphs = true;      // what replay() runs may be recorded; the bits are the same
};

class Backend {
 public:
  virtual ~Backend() = default;

  // ---- device, memory, state ----------------------------------------------------------------
  virtual DeviceInfo info() const = 0;
  /// Memory of the device, aligned to 256 bytes; throws Error when there is not enough.
  virtual void* allocate(int64_t bytes) = 0;
  virtual void release(void* memory) = 0;
  /// dst = src, before any op issued later; `src` may be reused when it returns.
  virtual void upload(Tensor dst, const void* src) = 0;
  virtual void download(void* dst, Tensor src) = 0;  // waits
  /// A download a step late: begins to copy `src` and the StepState as the ops issued so far will
  /// leave them, and returns a ticket. finish_download() waits for that, and returns the StepState.
  /// Every ticket is finished once, the oldest first.
  virtual int64_t start_download(Tensor src) = 0;
  virtual StepState finish_download(int64_t ticket, void* dst) = 0;
  /// Writes all of the state: at the start of a run.
  virtual void set_step_state(const StepState& state) = 0;
  /// Writes the host's part and leaves the results, `halt` among them, as they are.
  virtual void set_step_input(const StepInput& input) = 0;
  virtual StepState step_state() = 0;  // waits

  // ---- running -------------------------------------------------------------------------------
  /// Runs `body`, which issues the same ops on the same operands whenever it comes with this key,
  /// and nothing else: a device may record it once and repeat the record. release() forgets all
  /// records.
  virtual void replay(std::string_view key, const std::function<void()>& body);
  /// Seconds that the device spent in what `body` issues; `name` is for the tools that show a
  /// timeline. Waits.
  virtual double seconds(std::string_view name, const std::function<void()>& body);
  /// The share of time during which the device runs anything while `body` is done again and again;
  /// NaN where that cannot be told. Watching costs time between ops: it is the least that the share
  /// can be. Waits.
  virtual double busy_share(const std::function<void()>& body);
  /// Returns when all ops issued so far have run.
  virtual void synchronize() {}
  /// The algorithms that were chosen for products by timing them, as text; "" where none were.
  /// Given to a backend on the same kind of device, they make its products the same to the bit.
  virtual std::string gemm_plans() const { return ""; }
  virtual void set_gemm_plans(const std::string&) {}

  // ---- elementwise ---------------------------------------------------------------------------
  virtual void fill(Tensor y, float value) = 0;
  /// y = x, converting between f32 and bf16. Both may be strided matrices.
  virtual void copy(Tensor y, Tensor x) = 0;
  /// y = a x + b y, f32.
  virtual void axpby(Tensor y, float a, Tensor x, float b) = 0;
  /// y = x masked by dropout and scaled; y may be x. Its own backward.
  virtual void dropout(Tensor y, Tensor x, Dropout dropout) = 0;
  /// y = a + dropout(b); y may be a.
  virtual void add_dropout(Tensor y, Tensor a, Tensor b, Dropout dropout) = 0;
  virtual void gelu_forward(Tensor y, Tensor x, Gelu kind) = 0;
  /// dx = dy * gelu'(x); dx may be dy.
  virtual void gelu_backward(Tensor dx, Tensor dy, Tensor x, Gelu kind) = 0;
  /// y may be x.
  virtual void tanh_forward(Tensor y, Tensor x) = 0;
  /// dx = dy * (1 - y^2);  dx may be dy.
  virtual void tanh_backward(Tensor dx, Tensor dy, Tensor y) = 0;

  // ---- products ------------------------------------------------------------------------------
  /// c = a b, or c += a b.  c (M, N), a (M, K), b (K, N); a and b are f32 or bf16 and alike, c is
  /// either. Each operand has one stride of 1 (a transposed view is how to transpose it).
  virtual void matmul(Tensor c, Tensor a, Tensor b, bool accumulate = false) = 0;
  /// y (N, M) += bias (M), in place.
  virtual void bias_forward(Tensor y, Tensor bias) = 0;
  /// dbias (M) += column sums of dy (N, M), in a fixed order.
  virtual void bias_backward(Tensor dbias, Tensor dy) = 0;

  /// y = x w + bias.   x (N, K), w (K, M) possibly transposed, y (N, M); bias may be empty.
  virtual void linear_forward(Tensor y, Tensor x, Tensor w, Tensor bias);
  /// dx = dy w^T;  dw += x^T dy;  dbias += sum dy.  Each of dx, dw and dbias may be empty; without
  /// dw, so may x.
  virtual void linear_backward(Tensor dx, Tensor dw, Tensor dbias, Tensor dy, Tensor x, Tensor w);
  /// pre = x w + bias;  y = gelu(pre).
  virtual void linear_gelu_forward(Tensor y, Tensor pre, Tensor x, Tensor w, Tensor bias,
                                   Gelu kind);
  /// The backward of y = gelu(pre) w + bias from dy to dpre.  x is gelu(pre), and is written here
  /// where `recompute`. dbias += sum dy;  dpre_bias, of the layer that made pre, += sum dpre;
  /// either may be empty.
  virtual void gelu_linear_backward(Tensor dpre, Tensor dw, Tensor dbias, Tensor dpre_bias,
                                    Tensor dy, Tensor x, Tensor pre, Tensor w, Gelu kind,
                                    bool recompute);

  // ---- normalisation -------------------------------------------------------------------------
  /// y = (x - mean) * rstd * weight + bias.  x, y (N, C); mean, rstd (N) f32; weight, bias (C).
  virtual void layernorm_forward(Tensor y, Tensor mean, Tensor rstd, Tensor x, Tensor weight,
                                 Tensor bias, float eps) = 0;
  /// dx = dresidual + d(layernorm);  dresidual may be empty, and may be dx; dx may be dy.
  virtual void layernorm_backward(Tensor dx, Tensor dweight, Tensor dbias, Tensor dy, Tensor x,
                                  Tensor weight, Tensor mean, Tensor rstd, Tensor dresidual,
                                  const NormAgain& again) = 0;
  /// sum = residual + dropout(branch);  y = layernorm(sum).  sum may be residual, y may be branch.
  virtual void add_layernorm_forward(Tensor sum, Tensor y, Tensor mean, Tensor rstd,
                                     Tensor residual, Tensor branch, Tensor weight, Tensor bias,
                                     float eps, Dropout dropout);
  /// The backward of add_layernorm_forward: dresidual = dsum + d(layernorm), dbranch = its dropout.
  /// With NormPlace::post dsum is a part of y's gradient instead: dresidual = d(layernorm) of
  /// dy + dsum. dsum may be empty, and may be dresidual; dbranch may be dresidual when there is no
  /// dropout. branch_bias (C), of the layer that made the branch, += sum dbranch; it may be empty.
  virtual void add_layernorm_backward(Tensor dresidual, Tensor dbranch, Tensor dweight,
                                      Tensor dbias, Tensor branch_bias, Tensor dy, Tensor dsum,
                                      Tensor sum, Tensor weight, Tensor mean, Tensor rstd,
                                      Dropout dropout, NormPlace place, const NormAgain& again);

  // ---- embedding -----------------------------------------------------------------------------
  /// y (N, C) = sum over tables of table[ids], one to three of them.
  virtual void embedding_forward(Tensor y, std::span<const EmbeddingTable> tables) = 0;
  /// dtable (rows, C) f32 += dy by rows, in a fixed order.
  virtual void embedding_backward(Tensor dtable, Tensor dy, Tensor ids) = 0;

  // ---- attention -----------------------------------------------------------------------------
  /// Why `algorithm` cannot run here, in a sentence; "" if it can.
  virtual std::string attention_unsupported(AttentionAlgorithm algorithm,
                                            const AttentionShape& shape, DType dtype) const = 0;
  /// The newest algorithm that runs, if asked for `automatic`; throws Error with the reason if the
  /// one asked for cannot run.
  AttentionAlgorithm choose_attention(AttentionAlgorithm asked, const AttentionShape& shape,
                                      DType dtype) const;
  /// Bytes kept from forward to backward beside o and lse, and bytes of workspace. O(T) for the
  /// flash algorithms, O(T^2) for naive. `algorithm` is a chosen one, not `automatic`.
  virtual int64_t attention_saved_bytes(AttentionAlgorithm algorithm, const AttentionShape& shape,
                                        DType dtype) const = 0;
  virtual int64_t attention_workspace_bytes(AttentionAlgorithm algorithm,
                                            const AttentionShape& shape, DType dtype,
                                            bool backward) const = 0;
  /// o (Nq, H, D) strided; lse (H, Nq) f32; saved may be empty when there will be no backward.
  virtual void attention_forward(Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k, Tensor v,
                                 const AttentionOp& op, Tensor workspace) = 0;
  virtual void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q, Tensor k,
                                  Tensor v, Tensor o, Tensor lse, Tensor saved,
                                  const AttentionOp& op, Tensor workspace) = 0;

  // ---- loss ----------------------------------------------------------------------------------
  /// losses (N) f32 = -log softmax(logits)[target], 0 where target < 0; with z = log sum
  /// exp(logits) and smoothing s, z - (1 - s) logits[target] - s mean(logits) + z_loss z^2. Where
  /// dlogits is not empty (it may be logits), dlogits = loss_scale * d(loss)/d(logits).  logits (N,
  /// V), targets i32 (N).
  virtual void cross_entropy(Tensor losses, Tensor dlogits, Tensor logits, Tensor targets,
                             const CrossEntropy& op) = 0;
  /// losses (N) = (x - target)^2, 0 where the target is NaN; dx = loss_scale * d(loss)/dx. All f32;
  /// dx may be empty.
  virtual void squared_error(Tensor losses, Tensor dx, Tensor x, Tensor targets) = 0;
  /// The head and its loss, in chunks of rows, so that (N, V) never exists: logits = x w^T + bias.
  /// x (N, C), w (V, C), bias (V) or empty. Forward only where dx is empty; else dx = ...,
  /// dw += ..., dbias += ....
  virtual void linear_cross_entropy(Tensor losses, Tensor dx, Tensor dw, Tensor dbias, Tensor x,
                                    Tensor w, Tensor bias, Tensor targets, const CrossEntropy& op,
                                    Tensor workspace);
  virtual int64_t linear_cross_entropy_workspace_bytes(int64_t rows, int64_t channels,
                                                       int64_t vocab, DType dtype) const;
  /// Rows of logits that exist at a time: enough for full-speed products (at 256, reading and
  /// writing dw each time costs a tenth of a small model's step on a CPU), few enough that memory
  /// does not notice.
  virtual int64_t logit_rows() const { return 512; }
  /// out (1) f32 = sum of x (f32), in a fixed order, accumulated in double.
  virtual void sum(Tensor out, Tensor x) = 0;

  // ---- update --------------------------------------------------------------------------------
  /// x = min(max(x, -limit), limit), f32; NaN stays.
  virtual void clamp(Tensor x, float limit) = 0;
  /// Writes grad_norm, grad_scale and halt of the StepState from all gradients. max_norm <= 0: no
  /// clipping.
  virtual void grad_norm(std::span<const Tensor> grads, float max_norm) = 0;
  /// One elementwise optimizer update of all targets: lr = StepState.lr * lr_scale, weight decay
  /// times StepState.decay_scale.
  virtual void update(const UpdateRule& rule, std::span<const UpdateTarget> targets) = 0;
  /// m = beta m + g, u = nesterov ? g + beta m : m, where g = grad_scale * grad and beta is
  /// multiplied by momentum_scale. f32, for matrix optimizers; does nothing but u = 0 when halted.
  /// Of matrices, rows may be apart.
  virtual void momentum(Tensor u, Tensor m, Tensor grad, float beta, bool nesterov) = 0;
  /// y = x / (||x||_F + eps), x f32, y f32 or bf16.
  virtual void normalize(Tensor y, Tensor x, float eps) = 0;
  /// u = x / (sqrt(V) + eps), f32, where V_ij = columns_j, or rows_i columns_j / mean(rows) if
  /// rows is not empty, are moving means of x^2 over a column (and a row), which are updated first.
  /// x, u (M, N) with rows apart, u may be x; rows (M), columns (N). u = 0 and no more when halted.
  virtual void scale_by_moments(Tensor u, Tensor rows, Tensor columns, Tensor x,
                                const MomentScaling& op) = 0;
  /// x (n, M, N), f32 or direction_dtype(dtype), each matrix made near to orthogonal: divided by
  /// its norm, then five times
  ///   A = X X^T,  X = a X + (b A + c A^2) X     (Newton-Schulz; with X^T X where M > N)
  /// and multiplied by `scale`. Products are of `dtype`.
  virtual void orthogonalize(Tensor x, float scale, DType dtype, Tensor workspace);
  virtual int64_t orthogonalize_workspace_bytes(int64_t n, int64_t rows, int64_t columns,
                                                DType dtype) const;
  /// value -= lr (u + weight_decay value), where lr = StepState.lr * target.lr_scale, weight decay
  /// is scaled and may be cautious as in update(); refreshes the compute copy. u (f32 or bf16)
  /// comes from a matrix optimizer. Does nothing when halted. Of matrices, rows may be apart.
  virtual void apply_update(const UpdateTarget& target, Tensor u) = 0;

  // The same for n matrices of one shape (M, N) together, whose u is (n, M, N), f32, or, but for
  // scale_each_by_moments, direction_dtype(). Of each target value, compute copy, gradient and
  // state0 have their rows equally far apart.
  /// What momenta(), orthogonalize() in products of `dtype` and apply_updates() take beside f32.
  virtual DType direction_dtype(DType /*dtype*/) const { return DType::f32; }
  /// Of each gradient into u; the momentum is state0.
  virtual void momenta(Tensor u, std::span<const UpdateTarget> targets, float beta, bool nesterov);
  /// Of each u in place, by columns alone; their moments are state1 (N).
  virtual void scale_each_by_moments(Tensor u, std::span<const UpdateTarget> targets,
                                     const MomentScaling& op);
  virtual void apply_updates(std::span<const UpdateTarget> targets, Tensor u);
};

}  // namespace strobe
