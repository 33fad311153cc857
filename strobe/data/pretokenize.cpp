#include "strobe/data/pretokenize.h"

#include <array>

#include "strobe/data/unicode.h"

namespace strobe {
namespace {

constexpr std::array<CharClass, 128> ascii_classes = [] {
  std::array<CharClass, 128> classes{};
  for (char c = 'a'; c <= 'z'; ++c) classes[c] = CharClass::letter;
  for (char c = 'A'; c <= 'Z'; ++c) classes[c] = CharClass::letter;
  for (char c = '0'; c <= '9'; ++c) classes[c] = CharClass::number;
  for (char c : {'\t', '\n', '\v', '\f', '\r', ' '}) classes[c] = CharClass::space;
  return classes;
}();

struct Char {
  CharClass kind;
  uint32_t size;
};

inline Char char_at(std::string_view text, size_t at) {
  const uint8_t first = static_cast<uint8_t>(text[at]);
  if (first < 0x80) return {ascii_classes[first], 1};
  const CodePoint point = decode_utf8(text, at);
  return {char_class(point.value), point.size};
}

// The end of the run of characters of class `kind` from `at` on.
inline size_t run_end(std::string_view text, size_t at, CharClass kind) {
  while (at < text.size()) {
    const Char next = char_at(text, at);
    if (next.kind != kind) break;
    at += next.size;
  }
  return at;
}

// The size of a contraction after an apostrophe at text[at]; 0 if there is none.
inline size_t contraction(std::string_view text, size_t at) {
  const char a = at + 1 < text.size() ? text[at + 1] : '\0';
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  const char b = at + 2 < text.size() ? text[at + 2] : '\0';
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
  return 0;
}

}  // namespace

size_t gpt2_piece_end(std::string_view text, size_t begin) {
  if (text[begin] == '\'')
    if (const size_t size = contraction(text, begin)) return begin + size;

  const Char first = char_at(text, begin);
  if (first.kind != CharClass::space) return run_end(text, begin + first.size, first.kind);

  // A space belongs to the word, number or punctuation after it.
  size_t end = begin + first.size;
  if (end == text.size()) return end;
  Char next = char_at(text, end);
  if (next.kind != CharClass::space)
    return text[begin] == ' ' ? run_end(text, end + next.size, next.kind) : end;

  // \s+(?!\S): all of a run at the end of the text, else all but its last character.
  size_t last = begin;
  while (end < text.size() && (next = char_at(text, end)).kind == CharClass::space) {
    last = end;
    end += next.size;
  }
  return end == text.size() ? end : last;
}

}  // namespace strobe
