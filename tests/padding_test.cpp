// Rows that only round the vocabulary's size up, which no file holds.
#include <gtest/gtest.h>

#include <cstring>

#include "strobe/ops/make_backend.h"
#include "strobe/ops/profiling_backend.h"
#include "strobe/train/engine.h"

namespace strobe {
namespace {

// Of memory in which something lay before: every float of it is NaN.
class UsedMemory final : public ProfilingBackend {
 public:
  explicit UsedMemory(std::unique_ptr<Backend> real)
      : ProfilingBackend(*real), owned_(std::move(real)) {}
  void* allocate(int64_t bytes) override {
    return std::memset(ProfilingBackend::allocate(bytes), 0xff, static_cast<size_t>(bytes));
  }

 private:
  std::unique_ptr<Backend> owned_;
};

// A run that goes on loads what files hold. The gradient of the stream is a product with all rows,
// and 0 times what lay in memory before may be NaN.
TEST(Padding, IsZeroBeforeAnythingIsLoaded) {
  Config config;
  config.backend = "cpu";
  config.model.layers = 1, config.model.channels = 32, config.model.heads = 2;
  config.model.context = 8;
  Engine engine(config, 270, {.training = true, .sequences = 1, .length = 8},
                std::make_unique<UsedMemory>(make_backend("cpu")));
  engine.allocate();
  ASSERT_TRUE(std::isnan(engine.params()[0]->value.as<float>()[0])) << "nothing was loaded";
  int64_t padded = 0;
  for (const Param* param : engine.params()) {
    const int64_t stored = param->stored(param->value).numel();
    for (int64_t i = stored; i < param->value.numel(); ++i, ++padded)
      ASSERT_EQ(param->value.as<float>()[i], 0.0f) << param->name;
  }
  EXPECT_EQ(padded, (320 - 270) * 32);
}

}  // namespace
}  // namespace strobe
