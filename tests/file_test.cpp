#include "strobe/core/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <thread>

#include "strobe/core/error.h"
#include "strobe/core/files.h"
#include "tests/reference/text_files.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using reference::test_folder;

int64_t files_in(const std::string& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

TEST(File, ReadsWhatItWrote) {
  const std::string folder = test_folder() + "/";
  const std::string bytes("a\0b\nc", 5), larger(3000000, 'x');
  for (const std::string& text : {bytes, larger, std::string()}) {
    write_file("test", folder + "a", text);
    EXPECT_EQ(read_file("test", folder + "a", 3000000), text);
    EXPECT_EQ(files_in(folder), 1);
  }
}

TEST(File, WritesToWhatIsNoFileAndThroughLinks) {
  const std::string folder = test_folder() + "/";
  ASSERT_EQ(::mkfifo((folder + "pipe").c_str(), 0600), 0);
  std::string read;
  std::thread reader([&] { read = read_file("test", folder + "pipe", 100); });
  write_file("test", folder + "pipe", "text");
  reader.join();
  EXPECT_EQ(read, "text");
  EXPECT_TRUE(fs::is_fifo(folder + "pipe"));
  write_file("test", "/dev/null", "text");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_THROW(write_file("test", "/dev/full", "text"), Error);

  write_file("test", folder + "a", "before");
  fs::create_symlink("a", folder + "link");
  write_file("test", folder + "link", "after");
  EXPECT_TRUE(fs::is_symlink(folder + "link"));
  EXPECT_EQ(read_file("test", folder + "a", 100), "after");
  EXPECT_EQ(files_in(folder), 3);
}

TEST(FileWriter, PastTheCacheOrNotWritesTheSame) {
  const std::string folder = test_folder() + "/";
  constexpr size_t kUnits = 5, kSize = kUnits * FileWriter::kDirectUnit;
  const std::unique_ptr<char, void (*)(void*)> memory(
      static_cast<char*>(std::aligned_alloc(FileWriter::kDirectUnit, kSize)), std::free);
  for (size_t i = 0; i < kSize; ++i) memory.get()[i] = static_cast<char>(i * 31 >> 3);
  const std::string bytes(memory.get(), kSize);
  // A whole number of units; then an odd size, odd memory, and, after it, an odd offset.
  for (const size_t first : {kSize, FileWriter::kDirectUnit, size_t{5}}) {
    FileWriter writer("test", folder + "a");
    writer.bypass_cache(true);
    writer.write(memory.get(), first);
    writer.write(memory.get() + first, kSize - first);
    writer.write("end", 3);
    writer.commit();
    EXPECT_EQ(read_file("test", folder + "a", 1 << 20), bytes + "end") << first;
    EXPECT_EQ(files_in(folder), 1);
  }
}

TEST(FileWriter, WithoutCommitNothingStays) {
  const std::string folder = test_folder() + "/";
  write_file("test", folder + "a", "before");
  {
    FileWriter writer("test", folder + "a");
    writer.write("after", 5);
  }
  EXPECT_EQ(read_file("test", folder + "a", 100), "before");
  EXPECT_EQ(files_in(folder), 1);
}

TEST(File, LeavesWhatWasThereWhenItCannotWrite) {
  const std::string folder = test_folder() + "/";
  fs::create_directories(folder + "taken/inside");
  EXPECT_THROW(write_file("test", folder + "taken", "text"), Error);  // a folder has that name
  EXPECT_TRUE(fs::exists(folder + "taken/inside"));
  EXPECT_EQ(files_in(folder), 1);
  EXPECT_THROW(write_file("test", folder + "no/such/file", "text"), Error);
}

TEST(File, RefusesMoreThanAsked) {
  const std::string folder = test_folder() + "/";
  write_file("test", folder + "a", std::string(11, 'x'));
  EXPECT_EQ(read_file("test", folder + "a", 11).size(), 11u);
  EXPECT_THROW(read_file("test", folder + "a", 10), Error);
  EXPECT_THROW(read_file("test", "/dev/zero", 1 << 20), Error);
  EXPECT_THROW(read_file("test", folder, 10), Error);
  EXPECT_THROW(read_file("test", folder + "none", 10), Error);
}

}  // namespace
}  // namespace strobe
