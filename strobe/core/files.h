// Files as this project treats them: nothing half-written under a final name, no size trusted.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace strobe {

/// Holds an exclusive lock on a file (made if absent) until destroyed. The lock goes with the
/// process, however it ends.
class FileLock {
 public:
  /// Throws Error naming `what` if another holds it.
  FileLock(const std::string& file, const std::string& what);
  /// Waits for another that holds it.
  static FileLock wait_for(const std::string& file) { return FileLock(file); }
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  explicit FileLock(const std::string& file);

  int descriptor_;
};

/// A whole file mapped read-only.
class MappedFile {
 public:
  /// Throws Error beginning with `operation` if it cannot be read.
  MappedFile(const std::string& operation, const std::string& file);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

/// Writes a file in pieces under a temporary name; commit() makes it durable and gives it its own.
/// Without commit() nothing stays. Throws Error beginning with `operation`.
class FileWriter {
 public:
  FileWriter(std::string operation, std::string file);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(const void* data, size_t size);
  /// Asks that later writes go past the page cache: at the disk's own rate, and without taking
  /// memory or time from what runs beside. That takes whole multiples of kDirectUnit, from memory
  /// and to an offset aligned to it; other writes, and file systems that cannot, use the cache.
  void bypass_cache(bool bypass);
  static constexpr size_t kDirectUnit = 4096;
  /// Overwrites bytes already written.
  void write_at(int64_t offset, const void* data, size_t size);
  int64_t size() const { return size_; }
  void commit();

 private:
  std::string operation_, file_, temporary_;
  int descriptor_ = -1;
  int64_t size_ = 0;
  bool direct_ = false;
};

/// A folder in the making, beside the place that it will have: it gets its name once it is whole.
/// Without finish() nothing stays.
class NewFolder {
 public:
  /// Throws Error beginning with `operation` if there is something of that name.
  NewFolder(std::string operation, std::string name);
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const std::string& path() const { return path_; }
  void make() const;
  void finish() const;

 private:
  std::string operation_, name_, path_;
};

/// Makes the entries of a folder durable.
void sync_folder(const std::string& folder);

/// Bytes that can still be written where `path` is (or will be); -1 if the system does not tell.
int64_t free_disk_bytes(const std::string& path);

/// A 64-bit checksum (XXH3).
uint64_t checksum(std::span<const std::byte> bytes, uint64_t seed = 0);

/// The same checksum of bytes that come in pieces.
class StreamingChecksum {
 public:
  StreamingChecksum();
  ~StreamingChecksum();
  StreamingChecksum(const StreamingChecksum&) = delete;
  StreamingChecksum& operator=(const StreamingChecksum&) = delete;

  void add(std::span<const std::byte> bytes);
  uint64_t value() const;

 private:
  void* state_;
};

}  // namespace strobe
