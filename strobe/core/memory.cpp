#include "strobe/core/memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <optional>
#include <string_view>

namespace strobe {

namespace {

// The number at the beginning of `text`; nothing where it is none ("max").
std::optional<int64_t> number_in(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t:"), text.size()));
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

// The number after `key` in a file's line that begins with it; "": in the first line.
std::optional<int64_t> number_in(const std::string& file, std::string_view key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);)
    if (line.starts_with(key)) return number_in(std::string_view(line).substr(key.size()));
  return std::nullopt;
}

// The files of one version of control groups, and what memory.stat calls cached files: those read
// once, and those read again.
struct Version {
  const char *folder, *limit, *used, *inactive, *active;
};
constexpr Version kOne = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                          "total_inactive_file ", "total_active_file "};
constexpr Version kTwo = {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file ",
                          "active_file "};

// What the group at `path` leaves, or the tightest of those around it.
int64_t left_by_groups(const std::string& root, const Version& version, std::string path) {
  int64_t least = std::numeric_limits<int64_t>::max();
  while (true) {
    const std::string group = root + version.folder + path + "/";
    const auto limit = number_in(group + version.limit, ""),
               used = number_in(group + version.used, "");
    // Cached files make way for what is asked for.
    int64_t files = 0;
    for (const char* cached : {version.inactive, version.active})
      files += number_in(group + "memory.stat", cached).value_or(0);
    if (limit && used) least = std::min(least, std::max<int64_t>(0, *limit - *used + files));
    if (path.empty()) return least;
    path.resize(std::min(path.rfind('/'), path.size() - 1));
  }
}

}  // namespace

int64_t available_bytes(const std::string& root) {
  int64_t available = number_in(root + "/proc/meminfo", "MemAvailable").value_or(0) * 1024;
  if (available == 0) return 0;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // number:controllers:path
    const size_t controllers = line.find(':') + 1, end = line.find(':', controllers);
    if (controllers == 0 || end == std::string::npos) continue;
    const std::string names = "," + line.substr(controllers, end - controllers) + ",";
    if (names == ",,")
      available = std::min(available, left_by_groups(root, kTwo, line.substr(end + 1)));
    else if (names.find(",memory,") != std::string::npos)
      available = std::min(available, left_by_groups(root, kOne, line.substr(end + 1)));
  }
  return std::max<int64_t>(1, available);  // 0 would mean that nothing is known
}

}  // namespace strobe
