#include "strobe/cpu/attention_flash.h"

#include <algorithm>
#include <vector>

#include "strobe/core/error.h"
#include "strobe/core/round_up.h"
#include "strobe/core/threads.h"
#include "strobe/cpu/attention_dropout.h"
#include "strobe/cpu/isa/attention.h"
#include "strobe/cpu/isa_select.h"

namespace strobe::cpu {

namespace {

constexpr int64_t kBlock = kAttentionBlock;

const AttentionKernels& kernels(DType dtype) {
  const auto variants = [] {
    switch (isa()) {
      case Isa::baseline: return baseline::attention_kernels();
      case Isa::avx2: return avx2::attention_kernels();
      case Isa::avx512: return avx512::attention_kernels();
      case Isa::avx512_bf16: return avx512_bf16::attention_kernels();
      case Isa::amx: return amx::attention_kernels();
    }
    return baseline::attention_kernels();
  }();
  return dtype == DType::f32 ? *variants.f32 : *variants.bf16;
}

/// How many ranges the keys of a head are cut into for the backward: enough for 16 tasks, at most
/// 4, since each has a dQ of its own. A function of shape alone. flash1 does not cut the sequence.
int64_t key_ranges(const AttentionShape& shape, AttentionAlgorithm algorithm) {
  if (algorithm == AttentionAlgorithm::flash1) return 1;
  const int64_t heads = std::max<int64_t>(1, shape.sequences * shape.kv_heads);
  const int64_t blocks = (shape.max_k + kBlock - 1) / kBlock;
  return std::clamp<int64_t>(16 / heads, 1, std::clamp<int64_t>(blocks, 1, 4));
}

/// Blocks of all sequences, `total` rows: sequence s has its own from cu[s] / 64 + s on.
int64_t block_capacity(int64_t total, int64_t sequences) { return total / kBlock + sequences; }

/// Hands out pieces of the workspace.
class Cutter {
 public:
  explicit Cutter(void* memory) : base_(static_cast<char*>(memory)) {}
  template <class T>
  T* take(int64_t bytes) {
    T* p = reinterpret_cast<T*>(base_ + used_);
    used_ += round_up(bytes, 64);
    return p;
  }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

/// The sizes and the workspace of one call.
struct Layout {
  Layout(const AttentionShape& shape, DType dtype, AttentionAlgorithm algorithm, bool backward,
         void* memory)
      : kernel(kernels(dtype)),
        padded(round_up(shape.head_dim, kernel.dim_multiple)),
        packed_block(round_up(kBlock * padded * kernel.element_bytes, 64)),
        query_blocks(block_capacity(shape.total_q, shape.sequences)),
        key_blocks(block_capacity(shape.total_k, shape.sequences)),
        parts(key_ranges(shape, algorithm)) {
    Cutter cutter(memory);
    const int64_t q_bytes = shape.heads * query_blocks * packed_block;
    const int64_t k_bytes = shape.kv_heads * key_blocks * packed_block;
    const int64_t accumulator = shape.heads * query_blocks * kBlock * padded * 4;
    const int64_t statistics = shape.heads * query_blocks * kBlock * 4;
    if (backward) {
      for (char*& p : packed_q) p = cutter.take<char>(q_bytes);
      lse2 = cutter.take<float>(statistics);
      delta = cutter.take<float>(statistics);
      dropout_queries = cutter.take<uint32_t>(2 * statistics);
      accumulators = cutter.take<float>(accumulator * parts);
    } else {
      packed_k = cutter.take<char>(k_bytes);
      packed_v = cutter.take<char>(k_bytes);
      if (algorithm == AttentionAlgorithm::flash1) {
        accumulators = cutter.take<float>(accumulator);
        running = cutter.take<float>(2 * statistics);
      }
    }
    bytes = cutter.used();
  }

  const AttentionKernels& kernel;
  int64_t padded, packed_block;
  int64_t query_blocks, key_blocks;  // of all sequences, per head
  int64_t parts;
  char* packed_q[4] = {};  // b and bt of q, b and bt of dO
  char *packed_k = nullptr, *packed_v = nullptr;
  float *lse2 = nullptr, *delta = nullptr;
  uint32_t* dropout_queries = nullptr;
  float *accumulators = nullptr, *running = nullptr;  // flash1's O, or dQ's parts; (m, l)
  int64_t bytes;
};

AttentionRows rows_of(const Tensor& x, int64_t row, int64_t head) {
  const int64_t at = row * x.strides[0] + head * x.strides[1];
  return {static_cast<char*>(x.data) + at * size_of(x.dtype), x.strides[0]};
}

/// One call: operands, the sequences' bounds, and one head of one sequence as kernels take it.
struct Call {
  Call(const Tensor& q, const Tensor& k, const AttentionOp& op, const StepState& state)
      : shape(attention_shape(q, k, op)),
        op(op),
        cu_q(op.cu_q.as<int32_t>()),
        cu_k(op.cu_k.as<int32_t>()),
        dropout(op.dropout, state, shape.max_k) {}

