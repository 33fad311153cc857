#include "strobe/data/unicode.h"

#include <algorithm>
#include <cstring>

#include "strobe/data/unicode_tables.h"

namespace strobe {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

// What stands at text[at]: the bytes of a well-formed code point, or of a maximal ill-formed
// subsequence (never 0).
struct Sequence {
  uint32_t size;
  bool well_formed;
};

Sequence sequence_at(std::string_view text, size_t at) {
  const uint8_t first = static_cast<uint8_t>(text[at]);
  if (first < 0x80) return {1, true};
  if (first < 0xC2 || first > 0xF4) return {1, false};
  const uint32_t size = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  // The second byte's range is narrower after these four (table 3-7).
  const uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  for (uint32_t i = 1; i < size; ++i) {
    if (at + i >= text.size()) return {i, false};
    const uint8_t byte = static_cast<uint8_t>(text[at + i]);
    if (byte < (i == 1 ? low : 0x80) || byte > (i == 1 ? high : 0xBF)) return {i, false};
  }
  return {size, true};
}

}  // namespace

CharClass char_class(char32_t code_point) {
  using namespace unicode_tables;
  const size_t block = code_point / block_size;
  if (block >= blocks) return CharClass::other;
  const uint64_t word = classes[index[block] * (block_size / 32) + code_point % block_size / 32];
  return static_cast<CharClass>(word >> (code_point % 32 * 2) & 3);
}

std::string_view unicode_version() { return unicode_tables::version; }

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

size_t find_ill_formed(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    if (at + 8 <= text.size()) {
      uint64_t word;
      std::memcpy(&word, text.data() + at, 8);
      if (!(word & 0x8080808080808080u)) {
        at += 8;
        continue;
      }
    }
    const Sequence sequence = sequence_at(text, at);
    if (!sequence.well_formed) return at;
    at += sequence.size;
  }
  return at;
}

size_t incomplete_utf8(std::string_view text) {
  for (size_t size = 1; size <= std::min<size_t>(3, text.size()); ++size) {
    const size_t at = text.size() - size;
    const auto first = static_cast<uint8_t>(text[at]);
    const Sequence sequence = sequence_at(text, at);
    if (first >= 0xC2 && first <= 0xF4 && !sequence.well_formed && sequence.size == size)
      return size;
  }
  return 0;
}

int64_t repair_utf8(std::string_view text, std::string& out) {
  int64_t replaced = 0;
  while (true) {
    const size_t good = find_ill_formed(text);
    out.append(text.substr(0, good));
    if (good == text.size()) return replaced;
    out.append(replacement);
    ++replaced;
    text.remove_prefix(good + sequence_at(text, good).size);
  }
}

}  // namespace strobe
