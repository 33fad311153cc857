#include "strobe/cuda/tensor_map.h"

#include "strobe/core/error.h"

namespace strobe::cuda {

namespace {

// Asked of the driver at run time, so that nothing links with libcuda.
decltype(&cuTensorMapEncodeTiled) tensor_map_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check_cuda(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                              cudaEnableDefault, &found),
             "tensor map");
  if (found != cudaDriverEntryPointSuccess)
    fail("tensor map: this driver has no cuTensorMapEncodeTiled; CUDA 12 has");
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

CUtensorMap encode_map(int rank, void* data, const cuuint64_t* sizes, const cuuint64_t* strides,
                       const cuuint32_t* box) {
  static const auto encode = tensor_map_encoder();
  const cuuint32_t steps[] = {1, 1, 1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, static_cast<cuuint32_t>(rank), data, sizes,
             strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(result == CUDA_SUCCESS, "tensor map: refused by the driver");
  return map;
}

}  // namespace

CUtensorMap head_rows_map(const HeadRows& x, int64_t rows, int64_t heads, int64_t head_dim,
                          int box_rows) {
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(head_dim), static_cast<cuuint64_t>(rows),
                              static_cast<cuuint64_t>(heads)};
  // A stride that no second element uses may be anything: TMA wants a multiple of 16 bytes.
  const auto bytes = [](int64_t stride, int64_t size) {
    return static_cast<cuuint64_t>(size > 1 ? 2 * stride : 16);
  };
  const cuuint64_t strides[] = {bytes(x.row, rows), bytes(x.head, heads)};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows), 1};
  return encode_map(3, x.data, sizes, strides, box);
}

CUtensorMap regrouped_rows_map(const bf16* x, int64_t rows, int64_t columns, int64_t row_stride,
                               int box_groups) {
  // From the inside: element; e, t and b of the row within its group; group.
  const auto size = [](int64_t n) { return static_cast<cuuint64_t>(n); };
  const cuuint64_t sizes[] = {size(columns), 2, 4, 4, size(rows / 32)};
  const cuuint64_t bytes = size(2 * row_stride);
  const cuuint64_t strides[] = {bytes, 8 * bytes, 2 * bytes, 32 * bytes};
  const cuuint32_t box[] = {64, 2, 4, 4, static_cast<cuuint32_t>(box_groups)};
  return encode_map(5, const_cast<bf16*>(x), sizes, strides, box);
}

}  // namespace strobe::cuda