  AttentionHead head(int64_t sequence, int64_t h) const {
    return {cu_q[sequence + 1] - cu_q[sequence],
            cu_k[sequence + 1] - cu_k[sequence],
            shape.head_dim,
            op.causal,
            op.scale,
            dropout.head(sequence * shape.heads + h)};
  }
  int64_t query_block(int64_t sequence) const { return cu_q[sequence] / kBlock + sequence; }
  int64_t key_block(int64_t sequence) const { return cu_k[sequence] / kBlock + sequence; }

  AttentionShape shape;
  const AttentionOp& op;
  const int32_t *cu_q, *cu_k;
  AttentionDropout dropout;
};

struct Task {
  int64_t sequence, head, block;
};

/// Every (sequence, head, block of `size` rows). A head's blocks follow each other, so that its
/// keys and values stay in the cache; the last come first, since under a causal mask they are the
/// longest and the short ones then fill the gaps at the end.
std::vector<Task> block_tasks(const int32_t* cu, int64_t sequences, int64_t heads, int64_t size) {
  std::vector<Task> tasks;
  for (int64_t s = 0; s < sequences; ++s)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t block = (cu[s + 1] - cu[s] + size - 1) / size - 1; block >= 0; --block)
        tasks.push_back({s, h, block});
  return tasks;
}

template <class Body>
void for_each_task(const std::vector<Task>& tasks, const Body& body) {
  parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t i) { body(tasks[i]); });
}

/// [first, last) key blocks of each range, of about equal work. An even share of the area above
/// which nothing is computed, not of the blocks: the first keys of a causal head are seen most.
std::vector<int64_t> cut_keys(const AttentionHead& head, int64_t parts) {
  const int64_t blocks = (head.keys + kBlock - 1) / kBlock;
  const auto seen_by = [&](int64_t block) {
    const int64_t first = head.causal ? block * kBlock + head.queries - head.keys : 0;
    return std::max<int64_t>(0, head.queries - std::max<int64_t>(0, first)) + kBlock;
  };
  int64_t total = 0;
  for (int64_t j = 0; j < blocks; ++j) total += seen_by(j);
  std::vector<int64_t> bounds{0};
  int64_t sum = 0;
  for (int64_t j = 0; j < blocks; ++j) {
    sum += seen_by(j);
    if (sum * parts >= total * static_cast<int64_t>(bounds.size()) &&
        static_cast<int64_t>(bounds.size()) < parts)
      bounds.push_back(j + 1);
  }
  bounds.resize(parts + 1, blocks);
  bounds[parts] = blocks;
  return bounds;
}

}  // namespace

int64_t flash_workspace_bytes(AttentionAlgorithm algorithm, const AttentionShape& shape,
                              DType dtype, bool backward) {
  return Layout(shape, dtype, algorithm, backward, nullptr).bytes;
}

void flash_forward(Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v, const AttentionOp& op,
                   const StepState& state, Tensor workspace) {
  const Call call(q, k, op, state);
  const AttentionShape& shape = call.shape;
  const Layout layout(shape, q.dtype, op.algorithm, false, workspace.data);
  check(workspace.bytes() >= layout.bytes, "attention: the workspace is too small");
  const AttentionKernels& kernel = layout.kernel;

  // All heads of a block of rows in one task: their elements are neighbours in memory.
  for_each_task(block_tasks(call.cu_k, shape.sequences, 1, kBlock), [&](const Task& t) {
    for (int64_t h = 0; h < shape.kv_heads; ++h) {
      const int64_t at =
          (h * layout.key_blocks + call.key_block(t.sequence) + t.block) * layout.packed_block;
      kernel.pack_keys(rows_of(k, call.cu_k[t.sequence], h), rows_of(v, call.cu_k[t.sequence], h),
                       call.cu_k[t.sequence + 1] - call.cu_k[t.sequence], shape.head_dim, t.block,
                       layout.packed_k + at, layout.packed_v + at);
    }
  });

  const auto task_of = [&](int64_t s, int64_t h) {
    const int64_t kv = h / (shape.heads / shape.kv_heads);
    const int64_t at = (kv * layout.key_blocks + call.key_block(s)) * layout.packed_block;
    const int64_t block = h * layout.query_blocks + call.query_block(s);
    AttentionForward task{};
    task.head = call.head(s, h);
    task.q = rows_of(q, call.cu_q[s], h);
    task.o = rows_of(o, call.cu_q[s], h);
    task.lse = lse.as<float>() + h * lse.strides[0] + call.cu_q[s];
    task.packed_k = layout.packed_k + at;
    task.packed_v = layout.packed_v + at;
    task.packed_block = layout.packed_block;
    if (layout.running) {
      task.o_accumulator = layout.accumulators + block * kBlock * layout.padded;
      task.statistics = layout.running + block * 2 * kBlock;
    }
    return task;
  };
  if (op.algorithm == AttentionAlgorithm::flash1) {
    parallel_for(shape.sequences * shape.heads, [&](int64_t i) {
      kernel.flash1_forward(task_of(i / shape.heads, i % shape.heads));
    });
  } else {
    for_each_task(
        block_tasks(call.cu_q, shape.sequences, shape.heads, kernel.forward_queries),
        [&](const Task& t) { kernel.flash2_forward(task_of(t.sequence, t.head), t.block); });
  }
}

