#include "strobe/cuda/attention.h"

#include <utility>

#include "strobe/core/error.h"
#include "strobe/core/round_up.h"
#include "strobe/cuda/attention_dropout.h"
#include "strobe/cuda/attention_flash.h"
#include "strobe/cuda/attention_flash3.h"
#include "strobe/cuda/attention_naive.h"
#include "strobe/cuda/attention_pack.h"

namespace strobe::cuda {

namespace {

void check_alignment(std::initializer_list<const Tensor*> operands) {
  for (const Tensor* x : operands)
    check(reinterpret_cast<uintptr_t>(x->data) % 16 == 0 && x->strides[0] % 8 == 0 &&
              x->strides[1] % 8 == 0,
          "attention: rows of bf16 heads begin at multiples of 16 bytes");
}

/// Shared memory that a thread block can have, by the GPU's generation.
int shared_bytes(int compute_capability) {
  switch (compute_capability) {
    case 80:
    case 87: return 163 << 10;
    case 86:
    case 89: return 99 << 10;
    case 90:
    case 100:
    case 103: return 227 << 10;
    default: return 99 << 10;
  }
}

AttentionCall call_of(const Device& device, const Tensor& o, const Tensor& lse, const Tensor& q,
                      const Tensor& k, const Tensor& v, const AttentionOp& op) {
  AttentionCall c;
  c.q = HeadRows(q), c.k = HeadRows(k), c.v = HeadRows(v), c.o = HeadRows(o);
  c.lse = lse.as<float>(), c.lse_stride = lse.strides[0];
  c.cu_q = op.cu_q.as<int>(), c.cu_k = op.cu_k.as<int>();
  c.sequences = static_cast<int>(op.cu_q.dim(0) - 1);
  c.heads = static_cast<int>(q.dim(1)), c.group = static_cast<int>(q.dim(1) / k.dim(1));
  c.head_dim = static_cast<int>(q.dim(2));
  c.max_q = static_cast<int>(op.max_q), c.max_k = static_cast<int>(op.max_k);
  c.total_q = q.dim(0), c.total_k = k.dim(0);
  c.causal = op.causal, c.scale = op.scale;
  c.state = device.state, c.site = op.dropout.site;
  c.keep = op.dropout.keep_of_256(), c.keep_scale = op.dropout.scale();
  return c;
}

/// The workspace begins with the words that dropout multiplies.
int64_t words_bytes(int64_t max_k) { return round_up(dropout_words_bytes(max_k), 256); }

const uint32_t* dropout_words(const Device& device, const AttentionOp& op,
                              const Tensor& workspace) {
  if (op.dropout.keep_of_256() == 256) return nullptr;
  uint32_t* const words = workspace.as<uint32_t>();
  check(words || op.max_k == 0, "attention: dropout needs its workspace");
  make_dropout_words(device, words, op.max_k, op.dropout.site);
  return words;
}

/// The flash kernels read 16 bytes at a time. Heads of another size are copied to the next multiple
/// of 8 elements; the workspace begins with the copies.
class Padding {
 public:
  Padding(const Device& device, char* workspace) : device_(device), free_(workspace) {}

  static int64_t bytes(const AttentionShape& s, bool backward) {
    if (s.head_dim % 8 == 0) return 0;
    const int64_t row = round_up(s.head_dim, 8) * 2;
    const int64_t queries = round_up(s.total_q * s.heads * row, 256);
    const int64_t keys = round_up(s.total_k * s.kv_heads * row, 256);
    return backward ? 4 * queries + 4 * keys : 2 * queries + 2 * keys;
  }
  /// Room for `x`, and with its elements.
  Tensor room(const Tensor& x) {
    if (x.dim(2) % 8 == 0) return x;
    Tensor y(free_, x.dtype, {x.dim(0), x.dim(1), round_up(x.dim(2), 8)});
    free_ += round_up(y.bytes(), 256);
    return y;
  }
  Tensor copy(const Tensor& x) {
    const Tensor y = room(x);
    if (y.data != x.data) copy_heads(device_, y, x);
    return y;
  }
  void back(const Tensor& x, const Tensor& padded) const {
    if (x.data != padded.data) copy_heads(device_, x, padded);
  }
  char* rest() const { return free_; }

