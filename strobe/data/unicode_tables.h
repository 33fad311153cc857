// Character classes by code point, a two-level table; made by tools/make_unicode_tables.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace strobe::unicode_tables {

inline constexpr size_t block_size = 256;  // code points in a block; 32 of them in a word
inline constexpr size_t blocks = 0x324;    // beyond the last one every code point is `other`

extern const std::string_view version;
/// Which row of `classes` holds a block; a row is block_size / 32 words.
extern const uint8_t index[blocks];
/// Two bits a code point, CharClass's value, the lowest first.
extern const uint64_t classes[];

}  // namespace strobe::unicode_tables
