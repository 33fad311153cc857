// A backend that times every op of another one.
#pragma once

#include "strobe/ops/counting_backend.h"

namespace strobe {

class ProfilingBackend : public CountingBackend {
 public:
  /// `real` must outlive this. The host waits for every op, and nothing is replayed.
  explicit ProfilingBackend(Backend& real) : CountingBackend(real) {}

  void* allocate(int64_t bytes) override { return real_.allocate(bytes); }
  void release(void* memory) override { real_.release(memory); }
  void upload(Tensor dst, const void* src) override { real_.upload(dst, src); }
  void download(void* dst, Tensor src) override { real_.download(dst, src); }
  int64_t start_download(Tensor src) override { return real_.start_download(src); }
  StepState finish_download(int64_t ticket, void* dst) override {
    return real_.finish_download(ticket, dst);
  }
  void set_step_state(const StepState& state) override { real_.set_step_state(state); }
  void set_step_input(const StepInput& input) override { real_.set_step_input(input); }
  StepState step_state() override { return real_.step_state(); }

 protected:
  void run(const std::string& name, OpTotal& total, const std::function<void()>& execute) override {
    total.seconds += real_.seconds(name, execute);
  }
};

}  // namespace strobe
