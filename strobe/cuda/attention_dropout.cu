#include "strobe/cuda/attention_dropout.h"

#include "strobe/core/round_up.h"
#include "strobe/cuda/attention_layout.h"
#include "strobe/ops/dropout_mask.h"

namespace strobe::cuda {

namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads)
    dropout_words_kernel(uint4* words, int blocks, const StepState* state, uint32_t site) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= blocks) return;
  const uint64_t key = dropout_key(state->seed, state->step, state->micro_step, site);
  const Philox::Block x = attention_dropout_words(key, i);
  words[i] = make_uint4(x[0], x[1], x[2], x[3]);
}

}  // namespace

int64_t dropout_words_bytes(int64_t max_k) {
  return round_up(max_k, int64_t{kDropoutTileKeys}) / 2 * int64_t{sizeof(uint32_t)};
}

void make_dropout_words(const Device& device, uint32_t* words, int64_t max_k, uint32_t site) {
  const int blocks = static_cast<int>(dropout_words_bytes(max_k) / 16);
  if (blocks == 0) return;
  dropout_words_kernel<<<ceil_div(blocks, kThreads), kThreads, 0, device.stream>>>(
      reinterpret_cast<uint4*>(words), blocks, device.state, site);
  check_launch("attention dropout");
}

}  // namespace strobe::cuda
