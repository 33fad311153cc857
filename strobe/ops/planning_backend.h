// A backend that computes nothing: it runs a step over a measuring Arena, so that the step's memory
// and FLOPs are known before the first real one. It never reads an operand.
#pragma once

#include "strobe/core/error.h"
#include "strobe/ops/counting_backend.h"

namespace strobe {

class PlanningBackend final : public CountingBackend {
 public:
  /// Questions about shapes and workspaces are answered by `real`, which must outlive this.
  explicit PlanningBackend(Backend& real) : CountingBackend(real) {}

  void* allocate(int64_t) override {
    fail("plan: memory is not allocated while planning; use a measuring arena");
  }
  void release(void*) override {}
  void upload(Tensor, const void*) override {}
  void download(void*, Tensor) override {}
  int64_t start_download(Tensor) override { return 0; }
  StepState finish_download(int64_t, void*) override { return state_; }
  void set_step_state(const StepState& state) override { state_ = state; }
  void set_step_input(const StepInput& input) override { static_cast<StepInput&>(state_) = input; }
  StepState step_state() override { return state_; }

 protected:
  void run(const std::string&, OpTotal&, const std::function<void()>&) override {}

 private:
  StepState state_;
};

}  // namespace strobe
