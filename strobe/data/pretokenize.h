// GPT-2's cut of text into pieces, within which byte pairs are merged.
#pragma once

#include <cstddef>
#include <string_view>

namespace strobe {

/// The pattern (Radford et al. 2019, encoder.py) that gpt2_piece_end implements.
inline constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// The end of the piece that begins at `begin` (< text.size()) of well-formed UTF-8. The pieces
/// cover the text without gaps: the next one begins where this one ends. Takes time linear in the
/// piece.
size_t gpt2_piece_end(std::string_view text, size_t begin);

}  // namespace strobe
