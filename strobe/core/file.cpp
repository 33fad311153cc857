#include "strobe/core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "strobe/core/error.h"

namespace strobe {
namespace {

// Closes when it goes; close() tells of errors.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool close() { return fd_ < 0 || ::close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace

std::string read_file(std::string_view operation, const std::string& file, int64_t largest) {
  const auto refuse = [&](const char* why) {
    fail("{}: cannot read {}: {}", operation, file, why);
  };
  Descriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status;
  if (in.get() < 0 || ::fstat(in.get(), &status) != 0) refuse(std::strerror(errno));
  if (S_ISDIR(status.st_mode)) refuse("it is a folder");
  std::string bytes;
  size_t size = 0;
  while (true) {
    if (static_cast<int64_t>(size) > largest)
      fail("{}: {} has more than the {} bytes that are accepted", operation, file, largest);
    bytes.resize(size + (size_t{1} << 20));
    const ssize_t got = ::read(in.get(), bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse(std::strerror(errno));
    size += static_cast<size_t>(got);
    if (got == 0) break;
  }
  bytes.resize(size);
  return bytes;
}

namespace {

// What is there and is no regular file (a device, a pipe) takes bytes and cannot be replaced.
bool is_stream(const std::string& file) {
  struct stat status;
  return ::stat(file.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
}

// The file that a symbolic link names, so that it and not the link is replaced.
std::string link_target(const std::string& file) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(file.c_str(), nullptr), std::free);
  return real ? real.get() : file;
}

}  // namespace

void write_file(std::string_view operation, const std::string& name, std::string_view bytes) {
  if (is_stream(name)) {
    Descriptor out(::open(name.c_str(), O_WRONLY | O_CLOEXEC));
    if (out.get() < 0 || !write_all(out.get(), bytes) || !out.close())
      fail("{}: cannot write {}: {}", operation, name, std::strerror(errno));
    return;
  }
  const std::string file = link_target(name);
  const std::string temporary = fmt::format("{}.{}.tmp", file, ::getpid());
  Descriptor out(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  const bool written = out.get() >= 0 && write_all(out.get(), bytes) && ::fsync(out.get()) == 0 &&
                       out.close() && std::rename(temporary.c_str(), file.c_str()) == 0;
  if (!written) {
    const int error = errno;
    ::unlink(temporary.c_str());
    fail("{}: cannot write {}: {}", operation, file, std::strerror(error));
  }
  const size_t slash = file.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : file.substr(0, slash + 1);
  Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0)
    fail("{}: cannot sync {}: {}", operation, folder, std::strerror(errno));
}

}  // namespace strobe
