// Files and what is inside them, through libarchive: plain, compressed (gzip, bzip2, xz, zstd),
// in a tar or a zip.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace strobe {

/// Reads a file, or each file inside an archive, as a stream of bytes. Memory does not depend on
/// the sizes. Throws Error naming the file if it cannot be read, is truncated or damaged.
class ArchiveReader {
 public:
  /// "-" is standard input.
  explicit ArchiveReader(std::string path);
  ~ArchiveReader();
  ArchiveReader(const ArchiveReader&) = delete;
  ArchiveReader& operator=(const ArchiveReader&) = delete;

  /// Moves to the next regular file inside; a file that is no archive has one, itself. False at the
  /// end.
  bool next();

  /// Its name in the archive, "" if the file is no archive.
  const std::string& entry() const { return entry_; }

  /// Path and entry, for messages.
  std::string name() const;

  /// Reads up to `size` bytes; fewer, or 0, only at the end.
  size_t read(char* out, size_t size);

 private:
  struct Impl;
  [[noreturn]] void fail_reading() const;

  std::unique_ptr<Impl> impl_;
  std::string path_, entry_;
};

}  // namespace strobe
