#include "tests/reference/token_ids.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "strobe/core/error.h"
#include "tests/reference/text_files.h"

namespace strobe::reference {

std::vector<int32_t> encode(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> ids;
  EXPECT_EQ(tokenizer.encode(text, ids), 0);
  return ids;
}

std::string repeat(const std::string& unit, int64_t times) {
  std::string text;
  for (int64_t i = 0; i < times; ++i) text += unit;
  return text;
}

std::string IdHash::text() const { return fmt::format("{:016x}", hash_); }

std::string hash_ids(const std::vector<int32_t>& ids) {
  IdHash hash;
  for (const int32_t id : ids) hash.add(static_cast<uint64_t>(id));
  return hash.text();
}

std::string message_of(const std::string& spec) {
  return error_of([&] { Tokenizer::load(spec); });
}

}  // namespace strobe::reference
