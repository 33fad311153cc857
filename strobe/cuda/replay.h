// Sequences of ops, recorded once as CUDA graphs and launched as a whole from then on.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "strobe/cuda/device.h"

namespace strobe::cuda {

class Replays {
 public:
  explicit Replays(cudaStream_t stream) : stream_(stream) {}
  ~Replays() { forget(); }
  Replays(const Replays&) = delete;
  Replays& operator=(const Replays&) = delete;

  /// Runs `body` the first time, which loads kernels and chooses algorithms; records it the second
  /// time; launches the record from then on.
  void run(std::string_view key, const std::function<void()>& body);
  /// The operands' memory goes: nothing recorded may be launched again.
  void forget();

 private:
  cudaStream_t stream_;
  std::map<std::string, cudaGraphExec_t, std::less<>> records_;  // null: ran once
};

}  // namespace strobe::cuda
