#include "strobe/cuda/gemm.h"

#include <cublasLt.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "strobe/core/error.h"
#include "strobe/cuda/gemm_plans.h"

namespace strobe::cuda {

namespace {

constexpr int kCandidates = 8;     // that tuning times
constexpr int kTimedLaunches = 5;  // of each; the shortest counts

void check_cublas(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    fail("{}: cuBLASLt reports {}", what, cublasLtGetStatusString(status));
}

cudaDataType_t type_of(DType dtype) {
  check(dtype == DType::f32 || dtype == DType::bf16, "cuda: products are of f32 or bf16");
  return dtype == DType::f32 ? CUDA_R_32F : CUDA_R_16BF;
}

cublasLtEpilogue_t library_epilogue(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::none: return CUBLASLT_EPILOGUE_DEFAULT;
    case Epilogue::bias: return CUBLASLT_EPILOGUE_BIAS;
    case Epilogue::gelu_bias: return CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
    case Epilogue::dgelu: return CUBLASLT_EPILOGUE_DGELU;
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
}

// A matrix as the library sees it: `rows` elements lie together, columns `ld` apart.
struct ColumnMajor {
  int64_t rows, columns, ld;
  bool transposed;  // it holds x itself, not x^T
};

ColumnMajor column_major(const Tensor& x) {
  check(x.rank == 2 && (x.strides[1] == 1 || x.strides[0] == 1),
        "cuda: operands of products are matrices with one stride of 1");
  const bool transposed = x.strides[1] != 1;
  const int64_t rows = transposed ? x.dim(0) : x.dim(1);
  const int64_t columns = transposed ? x.dim(1) : x.dim(0);
  return {rows, columns, std::max(transposed ? x.strides[1] : x.strides[0], rows), transposed};
}

int64_t alignment_of(const void* pointer) {
  constexpr uintptr_t kMost = 256;
  const auto address = reinterpret_cast<uintptr_t>(pointer) | kMost;
  return static_cast<int64_t>(address & -address);
}

template <class T>
void set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, T value) {
  check_cublas(cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof(value)), "matmul");
}

cublasLtMatrixLayout_t layout(DType dtype, const ColumnMajor& x, int64_t batch, int64_t stride) {
  cublasLtMatrixLayout_t out = nullptr;
  check_cublas(cublasLtMatrixLayoutCreate(&out, type_of(dtype), static_cast<uint64_t>(x.rows),
                                          static_cast<uint64_t>(x.columns), x.ld),
               "matmul");
  if (batch > 1) {
    const auto count = static_cast<int32_t>(batch);
    cublasLtMatrixLayoutSetAttribute(out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                     sizeof(count));
    cublasLtMatrixLayoutSetAttribute(out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                     sizeof(stride));
  }
  return out;
}

// With c row-major: a column-major c would be c^T = b^T a^T of row-major ones.
Product with_row_major_c(const Product& product) {
  if (product.c.strides[1] == 1) return product;
  check(product.epilogue == Epilogue::none && !product.addend,
        "cuda: an epilogue or addend takes a row-major output");
  Product out = product;
  out.c = product.c.transposed();
  out.a = product.b.transposed(), out.b = product.a.transposed();
  out.a_stride = product.b_stride, out.b_stride = product.a_stride;
  return out;
}

}  // namespace

struct Gemm::Plan {
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  std::vector<cublasLtMatmulHeuristicResult_t> candidates;
  bool possible = false;

  ~Plan() {
    if (c) cublasLtMatrixLayoutDestroy(c);
    if (b) cublasLtMatrixLayoutDestroy(b);
    if (a) cublasLtMatrixLayoutDestroy(a);
    if (desc) cublasLtMatmulDescDestroy(desc);
  }
};

Gemm::Gemm(const BackendOptions& options) : options_(options) {
  cublasLtHandle_t handle = nullptr;
  check_cublas(cublasLtCreate(&handle), "matmul");
  handle_ = handle;
  check_cuda(cudaMalloc(reinterpret_cast<void**>(&workspace_), kWorkspaceBytes), "matmul");
  if (options_.tune_gemm) set_plans(read_cached_plans(library_version()));
}

