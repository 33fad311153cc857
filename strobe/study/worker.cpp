#include "strobe/study/worker.h"

#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "strobe/core/error.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

// Machines of a shared folder may have the same process ids, and an id comes again.
std::string unique_id() {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return fmt::format("{}-{}-{:x}", host, ::getpid(),
                     std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

}  // namespace

Worker::Worker(std::string folder) : folder_(std::move(folder)), id_(unique_id()) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail("study: cannot make {}: {}", folder_, error.message());
  lock_ = std::make_unique<FileLock>(folder_ + "/" + id_, "this study");
}

Worker::~Worker() {
  std::error_code error;
  fs::remove(folder_ + "/" + id_, error);
}

bool Worker::alive(const std::string& id) const {
  if (id == id_) return true;
  const std::string file = folder_ + "/" + id;
  if (!fs::exists(file)) return false;
  try {
    const FileLock free(file, id);
  } catch (const Error&) {
    return true;
  }
  std::error_code error;
  fs::remove(file, error);
  return false;
}

}  // namespace strobe
