// When the GPU was busy, as the driver's profiling library (CUPTI) sees it.
#pragma once

namespace strobe::cuda {

/// Watches kernels, copies and fills while it lives; one at a time. Does nothing where there is no
/// such library.
class ActivityWatch {
 public:
  ActivityWatch();
  ~ActivityWatch();
  ActivityWatch(const ActivityWatch&) = delete;
  ActivityWatch& operator=(const ActivityWatch&) = delete;

  /// Forgets what ended before; the GPU must be at rest.
  void restart();
  /// Of the time from the first begin to the last end, the share that something ran. NaN where
  /// nothing was seen.
  double busy_share();

 private:
  struct Library;
  Library* library_ = nullptr;
};

}  // namespace strobe::cuda
