// The two ends of a model on CUDA, embedding and cross-entropy, and sums, as ops/backend.h defines
// them. Nothing here can tell the host of an id outside its table: an embedding of one is NaN, and
// so is the loss of a target outside the vocabulary, which the gradient norm finds.
//
// Scratch: embedding_backward 16 N bytes for sorting ids and 8 C bytes for each slice of 32 sorted
// rows (longer ones where scratch is short); sum 2 KiB.
#pragma once

#include <span>

#include "strobe/cuda/device.h"

namespace strobe::cuda {

void embedding_forward(const Device& device, Tensor y, std::span<const EmbeddingTable> tables);
void embedding_backward(const Device& device, Tensor dtable, Tensor dy, Tensor ids);
void cross_entropy(const Device& device, Tensor losses, Tensor dlogits, Tensor logits,
                   Tensor targets, const CrossEntropy& op);
void sum(const Device& device, Tensor out, Tensor x);

}  // namespace strobe::cuda