Gemm::~Gemm() {
  if (options_.tune_gemm) write_cached_plans(library_version(), plans());
  plans_.clear();
  cudaFree(workspace_);
  cublasLtDestroy(static_cast<cublasLtHandle_t>(handle_));
}

std::string Gemm::library_version() {
  const size_t version = cublasLtGetVersion();
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::string Gemm::plans() const {
  return chosen_.empty() ? "" : plans_text(library_version(), chosen_);
}

void Gemm::set_plans(const std::string& text) {
  for (auto& [key, algorithm] : parse_plans(library_version(), text)) chosen_[key] = algorithm;
  plans_.clear();
}

Gemm::Key Gemm::key_of(const Product& p) const {
  const ColumnMajor c = column_major(p.c), a = column_major(p.a), b = column_major(p.b);
  const int64_t aux = p.aux ? column_major(p.aux).ld : 0;
  const int64_t others =
      std::min(p.aux ? alignment_of(p.aux.data) : 256, p.bias ? alignment_of(p.bias.data) : 256);
  return {static_cast<int64_t>(p.a.dtype),
          static_cast<int64_t>(p.c.dtype),
          static_cast<int64_t>(p.epilogue),
          p.accumulate || p.addend,
          c.rows,
          c.columns,
          p.a.dim(1),
          a.transposed,
          b.transposed,
          a.ld,
          b.ld,
          c.ld,
          aux,
          p.batch,
          p.a_stride * (p.batch > 1),
          p.b_stride * (p.batch > 1),
          p.c_stride * (p.batch > 1),
          alignment_of(p.a.data),
          alignment_of(p.b.data),
          std::min({alignment_of(p.c.data), p.addend ? alignment_of(p.addend.data) : 256, others})};
}

Gemm::Plan& Gemm::plan_for(const Device& device, const Product& p) {
  const Key key = key_of(p);
  if (const auto found = plans_.find(key); found != plans_.end()) return *found->second;
  const ColumnMajor c = column_major(p.c), a = column_major(p.a), b = column_major(p.b);
  auto plan = std::make_unique<Plan>();
  const bool rounded = p.a.dtype == DType::f32 && options_.tf32;
  check_cublas(
      cublasLtMatmulDescCreate(
          &plan->desc, rounded ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
      "matmul");
  set(plan->desc, CUBLASLT_MATMUL_DESC_TRANSA, b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(plan->desc, CUBLASLT_MATMUL_DESC_TRANSB, a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(plan->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, library_epilogue(p.epilogue));
  if (p.bias) {
    set(plan->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(p.bias.dtype));
    set(plan->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias.data);
  }
  if (p.aux) {
    set(plan->desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, column_major(p.aux).ld);
    set(plan->desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.aux.data);
  }
  plan->a = layout(p.b.dtype, b, p.batch, p.b_stride);
  plan->b = layout(p.a.dtype, a, p.batch, p.a_stride);
  plan->c = layout(p.c.dtype, c, p.batch, p.c_stride);

  cublasLtMatmulPreference_t preference = nullptr;
  check_cublas(cublasLtMatmulPreferenceCreate(&preference), "matmul");
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value));
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kWorkspaceBytes));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(key[18]));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(key[17]));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(key[19]));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(key[19]));
  // Parts of a sum over k are added in f32, in a fixed order: never in an output of 8 bits'
  // precision.
  uint32_t sums = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  if (p.c.dtype == DType::f32) sums = CUBLASLT_REDUCTION_SCHEME_MASK;
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, sums);
  plan->candidates.resize(options_.tune_gemm ? kCandidates : 1);
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      static_cast<cublasLtHandle_t>(handle_), plan->desc, plan->a, plan->b, plan->c, plan->c,
      preference, static_cast<int>(plan->candidates.size()), plan->candidates.data(), &found);
  cublasLtMatmulPreferenceDestroy(preference);
  plan->candidates.resize(status == CUBLAS_STATUS_SUCCESS ? static_cast<size_t>(found) : 0);
  plan->possible = !plan->candidates.empty();
  if (plan->possible) {
    plan->algorithm = plan->candidates.front().algo;
    const std::string name = plan_key_text(key.data(), key.size());
    const auto chosen = chosen_.find(name);
    cublasLtMatmulAlgo_t algorithm{};
    cublasLtMatmulHeuristicResult_t checked;
    if (chosen != chosen_.end() && from_hex(chosen->second, &algorithm, sizeof(algorithm)) &&
        cublasLtMatmulAlgoCheck(static_cast<cublasLtHandle_t>(handle_), plan->desc, plan->a,
                                plan->b, plan->c, plan->c, &algorithm,
                                &checked) == CUBLAS_STATUS_SUCCESS &&
        checked.workspaceSize <= kWorkspaceBytes) {
      plan->algorithm = algorithm;
    } else if (options_.tune_gemm) {
      tune(device, *plan, p);
      chosen_[name] = to_hex(&plan->algorithm, sizeof(plan->algorithm));
    }
  }
  return *plans_.emplace(key, std::move(plan)).first->second;
}

