// The measured peak of multiply-adds: on every instruction set, and never below what a product
// does.
#include "strobe/cpu/peak.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "strobe/cpu/isa_select.h"
#include "strobe/ops/make_backend.h"

namespace strobe {
namespace {

TEST(Peak, IsAboveWhatProductsReach) {
  const auto backend = make_backend("cpu");
  constexpr int64_t n = 512;
  std::vector<float> memory(3 * n * n, 0.5f);
  for (int i = 0; i <= static_cast<int>(cpu::widest_isa()); ++i) {
    cpu::set_isa(static_cast<cpu::Isa>(i));
    SCOPED_TRACE(cpu::name_of(cpu::isa()));
    const DeviceInfo info = backend->info();
    EXPECT_GT(info.peak(DType::f32), 1e8);
    EXPECT_GT(info.peak(DType::bf16), 1e8);
    EXPECT_EQ(backend->info().peak_flops, info.peak_flops) << "measured once";
  }
  // oneDNN fixes its instruction set at its first product, which is the widest here.
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor a(memory.data(), dtype, {n, n}), b(memory.data() + n * n, dtype, {n, n});
    const Tensor c(memory.data() + 2 * n * n, dtype, {n, n});
    double best = 1e9;
    for (int i = 0; i < 10; ++i)
      best = std::min(best, backend->seconds("product", [&] { backend->matmul(c, a, b); }));
    EXPECT_LT(2.0 * n * n * n / best, 1.5 * backend->info().peak(dtype)) << name_of(dtype);
  }
}

}  // namespace
}  // namespace strobe
