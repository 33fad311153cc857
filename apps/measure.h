// Timing that knows when the machine was busy with something else.
#pragma once

#include <functional>
#include <initializer_list>

#include "strobe/ops/backend.h"

namespace strobe {

/// The best of several runs of a body; on a device that runs ops after they return, the median.
struct Measured {
  double seconds = 0;  // of the shortest run that did not wait for a core
  double waited = 0;   // seconds that all runs' threads spent ready, without a core, over wall time
  /// No run went undisturbed, or the typical one took twice the best: `seconds` means nothing.
  bool busy = false;
};

/// Runs `body`, which issues ops on `backend`, once to warm up, then until `least` seconds of
/// undisturbed runs are in, or four times that long on a busy machine.
Measured measure(Backend& backend, const std::function<void()>& body, double least = 0.2);

/// A tensor in a backend's memory, filled with normally distributed numbers (ids: zeros).
class Buffer {
 public:
  Buffer(Backend& backend, DType dtype, std::initializer_list<int64_t> shape);
  ~Buffer() { backend_.release(tensor_.data); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  operator Tensor() const { return tensor_; }
  const Tensor& tensor() const { return tensor_; }

 private:
  Backend& backend_;
  Tensor tensor_;
};

/// Bytes read and written a second by a copy of `bytes`.
Measured measure_copy(Backend& backend, int64_t bytes);

}  // namespace strobe