void Gemm::launch(const Device& device, const Plan& plan, const Product& p, void* d) {
  if (p.bias) set(plan.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias.data);
  if (p.aux) set(plan.desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.aux.data);
  const float beta = p.accumulate || p.addend ? p.beta : 0.0f;
  const void* const addend = p.addend ? p.addend.data : p.c.data;
  check_cublas(cublasLtMatmul(static_cast<cublasLtHandle_t>(handle_), plan.desc, &p.alpha, p.b.data,
                              plan.a, p.a.data, plan.b, &beta, addend, plan.c, d, plan.c,
                              &plan.algorithm, workspace_, kWorkspaceBytes, device.stream),
               "matmul");
}

// Times the library's candidates on the operands themselves. What accumulates is written elsewhere
// meanwhile, and left to the heuristic's choice where there is no room for that.
void Gemm::tune(const Device& device, Plan& plan, const Product& p) {
  void* d = p.c.data;
  if (p.accumulate) {
    const int64_t bytes =
        (column_major(p.c).columns * column_major(p.c).ld + p.c_stride * (p.batch - 1)) *
        size_of(p.c.dtype);
    if (cudaMalloc(&d, static_cast<size_t>(bytes)) != cudaSuccess) {
      cudaGetLastError();
      return;
    }
  }
  cudaEvent_t begin = nullptr, end = nullptr;
  check_cuda(cudaEventCreate(&begin), "matmul");
  check_cuda(cudaEventCreate(&end), "matmul");
  float best = 0;
  cublasLtMatmulAlgo_t chosen = plan.algorithm;
  for (const cublasLtMatmulHeuristicResult_t& candidate : plan.candidates) {
    plan.algorithm = candidate.algo;
    float shortest = 0;
    for (int i = 0; i <= kTimedLaunches; ++i) {
      check_cuda(cudaEventRecord(begin, device.stream), "matmul");
      launch(device, plan, p, d);
      check_cuda(cudaEventRecord(end, device.stream), "matmul");
      check_cuda(cudaEventSynchronize(end), "matmul");
      float took = 0;
      check_cuda(cudaEventElapsedTime(&took, begin, end), "matmul");
      if (i == 1 || (i > 1 && took < shortest)) shortest = took;
    }
    if (best == 0 || shortest < best) best = shortest, chosen = candidate.algo;
  }
  plan.algorithm = chosen;
  cudaEventDestroy(begin), cudaEventDestroy(end);
  if (p.accumulate) cudaFree(d);
}

bool Gemm::can(const Device& device, const Product& product) {
  return plan_for(device, with_row_major_c(product)).possible;
}

void Gemm::run(const Device& device, const Product& product) {
  const Product p = with_row_major_c(product);
  check(p.a.dtype == p.b.dtype, "cuda: a product's operands are alike");
  check(!p.addend || (p.addend.shape == p.c.shape && p.addend.strides == p.c.strides &&
                      p.addend.dtype == p.c.dtype && !p.accumulate),
        "cuda: a product's addend lies as its output does");
  check(p.a.dim(0) == p.c.dim(0) && p.b.dim(1) == p.c.dim(1) && p.a.dim(1) == p.b.dim(0),
        "cuda: shapes of a product");
  if (p.c.numel() == 0) return;
  const Plan& plan = plan_for(device, p);
  if (!plan.possible)
    fail("matmul: cuBLASLt {} has no algorithm for {} = {} times {}", library_version(),
         to_string(p.c), to_string(p.a), to_string(p.b));
  launch(device, plan, p, p.c.data);
}

}  // namespace strobe::cuda
