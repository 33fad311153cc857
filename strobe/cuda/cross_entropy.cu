// Softmax cross-entropy and its gradient, in place if asked.
//
// A block takes a row. It reads the row once from device memory: while the vectors arrive they go
// to shared memory and into a running maximum and sum of exponentials (Milakov & Gimelshein 2018,
// arXiv:1805.02867), eight elements at a time; then the gradient is computed from shared memory,
// where each thread reads only what it has put there. Rows that do not fit are read twice.
// Traffic: logits once, dlogits once. Shared memory: a row, so that two blocks of bf16 with
// V = 50304 share a Hopper multiprocessor, one reading while the other writes.
#include "strobe/cuda/embedding_loss.h"
#include "strobe/cuda/reduce.cuh"
#include "strobe/cuda/vector.cuh"

namespace strobe::cuda {

namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;
constexpr int kAhead = 4;  // vectors of a thread whose loads are under way together
constexpr float kLowest = -3.4028235e38f;

// sum = sum of exp(x - largest)
struct Softmax {
  float largest, sum;

  __device__ void add(const Floats& x) {
    float top = largest;
#pragma unroll
    for (int j = 0; j < kLanes; ++j) top = fmaxf(top, x[j]);
    sum *= __expf(largest - top);
    largest = top;
#pragma unroll
    for (int j = 0; j < kLanes; ++j) sum += __expf(x[j] - top);
  }
  __device__ void merge(float other_largest, float other_sum) {
    const float top = fmaxf(largest, other_largest);
    sum = sum * __expf(largest - top) + other_sum * __expf(other_largest - top);
    largest = top;
  }
};

// The same in every thread. Merging is symmetric, so a shuffle gives both lanes the same bits.
__device__ Softmax merge_block(Softmax mine) {
  __shared__ Softmax of_warp[kWarps];
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    mine.merge(__shfl_xor_sync(kFullWarp, mine.largest, distance),
               __shfl_xor_sync(kFullWarp, mine.sum, distance));
  if (lane_id() == 0) of_warp[warp_id()] = mine;
  __syncthreads();
  Softmax total = of_warp[0];
  for (int i = 1; i < kWarps; ++i) total.merge(of_warp[i].largest, of_warp[i].sum);
  return total;
}

template <class T>
struct Loss {
  float* losses;
  T* dlogits;  // may be null
  const T* logits;
  const int32_t* targets;
  const StepState* state;
  int width, vocab;
  bool keeps, whole;  // the row fits into shared memory; vectors are aligned
  float smoothing, z_loss;
};

template <class T>
__global__ void __launch_bounds__(kThreads, 2) cross_entropy_rows(Loss<T> op) {
  extern __shared__ uint4 row_memory[];
  Packed<T>* const kept = reinterpret_cast<Packed<T>*>(row_memory);
  const int64_t row = blockIdx.x;
  const T* const logits = op.logits + row * op.width;
  T* const dlogits = op.dlogits ? op.dlogits + row * op.width : nullptr;
  const int target = op.targets[row];
  const int vectors = (op.width + kLanes - 1) / kLanes;

  if (target < 0) {
    if (threadIdx.x == 0) op.losses[row] = 0;
    if (dlogits)
      for (int i = threadIdx.x; i < vectors; i += kThreads)
        store_some(dlogits + i * kLanes, Floats{}, op.width - i * kLanes, op.whole);
    return;
  }
  const bool known = target < op.vocab;
  const float aimed = known ? to_float(logits[target]) : __int_as_float(0x7fffffff);

  const auto mask_padding = [&](Floats& x, int i) {
    if ((i + 1) * kLanes <= op.vocab) return;
#pragma unroll
    for (int j = 0; j < kLanes; ++j)
      if (i * kLanes + j >= op.vocab) x[j] = -INFINITY;
  };
  Softmax softmax = {kLowest, 0};
  float logit_sum = 0;  // for label smoothing
  for (int first = threadIdx.x; first < vectors; first += kThreads * kAhead) {
    Packed<T> raw[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int i = first + k * kThreads;
      if (i >= vectors) continue;
      raw[k] = load_packed(logits + i * kLanes, op.width - i * kLanes, op.whole);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int i = first + k * kThreads;
      if (i >= vectors) continue;
      if (op.keeps) kept[i] = raw[k];
      Floats x = unpack(raw[k]);
      mask_padding(x, i);
      softmax.add(x);
      if (op.smoothing > 0)
#pragma unroll
        for (int j = 0; j < kLanes; ++j)
          if (i * kLanes + j < op.vocab) logit_sum += x[j];
    }
  }
  softmax = merge_block(softmax);
  const float log_z = logf(softmax.sum) + softmax.largest;
  float loss = logf(softmax.sum) - (aimed - softmax.largest);
  if (op.smoothing > 0) {
    const float mean = block_sum<kThreads>(logit_sum) / static_cast<float>(op.vocab);
    loss += op.smoothing * (aimed - mean);
  }
  loss += op.z_loss * log_z * log_z;
  if (threadIdx.x == 0) op.losses[row] = loss;
  if (!dlogits) return;

  // d/dx_j of the loss: softmax_j (1 + 2 z_loss log_z) - smoothing / vocab, and at the target.
  const float scale = op.state->loss_scale;
  const float factor = known ? scale * (1.0f + 2.0f * op.z_loss * log_z) / softmax.sum : aimed;
  const float spread = scale * op.smoothing / static_cast<float>(op.vocab);
  const float at_target = scale * (1.0f - op.smoothing);
#pragma unroll 2
  for (int i = threadIdx.x; i < vectors; i += kThreads) {
    const int count = op.width - i * kLanes;
    Floats x = op.keeps ? unpack(kept[i]) : load_some(logits + i * kLanes, count, op.whole);
    mask_padding(x, i);
#pragma unroll
    for (int j = 0; j < kLanes; ++j)
      x[j] = factor * __expf(x[j] - softmax.largest) - (i * kLanes + j < op.vocab ? spread : 0.0f);
    const int at = target - i * kLanes;
    if (at >= 0 && at < kLanes)
#pragma unroll
      for (int j = 0; j < kLanes; ++j)
        if (j == at) x[j] -= at_target;
    store_some(dlogits + i * kLanes, x, count, op.whole);
  }
}

// Shared memory that a block may have, and the kernel's leave to have it: asked once.
template <class T>
int shared_bytes_allowed() {
  static const int allowed = [] {
    int device = 0, bytes = 0;
    check_cuda(cudaGetDevice(&device), "cross_entropy");
    check_cuda(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
               "cross_entropy");
    bytes -= 1024;  // what the kernel has besides
    check_cuda(cudaFuncSetAttribute(cross_entropy_rows<T>,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
               "cross_entropy");
    return bytes;
  }();
  return allowed;
}

}  // namespace

void cross_entropy(const Device& device, Tensor losses, Tensor dlogits, Tensor logits,
                   Tensor targets, const CrossEntropy& op) {
  const int64_t rows = logits.dim(0), width = logits.dim(1);
  check(op.vocab > 0 && op.vocab <= width && width < INT32_MAX,
        "cross-entropy: vocabulary larger than the logits");
  check(losses.numel() == rows && targets.numel() == rows, "cross-entropy: shapes differ");
  if (rows == 0) return;
  with_storage(logits.dtype, [&](auto storage) {
    using T = decltype(storage);
    const int64_t bytes = (width + kLanes - 1) / kLanes * sizeof(Packed<T>);
    const bool keeps = dlogits && bytes <= shared_bytes_allowed<T>();
    const bool whole = width % kLanes == 0 && aligned(logits.data, dlogits.data);
    const Loss<T> loss = {losses.as<float>(),         dlogits.as<T>(), logits.as<T>(),
                          targets.as<int32_t>(),      device.state,    static_cast<int>(width),
                          static_cast<int>(op.vocab), keeps,           whole,
                          op.label_smoothing,         op.z_loss};
    cross_entropy_rows<T><<<rows, kThreads, keeps ? bytes : 0, device.stream>>>(loss);
  });
  check_launch("cross_entropy");
}

}  // namespace strobe::cuda
