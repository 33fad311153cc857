// What the attention kernels of every instruction set take and offer. No inline functions: this
// header is compiled for all of them.
//
// The kernels work on scores transposed, tiles of keys x queries. The softmax statistics of a query
// then belong to a lane, maxima and sums need no shuffles, and P^T is laid out as both products
// that use it want it. Blocks of rows are packed once (pack_*), in the layouts a product reads:
//   rows     [64][Dp]         an operand A, row-major
//   columns  [Dp][64]         its transpose, an operand A
//   b        [64][Dp]         an operand B: f32 row-major, bf16 in pairs of rows (VNNI)
//   bt       [Dp][64]         its transpose, an operand B
#pragma once

#include <cstdint>

namespace strobe::cpu {

inline constexpr int64_t kAttentionBlock = 64;  // keys of a tile; queries of one of the backward
/// Rows of one head, f32 or bf16: row i begins at data + i * stride elements.
struct AttentionRows {
  void* data;
  int64_t stride;
};

/// Dropout of one head of one sequence: what strobe/ops/dropout_mask.h defines, as raw numbers.
struct HeadDropout {
  bool on = false;
  int32_t first = 0, nans = 0;  // DroppedNumbers
  float scale = 1;              // of what is kept
  uint64_t key = 0;
  uint32_t stream = 0;              // sequence * heads + head
  const uint32_t* words = nullptr;  // of the pairs of keys, for whole blocks of keys
};

/// One head of one sequence.
struct AttentionHead {
  int64_t queries, keys, dim;
  bool causal;  // query i sees keys [0, i + keys - queries]
  float scale;
  HeadDropout dropout;
};

struct AttentionForward {
  AttentionHead head;
  AttentionRows q, o;
  float* lse;                       // of query 0
  const void *packed_k, *packed_v;  // the sequence's blocks: rows of k, columns of v
  int64_t packed_block;             // bytes from block to block
  float* o_accumulator;             // flash1: (query blocks, Dp, forward_queries)
  float* statistics;                // flash1: the same, (2, forward_queries): m and l
};

struct AttentionBackward {
  AttentionHead head;
  AttentionRows q, d_o, o, dq;  // of one query head
  const float* lse;
  const void *packed_q, *packed_qt, *packed_do, *packed_dot;  // b, bt of q and of dO
  int64_t packed_block;
  float *lse2, *delta;        // (query blocks, 64)
  uint32_t* dropout_queries;  // (query blocks, 2, 64): multipliers and addends
  float* dq_parts;            // (parts, query blocks, Dp, 64)
  int64_t dq_part;            // floats from part to part
};

/// A range of key blocks of one key-value head: adds up over the `heads` query heads that share it.
struct AttentionBackwardKeys {
  AttentionRows k, v, dk, dv;
  int64_t first_block, last_block;  // [first, last)
  int64_t part;                     // which dQ part it writes
  int64_t heads;
  const AttentionBackward* head;  // `heads` of them
};

/// The kernels of one instruction set for one type of input.
struct AttentionKernels {
  int64_t element_bytes;    // of a packed element
  int64_t dim_multiple;     // Dp is dim rounded up to this
  int64_t forward_queries;  // of a tile of the forward: 32 or 64
  void (*pack_keys)(AttentionRows k, AttentionRows v, int64_t keys, int64_t dim, int64_t block,
                    void* packed_k, void* packed_v);
  /// forward_queries queries, over all their key blocks.
  void (*flash2_forward)(const AttentionForward& task, int64_t block);
  /// A whole head, key blocks outermost.
  void (*flash1_forward)(const AttentionForward& task);
  /// Packs a query block of q and dO, and computes delta = rowsum(dO * O) and what dropout needs.
  void (*pack_queries)(const AttentionBackward& task, int64_t block);
  void (*backward)(const AttentionBackwardKeys& task);
  /// dq of one query block = scale * the sum of its parts, in order; `first[p]` is the first query
  /// block that part p has written.
  void (*finish_dq)(const AttentionBackward& task, int64_t block, const int64_t* first,
                    int64_t parts);
};

struct AttentionVariants {
  const AttentionKernels *f32, *bf16;
};

namespace baseline {
AttentionVariants attention_kernels();
}
namespace avx2 {
AttentionVariants attention_kernels();
}
namespace avx512 {
AttentionVariants attention_kernels();
}
namespace avx512_bf16 {
AttentionVariants attention_kernels();
}
namespace amx {
AttentionVariants attention_kernels();
}

}  // namespace strobe::cpu
