// The processes of a study, and which of them still run.
#pragma once

#include <memory>
#include <string>

#include "strobe/core/files.h"

namespace strobe {

/// A file in `folder`, locked while this lives; the lock goes with the process, however it ends.
class Worker {
 public:
  explicit Worker(std::string folder);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  const std::string& id() const { return id_; }
  /// Of any process that works, or worked, in the same folder.
  bool alive(const std::string& id) const;

 private:
  std::string folder_, id_;
  std::unique_ptr<FileLock> lock_;
};

}  // namespace strobe
