#include "strobe/data/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "strobe/core/error.h"

namespace strobe {

namespace fs = std::filesystem;

struct ArchiveReader::Impl {
  archive* handle = archive_read_new();
  ~Impl() { archive_read_free(handle); }
};

ArchiveReader::ArchiveReader(std::string path)
    : impl_(std::make_unique<Impl>()), path_(std::move(path)) {
  // Only these filters: libarchive would also decode a text that begins like a uuencoded file.
  archive* handle = impl_->handle;
  archive_read_support_filter_gzip(handle);
  archive_read_support_filter_bzip2(handle);
  archive_read_support_filter_xz(handle);
  archive_read_support_filter_zstd(handle);
  archive_read_support_format_tar(handle);
  archive_read_support_format_zip(handle);
  archive_read_support_format_empty(handle);
  archive_read_support_format_raw(handle);
  constexpr size_t block = 256 << 10;
  const bool standard_input = path_ == "-";
  if (!standard_input) {
    std::error_code error;
    const fs::file_status status = fs::status(path_, error);
    if (!fs::exists(status)) fail("data: cannot read {}: there is no such file", path_);
    if (fs::is_directory(status)) fail("data: cannot read {}: it is a folder", path_);
    if (::access(path_.c_str(), R_OK) != 0)
      fail("data: cannot read {}: {}", path_, std::strerror(errno));
  }
  const int opened = standard_input ? archive_read_open_fd(handle, STDIN_FILENO, block)
                                    : archive_read_open_filename(handle, path_.c_str(), block);
  if (opened != ARCHIVE_OK) fail_reading();
}

ArchiveReader::~ArchiveReader() = default;

void ArchiveReader::fail_reading() const {
  const char* reason = archive_error_string(impl_->handle);
  fail("data: cannot read {}: it is truncated or damaged ({})", name(),
       reason != nullptr ? reason : "no reason given");
}

bool ArchiveReader::next() {
  archive_entry* header = nullptr;
  while (true) {
    const int status = archive_read_next_header(impl_->handle, &header);
    if (status == ARCHIVE_EOF) return false;
    if (status < ARCHIVE_WARN) fail_reading();
    if (archive_format(impl_->handle) == ARCHIVE_FORMAT_RAW) {
      entry_.clear();
      return true;
    }
    if (archive_entry_filetype(header) != AE_IFREG) continue;
    const char* inside = archive_entry_pathname(header);
    entry_ = inside != nullptr ? inside : "?";
    return true;
  }
}

std::string ArchiveReader::name() const {
  const std::string file = path_ == "-" ? "standard input" : path_;
  return entry_.empty() ? file : file + ":" + entry_;
}

size_t ArchiveReader::read(char* out, size_t size) {
  size_t done = 0;
  while (done < size) {
    const la_ssize_t got = archive_read_data(impl_->handle, out + done, size - done);
    if (got == ARCHIVE_RETRY) continue;
    if (got < 0) fail_reading();
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

}  // namespace strobe