void flash_backward(Tensor dq, Tensor dk, Tensor dv, Tensor d_o, Tensor q, Tensor k, Tensor v,
                    Tensor o, Tensor lse, const AttentionOp& op, const StepState& state,
                    Tensor workspace) {
  const Call call(q, k, op, state);
  const AttentionShape& shape = call.shape;
  const Layout layout(shape, q.dtype, op.algorithm, true, workspace.data);
  check(workspace.bytes() >= layout.bytes, "attention: the workspace is too small");
  const AttentionKernels& kernel = layout.kernel;
  const int64_t part = shape.heads * layout.query_blocks * kBlock * layout.padded;

  const auto task_of = [&](int64_t s, int64_t h) {
    const int64_t block = h * layout.query_blocks + call.query_block(s);
    AttentionBackward task{};
    task.head = call.head(s, h);
    task.q = rows_of(q, call.cu_q[s], h);
    task.d_o = rows_of(d_o, call.cu_q[s], h);
    task.o = rows_of(o, call.cu_q[s], h);
    task.dq = rows_of(dq, call.cu_q[s], h);
    task.lse = lse.as<float>() + h * lse.strides[0] + call.cu_q[s];
    task.packed_q = layout.packed_q[0] + block * layout.packed_block;
    task.packed_qt = layout.packed_q[1] + block * layout.packed_block;
    task.packed_do = layout.packed_q[2] + block * layout.packed_block;
    task.packed_dot = layout.packed_q[3] + block * layout.packed_block;
    task.packed_block = layout.packed_block;
    task.lse2 = layout.lse2 + block * kBlock;
    task.delta = layout.delta + block * kBlock;
    task.dropout_queries = layout.dropout_queries + block * 2 * kBlock;
    task.dq_parts = layout.accumulators + block * kBlock * layout.padded;
    task.dq_part = part;
    return task;
  };

  const std::vector<Task> queries = block_tasks(call.cu_q, shape.sequences, shape.heads, kBlock);
  for_each_task(queries,
                [&](const Task& t) { kernel.pack_queries(task_of(t.sequence, t.head), t.block); });

  const int64_t group = shape.heads / shape.kv_heads;
  std::vector<std::vector<int64_t>> ranges(shape.sequences);
  for (int64_t s = 0; s < shape.sequences; ++s) ranges[s] = cut_keys(call.head(s, 0), layout.parts);
  parallel_for(shape.sequences * shape.kv_heads * layout.parts, [&](int64_t i) {
    const int64_t p = i % layout.parts, kv = i / layout.parts % shape.kv_heads;
    const int64_t s = i / layout.parts / shape.kv_heads;
    std::vector<AttentionBackward> heads;
    for (int64_t h = 0; h < group; ++h) heads.push_back(task_of(s, kv * group + h));
    AttentionBackwardKeys task{};
    task.k = rows_of(k, call.cu_k[s], kv);
    task.v = rows_of(v, call.cu_k[s], kv);
    task.dk = rows_of(dk, call.cu_k[s], kv);
    task.dv = rows_of(dv, call.cu_k[s], kv);
    task.first_block = ranges[s][p];
    task.last_block = ranges[s][p + 1];
    task.part = p;
    task.heads = group;
    task.head = heads.data();
    kernel.backward(task);
  });

  for_each_task(queries, [&](const Task& t) {
    const AttentionHead head = call.head(t.sequence, t.head);
    const std::vector<int64_t>& range = ranges[t.sequence];
    std::vector<int64_t> first(layout.parts);
    for (int64_t p = 0; p < layout.parts; ++p) {
      const int64_t query = head.causal ? range[p] * kBlock + head.queries - head.keys : 0;
      // A part that holds no key block has written nothing.
      first[p] = range[p] < range[p + 1] ? std::max<int64_t>(0, query) / kBlock : INT64_MAX;
    }
    kernel.finish_dq(task_of(t.sequence, t.head), t.block, first.data(), layout.parts);
  });
}

}  // namespace strobe::cpu
