#include "tests/reference/text_files.h"

#include <archive_entry.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "strobe/core/error.h"

namespace strobe::reference {

void write_text(const std::string& file, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(file).parent_path());
  std::ofstream(file, std::ios::binary) << text;
}

std::string test_folder() {
  const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
  const std::string folder =
      fmt::format("{}{}.{}", testing::TempDir(), test.test_suite_name(), test.name());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void pack(const std::string& file, int (*format)(archive*), int (*filter)(archive*),
          const std::map<std::string, std::string>& files) {
  archive* out = archive_write_new();
  format(out);
  if (filter != nullptr) filter(out);
  ASSERT_EQ(archive_write_open_filename(out, file.c_str()), ARCHIVE_OK);
  for (const auto& [name, text] : files) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_size(entry, static_cast<la_int64_t>(text.size()));
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    ASSERT_EQ(archive_write_header(out, entry), ARCHIVE_OK);
    ASSERT_EQ(archive_write_data(out, text.data(), text.size()),
              static_cast<la_ssize_t>(text.size()));
    archive_entry_free(entry);
  }
  ASSERT_EQ(archive_write_close(out), ARCHIVE_OK);
  archive_write_free(out);
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

std::string article(int number) {
  return fmt::format(
      "= Article {0} =\n\nThe river number {0} runs by the mill.\n\n== Course ==\n\n"
      "It runs {1} miles.\n\n",
      number, number * 7 % 13);
}

std::string articles(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += article(i);
  return text;
}

void expect_fails(const std::function<void()>& action, const std::string& part) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_TRUE(contains(error.what(), part))
        << "should say: " << part << "\nsaid: " << error.what();
    return;
  }
  ADD_FAILURE() << "nothing was thrown; should say: " << part;
}

std::string sentence(RandomSequence& random, int64_t words) {
  constexpr const char* kWords[] = {"river",  "mill",   "rain",   "stone",  "morning", "garden",
                                    "letter", "winter", "summer", "market", "bridge",  "window"};
  std::string out;
  for (int64_t i = 0; i < words; ++i)
    out += std::string(i ? " " : "") + kWords[random.below(std::size(kWords))];
  return out;
}

}  // namespace strobe::reference
