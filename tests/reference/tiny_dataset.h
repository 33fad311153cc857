// A small dataset on disk, written by hand: what tests of training run on.
#pragma once

#include <cstdint>
#include <string>

namespace strobe::reference {

/// A new, empty folder under the system's temporary one; removed when this goes.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// Writes a dataset with a tokenizer of 270 entries and splits of so many tokens of a text with
/// some order in it. The tokenizer has learnt `learnt`: of another text it is another one.
void write_tiny_dataset(
    const std::string& folder, int64_t train_tokens = 2000, int64_t valid_tokens = 333,
    const std::string& learnt =
        "the river ran by the mill and the mill ran by the river where the rain went on");

}  // namespace strobe::reference
