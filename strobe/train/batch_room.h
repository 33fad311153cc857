// A batch in the backend's memory: one block, written by one upload.
#pragma once

#include <cstdint>
#include <vector>

#include "strobe/data/batches.h"
#include "strobe/model/context.h"

namespace strobe {

/// Where the parts of a batch lie depends on its numbers of rows alone, so that what a device
/// recorded with one batch holds for others of its shape.
class BatchRoom {
 public:
  struct Size {
    int64_t rows = 0;       // at most
    int64_t scored = 0;     // rows that have a loss, at most
    int64_t sequences = 0;  // that attend apart, at most
    int64_t length = 0;     // of a block
    bool picks = false;     // whether the head picks its rows
  };

  BatchRoom() = default;
  /// Takes its memory from `arena`.
  BatchRoom(const Size& size, Arena& arena);

  /// The largest batch that there may be.
  Batch largest() const { return lay_out(size_.rows, size_.scored, memory_).batch; }
  Batch upload(Backend& ops, const HostBatch& batch);

 private:
  struct Layout {
    Batch batch;
    int64_t bytes;  // that it takes
  };
  /// Over `memory`, or over none where that is empty.
  Layout lay_out(int64_t rows, int64_t scored, Tensor memory) const;
  /// Where attention begins anew, for as many sequences as there may be.
  std::vector<int32_t> starts_of(const HostBatch& batch) const;

  Size size_;
  Tensor memory_;
  std::vector<char> staged_;  // the batch in host memory, laid out as on the device
};

}  // namespace strobe
