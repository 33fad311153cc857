// What memory there is, by the files of a system that is made up.
#include "strobe/core/memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "tests/reference/tiny_dataset.h"

namespace strobe {
namespace {

using Files = std::vector<std::pair<std::string, std::string>>;

int64_t available(const Files& files) {
  const reference::TemporaryFolder root;
  for (const auto& [name, text] : files) {
    std::filesystem::create_directories(std::filesystem::path(root.file(name)).parent_path());
    std::ofstream(root.file(name)) << text;
  }
  return available_bytes(root.path());
}

const std::pair<std::string, std::string> kMeminfo = {
    "proc/meminfo", "MemTotal:       64 kB\nMemAvailable:   32 kB\n"};
constexpr int64_t kAvailable = 32 * 1024;

TEST(AvailableMemory, IsTheSystemsWhereNothingLimitsIt) {
  EXPECT_EQ(available({}), 0) << "not known";
  EXPECT_EQ(available({kMeminfo}), kAvailable);
  EXPECT_EQ(available({kMeminfo, {"proc/self/cgroup", "0::/\n"}}), kAvailable);
  EXPECT_EQ(available({kMeminfo,
                       {"proc/self/cgroup", "0::/a\n"},
                       {"sys/fs/cgroup/a/memory.max", "max\n"},
                       {"sys/fs/cgroup/a/memory.current", "5000\n"}}),
            kAvailable);
  EXPECT_GT(available_bytes(), 1) << "of this machine";
}

TEST(AvailableMemory, IsWhatAContainerLeaves) {
  const Files group = {
      kMeminfo,
      {"proc/self/cgroup", "1:cpu,memory:/other\n0::/a/b\n"},
      {"sys/fs/cgroup/a/memory.max", "20000\n"},
      {"sys/fs/cgroup/a/memory.current", "6000\n"},
      {"sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 1000\nactive_file 300\n"}};
  EXPECT_EQ(available(group), 15300) << "and the group around it has the limit";
  Files full = group;
  full.push_back({"sys/fs/cgroup/a/b/memory.max", "4000\n"});
  full.push_back({"sys/fs/cgroup/a/b/memory.current", "4000\n"});
  EXPECT_EQ(available(full), 1) << "nothing, which is known";
  // In a container of its own name space the group is the root.
  EXPECT_EQ(available({kMeminfo,
                       {"proc/self/cgroup", "0::/\n"},
                       {"sys/fs/cgroup/memory.max", "9000\n"},
                       {"sys/fs/cgroup/memory.current", "1000\n"}}),
            8000);
}

TEST(AvailableMemory, IsTheSameOfTheFirstVersionOfGroups) {
  EXPECT_EQ(
      available(
          {kMeminfo,
           {"proc/self/cgroup", "4:memory:/a\n2:cpuacct:/b\n"},
           {"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
           {"sys/fs/cgroup/memory/memory.usage_in_bytes", "123\n"},
           {"sys/fs/cgroup/memory/a/memory.limit_in_bytes", "12000\n"},
           {"sys/fs/cgroup/memory/a/memory.usage_in_bytes", "5000\n"},
           {"sys/fs/cgroup/memory/a/memory.stat",
            "inactive_file 7\nactive_file 8\ntotal_inactive_file 500\ntotal_active_file 60\n"}}),
      7560);
}

}  // namespace
}  // namespace strobe
