// What a kind of tokenizer is made of: a vocabulary, and a model that cuts text into it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace strobe {

/// A tokenizer's data, as its files hold it.
struct Vocabulary {
  std::vector<std::string> tokens;             // bytes by id; a special token's are its name
  std::vector<std::array<int32_t, 2>> merges;  // pairs of ids, the earliest applied first
  std::vector<int32_t> special;                // ids that encode never yields, ascending
};

/// One kind's way of cutting text. (WordPiece is to be another one.)
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  /// Appends the ids of well-formed UTF-8 to `out`. Thread-safe.
  virtual void encode(std::string_view text, std::vector<int32_t>& out) const = 0;
};

}  // namespace strobe
