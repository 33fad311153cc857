// What tests of tokenizers share.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/data/tokenizer.h"

namespace strobe::reference {

/// The ids of a text that is well-formed.
std::vector<int32_t> encode(const Tokenizer& tokenizer, std::string_view text);

std::string repeat(const std::string& unit, int64_t times);

/// A hash of ids in their order: hash_ids of the scripts in tools/ that make the fixtures.
class IdHash {
 public:
  void add(uint64_t id) {
    power_ *= 0x9E3779B97F4A7C15u;
    hash_ += (id + 1) * power_;
  }
  std::string text() const;

 private:
  uint64_t hash_ = 0, power_ = 1;
};
std::string hash_ids(const std::vector<int32_t>& ids);

/// Why a tokenizer is refused; "accepted" if it is not.
std::string message_of(const std::string& spec);

}  // namespace strobe::reference
