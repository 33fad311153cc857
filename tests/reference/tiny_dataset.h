// Files of tests, and a small dataset on disk, written by hand: what tests of training run on.
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

/// The bytes of a file; "" if there is none.
std::string slurp(const std::string& file);

inline constexpr const char* kTinyText =
    "the river ran by the mill and the mill ran by the river where the rain went on";

/// A recipe of a few steps on write_tiny_dataset("data"); more may follow in [train].
inline constexpr const char* kTinyRecipe = R"(data.path = "data"
[model]
layers = 1
channels = 32
heads = 2
context = 24
[train]
steps = 4
micro_batch = 2
)";

/// Writes a dataset with a tokenizer of 270 entries and splits of so many tokens of a text with
/// some order in it. The tokenizer has learnt `learnt`: of another text it is another one.
/// Documents have about `document` tokens, some half and some twice as many; 0: a split is one.
void write_tiny_dataset(const std::string& folder, int64_t train_tokens = 2000,
                        int64_t valid_tokens = 333, const std::string& learnt = kTinyText,
                        int64_t document = 0);

}  // namespace strobe::reference
