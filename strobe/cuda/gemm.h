// Matrix products through cuBLASLt: one plan (layouts and algorithm) for each shape, made when it
// is first met.
//
// The library thinks in columns: a row-major matrix is its transpose there, so c = a b is asked for
// as c^T = b^T a^T and nothing is copied. Sums are made in f32; the library's algorithms are
// deterministic, and the plan is a function of the shape, so the same call gives the same bits.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "strobe/cuda/device.h"

namespace strobe::cuda {

/// What happens to a product before it is stored.
enum class Epilogue {
  none,
  bias,       // c = a b + bias, by rows
  gelu_bias,  // aux = a b + bias;  c = gelu(aux), the tanh one
  dgelu,      // c = (a b) * gelu'(aux)
};

/// c = alpha a b, c += alpha a b, or c = alpha a b + beta addend, which lies as c does.  c (M, N),
/// a (M, K), b (K, N); each with one stride of 1. With batch > 1, the same product of matrices that
/// lie `*_stride` elements apart.
struct Product {
  Tensor c = {}, a = {}, b = {};
  bool accumulate = false;
  float alpha = 1;
  Tensor addend = {};
  float beta = 1;
  Epilogue epilogue = Epilogue::none;
  Tensor bias = {}, aux = {};
  int64_t batch = 1, c_stride = 0, a_stride = 0, b_stride = 0;
};

class Gemm {
 public:
  explicit Gemm(const BackendOptions& options);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  /// Throws Error where the library cannot: it takes any size and alignment without an epilogue.
  void run(const Device& device, const Product& product);
  /// Whether the library has this one; makes its plan.
  bool can(const Device& device, const Product& product);

  /// Plans chosen by timing, a line each: key, colon, algorithm.
  std::string plans() const;
  void set_plans(const std::string& text);

  /// Device memory for the library's own use.
  static constexpr int64_t kWorkspaceBytes = 32 << 20;
  static std::string library_version();

 private:
  struct Plan;
  using Key = std::array<int64_t, 20>;

  Key key_of(const Product& product) const;
  Plan& plan_for(const Device& device, const Product& product);
  void launch(const Device& device, const Plan& plan, const Product& product, void* d);
  void tune(const Device& device, Plan& plan, const Product& product);

  BackendOptions options_;
  void* handle_ = nullptr;  // cublasLtHandle_t
  char* workspace_ = nullptr;
  std::map<Key, std::unique_ptr<Plan>> plans_;
  std::map<std::string, std::string> chosen_;  // by timing: key and algorithm as text
};

}  // namespace strobe::cuda