 private:
  const Device& device_;
  char* free_;
};

int64_t padded_flash_bytes(AttentionAlgorithm algorithm, const AttentionShape& shape,
                           bool backward) {
  AttentionShape padded = shape;
  padded.head_dim = round_up(shape.head_dim, 8);
  if (backward && algorithm == AttentionAlgorithm::flash3)
    return flash3_backward_workspace_bytes(padded);
  return backward ? flash_backward_workspace_bytes(padded) : flash1_forward_workspace_bytes(padded);
}

}  // namespace

std::string attention_unsupported(const Device& device, AttentionAlgorithm algorithm,
                                  const AttentionShape& shape, DType dtype) {
  if (shape.kv_heads <= 0 || shape.heads % shape.kv_heads != 0)
    return fmt::format("{} heads cannot share {} key-value heads evenly", shape.heads,
                       shape.kv_heads);
  if (shape.fp8 && algorithm != AttentionAlgorithm::flash3)
    return fmt::format("{} has no FP8; flash3 has", name_of(algorithm));
  if (algorithm == AttentionAlgorithm::naive) return "";
  if (dtype != DType::bf16)
    return fmt::format("{} takes bf16 on a GPU; {} runs naive", name_of(algorithm), name_of(dtype));
  const bool flash3 = algorithm == AttentionAlgorithm::flash3;
  const int largest = flash3 ? 128 : 256;
  if (shape.head_dim > largest)
    return fmt::format("{} takes heads of at most {} elements, these have {}", name_of(algorithm),
                       largest, shape.head_dim);
  if (flash3 && device.compute_capability != 90)
    return fmt::format("flash3 needs a GPU of compute capability 9.0 (Hopper), this one has {}.{}",
                       device.compute_capability / 10, device.compute_capability % 10);
  if (device.compute_capability < 80)
    return fmt::format("{} needs a GPU of compute capability 8.0, this one has {}.{}",
                       name_of(algorithm), device.compute_capability / 10,
                       device.compute_capability % 10);
  const int needed = flash_shared_bytes(static_cast<int>(shape.head_dim)),
            there = shared_bytes(device.compute_capability);
  if (needed > there)
    return fmt::format("{} needs {} KiB of shared memory for heads of {} elements, this GPU has {}",
                       name_of(algorithm), needed >> 10, shape.head_dim, there >> 10);
  return "";
}

int64_t attention_saved_bytes(const Device&, AttentionAlgorithm algorithm,
                              const AttentionShape& shape, DType dtype) {
  return algorithm == AttentionAlgorithm::naive ? naive_saved_bytes(shape, dtype) : 0;
}

int64_t attention_workspace_bytes(const Device&, AttentionAlgorithm algorithm,
                                  const AttentionShape& shape, DType dtype, bool backward) {
  if (algorithm == AttentionAlgorithm::naive)
    return words_bytes(shape.max_k) + naive_workspace_bytes(shape, dtype, backward);
  if (shape.fp8 && !backward) {
    AttentionShape padded = shape;
    padded.head_dim = round_up(shape.head_dim, 8);
    return words_bytes(shape.max_k) + Padding::bytes(shape, backward) +
           flash3_fp8_workspace_bytes(padded);
  }
  const bool needed = backward || algorithm == AttentionAlgorithm::flash1;
  return words_bytes(shape.max_k) + Padding::bytes(shape, backward) +
         (needed ? padded_flash_bytes(algorithm, shape, backward) : 0);
}

void attention_forward(const Device& device, Tensor o, Tensor lse, Tensor saved, Tensor q, Tensor k,
                       Tensor v, const AttentionOp& op, Tensor workspace) {
  check_attention_operands(q, k, v, o, lse, op);
  check(op.variant == AttentionVariant::full || op.dropout.p == 0,
        "attention: only the full flash3 has dropout");
  const uint32_t* const words = dropout_words(device, op, workspace);
  char* const rest = workspace.as<char>() + words_bytes(op.max_k);
  if (op.algorithm == AttentionAlgorithm::naive)
    return naive_forward(device, o, lse, saved, q, k, v, op, words, rest);
  Padding padding(device, rest);
  const Tensor qp = padding.copy(q), kp = padding.copy(k), vp = padding.copy(v);
  const Tensor op_ = padding.room(o);
  check_alignment({&qp, &kp, &vp, &op_});
  AttentionCall call = call_of(device, op_, lse, qp, kp, vp, op);
  call.dropout_words = words;
  check(!op.fp8 || (op.algorithm == AttentionAlgorithm::flash3 && call.keep == 256),
        "attention: FP8 is flash3's, without dropout");
  if (op.algorithm == AttentionAlgorithm::flash1)
    flash1_forward(device, call, padding.rest());
  else if (op.fp8)
    flash3_fp8_forward(device, call, padding.rest(), true);
  else if (op.algorithm == AttentionAlgorithm::flash3)
    flash3_forward_rung(device, call, op.variant);
  else
    flash2_forward(device, call);
  padding.back(o, op_);
}

void attention_backward(const Device& device, Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q,
                        Tensor k, Tensor v, Tensor o, Tensor lse, Tensor saved,
                        const AttentionOp& op, Tensor workspace) {
  check_attention_operands(q, k, v, o, lse, op);
  check_attention_operands(dq, dk, dv, d_o, lse, op);
  check(!op.fp8, "attention: FP8 has no backward");
  const uint32_t* const words = dropout_words(device, op, workspace);
  char* const rest = workspace.as<char>() + words_bytes(op.max_k);
  if (op.algorithm == AttentionAlgorithm::naive)
    return naive_backward(device, dq, dk, dv, d_o, q, k, v, saved, op, words, rest);
  Padding padding(device, rest);
  const Tensor qp = padding.copy(q), kp = padding.copy(k), vp = padding.copy(v);
  const Tensor op_ = padding.copy(o), dop = padding.copy(d_o);
  const Tensor dqp = padding.room(dq), dkp = padding.room(dk), dvp = padding.room(dv);
  check_alignment({&qp, &kp, &vp, &op_, &dop, &dqp, &dkp, &dvp});
  AttentionBackwardCall call;
  static_cast<AttentionCall&>(call) = call_of(device, op_, lse, qp, kp, vp, op);
  call.dropout_words = words;
  call.d_o = HeadRows(dop), call.dq = HeadRows(dqp), call.dk = HeadRows(dkp);
  call.dv = HeadRows(dvp);
  call.order = op.algorithm == AttentionAlgorithm::flash1 ? SumOrder::alone
               : op.deterministic                         ? SumOrder::fixed
                                                          : SumOrder::free;
  if (op.algorithm == AttentionAlgorithm::flash3)
    flash3_backward(device, call, padding.rest());
  else
    flash_backward(device, call, padding.rest());
  padding.back(dq, dqp), padding.back(dk, dkp), padding.back(dv, dvp);
}

}  // namespace strobe::cuda
