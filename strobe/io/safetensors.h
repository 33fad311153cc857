// safetensors: 8 bytes of header size N, little endian; N bytes of JSON; data.
//
// The reader is strict, as the format's own is: every size is checked before it is used, tensors
// cover the data without holes, overlaps or trailing bytes, and no key appears twice.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "strobe/core/files.h"
#include "strobe/core/tensor.h"

namespace strobe {

/// Where one tensor lies in the data.
struct SafetensorsEntry {
  std::string dtype;  // "F32", "BF16", "I32", "U8", ...
  std::vector<int64_t> shape;
  int64_t begin = 0, end = 0;  // bytes, relative to the data
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> tensors;
  std::map<std::string, std::string> metadata;
  int64_t data_offset = 0;  // of the data in the file
};

/// A pure function of the file's bytes. Throws Error beginning with "safetensors: <name>".
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& name);

/// A file mapped for reading.
class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::string& path);

  const SafetensorsHeader& header() const { return header_; }
  bool has(const std::string& name) const { return header_.tensors.contains(name); }
  /// The mapped data of a tensor of any type, aligned to nothing. Throws Error if there is none.
  std::span<const std::byte> bytes(const std::string& name) const;
  /// A view of the mapped data: read-only. Throws Error if there is no such tensor, or it has a
  /// type that strobe does not compute with (F32, BF16, I32 and U8), more than four dimensions, or
  /// data that is not aligned to its type.
  Tensor tensor(const std::string& name) const;
  const std::string& path() const { return path_; }

 private:
  SafetensorsFile(std::string path, MappedFile file);

  std::string path_;
  MappedFile file_;
  SafetensorsHeader header_;
};

/// A file's bytes before its data: tensors in the reference writer's order (F32, I32, BF16, U8, and
/// by name). `offsets` receives where each tensor's data goes, from the file's start.
std::string safetensors_header(const std::map<std::string, Tensor>& tensors,
                               const std::map<std::string, std::string>& metadata,
                               std::map<std::string, int64_t>& offsets);

}  // namespace strobe
