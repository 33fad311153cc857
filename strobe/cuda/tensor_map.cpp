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

}  // namespace

CUtensorMap head_rows_map(const HeadRows& x, int64_t rows, int64_t heads, int64_t head_dim,
                          int box_rows) {
  static const auto encode = tensor_map_encoder();
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(head_dim), static_cast<cuuint64_t>(rows),
                              static_cast<cuuint64_t>(heads)};
  // A stride that no second element uses may be anything: TMA wants a multiple of 16 bytes.
  const auto bytes = [](int64_t stride, int64_t size) {
    return static_cast<cuuint64_t>(size > 1 ? 2 * stride : 16);
  };
  const cuuint64_t strides[] = {bytes(x.row, rows), bytes(x.head, heads)};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows), 1};
  const cuuint32_t steps[] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, x.data, sizes, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(result == CUDA_SUCCESS, "tensor map: refused by the driver");
  return map;
}

}  // namespace strobe::cuda
