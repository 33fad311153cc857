// Timing that knows when the machine was busy with something else.
#pragma once

#include <functional>
#include <initializer_list>
#include <vector>

#include "strobe/ops/backend.h"

namespace strobe {

/// The best of several runs of a body; on a device that runs ops after they return, the median.
struct Measured {
  double seconds = 0;  // of the shortest run that did not wait for a core
  double median = 0;   // of the runs that did not
  double waited = 0;   // seconds that all runs' threads spent ready, without a core, over wall time
  /// No run went undisturbed, or the typical one took twice the best: the times mean nothing.
  bool busy = false;
};

/// Runs timed one after the other. Those count whose threads hardly waited for a core.
class Timings {
 public:
  /// Without `watch_threads` every run counts: a device that is kept busy does not mind the host.
  explicit Timings(bool watch_threads = true) : watch_threads_(watch_threads) {}

  /// Times body(), which runs `repeats` times what is measured.
  void time(const std::function<void()>& body, int64_t repeats = 1) {
    begin(), body(), end(repeats);
  }
  void begin();
  void end(int64_t repeats = 1);
  /// A run that something else has timed.
  void add(double seconds) { record(seconds, 0, 1); }

  size_t runs() const { return all_.size(); }
  size_t clean_runs() const { return clean_.size(); }
  double clean_seconds() const { return clean_seconds_; }
  double seconds() const { return seconds_; }  // of all runs
  Measured result() const;

 private:
  void record(double seconds, double waited, int64_t repeats);

  bool watch_threads_;
  std::vector<double> clean_, all_;
  double clean_seconds_ = 0, seconds_ = 0, waited_ = 0;
  double begun_ = 0, waited_before_ = 0;
};

/// Runs `body`, which issues ops on `backend`, once to warm up, then until `least` seconds of
/// undisturbed runs are in, or four times that long on a busy machine.
Measured measure(Backend& backend, const std::function<void()>& body, double least = 0.2);

/// Fills a tensor of f32 or bf16 with normally distributed numbers, others with zeros. Some
/// are drawn for each `stream` and repeated: drawing every one would take longer than what is
/// measured.
void upload_normal(Backend& backend, const Tensor& x, uint32_t stream);

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
