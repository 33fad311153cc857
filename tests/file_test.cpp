#include "strobe/core/file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "strobe/core/error.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

std::string test_folder() {
  const std::string folder = testing::TempDir() + "file_test_" +
                             testing::UnitTest::GetInstance()->current_test_info()->name() + "/";
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

int64_t files_in(const std::string& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

TEST(File, ReadsWhatItWrote) {
  const std::string folder = test_folder();
  const std::string bytes("a\0b\nc", 5), larger(3000000, 'x');
  for (const std::string& text : {bytes, larger, std::string()}) {
    write_file("test", folder + "a", text);
    EXPECT_EQ(read_file("test", folder + "a", 3000000), text);
    EXPECT_EQ(files_in(folder), 1);
  }
}

TEST(File, LeavesWhatWasThereWhenItCannotWrite) {
  const std::string folder = test_folder();
  fs::create_directories(folder + "taken/inside");
  EXPECT_THROW(write_file("test", folder + "taken", "text"), Error);  // a folder has that name
  EXPECT_TRUE(fs::exists(folder + "taken/inside"));
  EXPECT_EQ(files_in(folder), 1);
  EXPECT_THROW(write_file("test", folder + "no/such/file", "text"), Error);
}

TEST(File, RefusesMoreThanAsked) {
  const std::string folder = test_folder();
  write_file("test", folder + "a", std::string(11, 'x'));
  EXPECT_EQ(read_file("test", folder + "a", 11).size(), 11u);
  EXPECT_THROW(read_file("test", folder + "a", 10), Error);
  EXPECT_THROW(read_file("test", "/dev/zero", 1 << 20), Error);
  EXPECT_THROW(read_file("test", folder, 10), Error);
  EXPECT_THROW(read_file("test", folder + "none", 10), Error);
}

}  // namespace
}  // namespace strobe
