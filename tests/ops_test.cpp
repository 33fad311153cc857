// Every op of the backend against a double-precision reference.
#include <gtest/gtest.h>

#include <random>

#include "strobe/ops/make_backend.h"

namespace strobe {
namespace {

TEST(Matmul, MatchesDouble) {
  auto ops = make_backend("auto");
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true}) {
        const int64_t m = 77, n = 130, k = 45;
        std::mt19937 random(1);
        std::normal_distribution<float> normal;
        std::vector<float> a(m * k), b(k * n), c(m * n, 1.0f);
        for (float& x : a) x = to_float(to_bf16(normal(random)));
        for (float& x : b) x = to_float(to_bf16(normal(random)));
        std::vector<bf16> a16(m * k), b16(k * n);
        for (int i = 0; i < m * k; ++i) a16[i] = to_bf16(a[i]);
        for (int i = 0; i < k * n; ++i) b16[i] = to_bf16(b[i]);
        const bool half = dtype == DType::bf16;
        Tensor at(half ? (void*)a16.data() : a.data(), dtype, {ta ? k : m, ta ? m : k});
        Tensor bt(half ? (void*)b16.data() : b.data(), dtype, {tb ? n : k, tb ? k : n});
        if (ta) at = at.transposed();
        if (tb) bt = bt.transposed();
        Tensor ct(c.data(), DType::f32, {m, n});
        ops->matmul(ct, at, bt, true);
        for (int i = 0; i < m; ++i)
          for (int j = 0; j < n; ++j) {
            double sum = 1;
            for (int l = 0; l < k; ++l)
              sum += double(a[i * at.strides[0] + l * at.strides[1]]) *
                     b[l * bt.strides[0] + j * bt.strides[1]];
            ASSERT_NEAR(c[i * n + j], sum, 1e-4);
          }
      }
}

}  // namespace
}  // namespace strobe
