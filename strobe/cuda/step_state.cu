// Values travel as a kernel's arguments: no host memory has to outlive the call.
#include "strobe/cuda/step_state.h"

namespace strobe::cuda {

namespace {

__global__ void write_state(StepState* state, StepState value) { *state = value; }

// Member by member: a StepState may keep results in the padding behind its StepInput.
__global__ void write_input(StepState* state, StepInput value) {
  state->seed = value.seed, state->step = value.step, state->micro_step = value.micro_step;
  state->lr = value.lr, state->loss_scale = value.loss_scale;
  state->decay_scale = value.decay_scale, state->momentum_scale = value.momentum_scale;
  state->average = value.average;
}

}  // namespace

void set_step_state(const Device& device, const StepState& state) {
  write_state<<<1, 1, 0, device.stream>>>(device.state, state);
  check_launch("step state");
}

void set_step_input(const Device& device, const StepInput& input) {
  write_input<<<1, 1, 0, device.stream>>>(device.state, input);
  check_launch("step state");
}

}  // namespace strobe::cuda
