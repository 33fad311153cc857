// When the GPU was busy, as the driver's profiling library (CUPTI) sees it.
#pragma once

#include <functional>

namespace strobe::cuda {

/// Seconds during which a kernel, a copy or a fill ran while `body` did, which must wait for the
/// GPU at its end. What ran at the same time counts once. NaN where there is no such library.
double busy_seconds(const std::function<void()>& body);

}  // namespace strobe::cuda
