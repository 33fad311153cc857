// What a byte-level tokenizer needs to know of Unicode: the classes of GPT-2's split pattern, and
// well-formed UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace strobe {

/// The four classes that GPT-2's split pattern tells apart.
enum class CharClass : uint8_t {
  other,   // none of the three below
  letter,  // \p{L}: general category L
  number,  // \p{N}: general category N
  space,   // \s: the property White_Space
};

/// The class of a code point; `other` above U+10FFFF.
CharClass char_class(char32_t code_point);

/// The version of the Unicode standard behind char_class, "16.0" for example.
std::string_view unicode_version();

/// A code point and the bytes it took.
struct CodePoint {
  char32_t value;
  uint32_t size;
};

/// Decodes the code point at text[at] of well-formed UTF-8; `at` must be at its first byte.
inline CodePoint decode_utf8(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  const uint32_t a = byte(0);
  if (a < 0x80) return {a, 1};
  if (a < 0xE0) return {(a & 0x1F) << 6 | (byte(1) & 0x3Fu), 2};
  if (a < 0xF0) return {(a & 0x0F) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu), 3};
  return {(a & 0x07) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu),
          4};
}

/// Appends the code point's UTF-8 to `out`.
void append_utf8(std::string& out, char32_t code_point);

/// The offset of the first ill-formed byte, or text.size() if the text is well-formed UTF-8
/// (Unicode 3.9, table 3-7: no surrogates, no overlong forms, nothing above U+10FFFF).
size_t find_ill_formed(std::string_view text);

/// How many bytes at the end of `text` begin a code point that more bytes could complete: 0 to 3.
size_t incomplete_utf8(std::string_view text);

/// Appends `text` to `out` with every maximal ill-formed subsequence replaced by U+FFFD, as
/// Unicode 3.9 recommends and Python's errors="replace" does; returns how many were.
int64_t repair_utf8(std::string_view text, std::string& out);

}  // namespace strobe
