// A backend that times every op of another one.
#pragma once

#include <chrono>

#include "strobe/ops/counting_backend.h"

namespace strobe {

class ProfilingBackend final : public CountingBackend {
 public:
  /// `real` must outlive this. Only for backends whose ops have run when they return.
  explicit ProfilingBackend(Backend& real) : CountingBackend(real) {}

  void* allocate(int64_t bytes) override { return real_.allocate(bytes); }
  void release(void* memory) override { real_.release(memory); }
  void upload(Tensor dst, const void* src) override { real_.upload(dst, src); }
  void download(void* dst, Tensor src) override { real_.download(dst, src); }
  void set_step_state(const StepState& state) override { real_.set_step_state(state); }
  StepState step_state() override { return real_.step_state(); }

 protected:
  void run(OpTotal& total, const std::function<void()>& execute) override {
    const auto begin = std::chrono::steady_clock::now();
    execute();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    total.seconds += taken.count();
  }
};

}  // namespace strobe
