#include "strobe/core/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <new>
#include <utility>

#include "strobe/core/error.h"

namespace strobe {

namespace fs = std::filesystem;

namespace {

int open_lock(const std::string& file) {
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) fail("lock: cannot open {}: {}", file, std::strerror(errno));
  return descriptor;
}

}  // namespace

FileLock::FileLock(const std::string& file) : descriptor_(open_lock(file)) {
  while (::flock(descriptor_, LOCK_EX) != 0) {
    if (errno == EINTR) continue;
    const int error = errno;
    ::close(descriptor_);
    fail("lock: cannot lock {}: {}", file, std::strerror(error));
  }
}

FileLock::FileLock(const std::string& file, const std::string& what)
    : descriptor_(open_lock(file)) {
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  ::close(descriptor_);
  fail("lock: another process is working on {}; wait for it or stop it", what);
}

FileLock::~FileLock() { ::close(descriptor_); }

MappedFile::MappedFile(const std::string& operation, const std::string& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (fd < 0 || ::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    const int error = errno;
    if (fd >= 0) ::close(fd);
    fail("{}: cannot read {}: {}", operation, file, fd >= 0 ? "not a file" : std::strerror(error));
  }
  const auto size = static_cast<size_t>(status.st_size);
  void* memory = size > 0 ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0) : nullptr;
  ::close(fd);
  if (memory == MAP_FAILED) fail("{}: cannot map {}: {}", operation, file, std::strerror(errno));
  bytes_ = {static_cast<const std::byte*>(memory), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

FileWriter::FileWriter(std::string operation, std::string file)
    : operation_(std::move(operation)), file_(std::move(file)), temporary_(file_ + ".partial") {
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("{}: cannot write {}: {}", operation_, file_, std::strerror(errno));
}

FileWriter::~FileWriter() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void FileWriter::write(const void* data, size_t size) {
  write_at(size_, data, size);
  size_ += static_cast<int64_t>(size);
}

void FileWriter::bypass_cache(bool bypass) {
  const int flags = ::fcntl(descriptor_, F_GETFL);
  const int wanted = bypass ? flags | O_DIRECT : flags & ~O_DIRECT;
  direct_ = flags >= 0 && ::fcntl(descriptor_, F_SETFL, wanted) == 0 && bypass;
}

void FileWriter::write_at(int64_t offset, const void* data, size_t size) {
  const char* from = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::pwrite(descriptor_, from, size, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EINVAL && direct_) {
      bypass_cache(false);
      continue;
    }
    if (written <= 0) fail("{}: cannot write {}: {}", operation_, file_, std::strerror(errno));
    from += written, offset += written, size -= static_cast<size_t>(written);
  }
}

void FileWriter::commit() {
  const bool synced = ::fsync(descriptor_) == 0;
  const bool closed = ::close(std::exchange(descriptor_, -1)) == 0;
  if (!synced || !closed || ::rename(temporary_.c_str(), file_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    fail("{}: cannot write {}: {}", operation_, file_, std::strerror(error));
  }
}

NewFolder::NewFolder(std::string operation, std::string name)
    : operation_(std::move(operation)), name_(std::move(name)) {
  while (name_.size() > 1 && name_.ends_with('/')) name_.pop_back();
  if (name_.empty()) fail("{}: --out DIR says where it goes", operation_);
  if (fs::exists(name_)) fail("{}: {} exists; give another --out, or remove it", operation_, name_);
  path_ = fmt::format("{}.partial-{}", name_, ::getpid());
  std::error_code error;
  fs::remove_all(path_, error);  // of a process that was killed
}

NewFolder::~NewFolder() {
  std::error_code error;
  fs::remove_all(path_, error);
}

void NewFolder::make() const {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) fail("{}: cannot make the folder of {}: {}", operation_, name_, error.message());
}

void NewFolder::finish() const {
  sync_folder(path_);
  std::error_code error;
  fs::rename(path_, name_, error);
  if (error) fail("{}: cannot name {}: {}", operation_, name_, error.message());
  sync_folder(fs::absolute(name_).parent_path());
}

void sync_folder(const std::string& folder) {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

int64_t free_disk_bytes(const std::string& path) {
  fs::path existing = fs::absolute(path);
  while (!fs::exists(existing) && existing.has_parent_path() && existing != existing.root_path())
    existing = existing.parent_path();
  std::error_code error;
  const fs::space_info space = fs::space(existing, error);
  return error ? -1 : static_cast<int64_t>(space.available);
}

uint64_t checksum(std::span<const std::byte> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

StreamingChecksum::StreamingChecksum() : state_(XXH3_createState()) {
  if (!state_) throw std::bad_alloc();
  XXH3_64bits_reset(static_cast<XXH3_state_t*>(state_));
}

StreamingChecksum::~StreamingChecksum() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }

void StreamingChecksum::add(std::span<const std::byte> bytes) {
  XXH3_64bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}

uint64_t StreamingChecksum::value() const {
  return XXH3_64bits_digest(static_cast<XXH3_state_t*>(state_));
}

}  // namespace strobe
