// Writing the StepState in device memory.
#pragma once

#include "strobe/cuda/device.h"

namespace strobe::cuda {

void set_step_state(const Device& device, const StepState& state);
/// Leaves the results as they are.
void set_step_input(const Device& device, const StepInput& input);

}  // namespace strobe::cuda
