// What BERT's normaliser does with each code point; made by tools/make_bert_tables.py.
#pragma once

#include <cstdint>
#include <span>

namespace strobe::bert_tables {

/// Bits of Range::properties.
enum Property : uint8_t {
  forbidden = 1,    // left out by clean_text: control, format and private characters
  space = 2,        // white space
  punctuation = 4,  // a word of its own
  ideograph = 8,    // a CJK ideograph, a word of its own
  mark = 16,        // left out by strip_accents: a non-spacing mark
  decomposes = 32,  // strip_accents makes other characters of it
  lowers = 64,      // lowercase makes other characters of it
  combining = 128,  // its canonical combining class is not 0
};

/// Code points from `first` to the next range's first.
struct Range {
  char32_t first;
  uint8_t properties;
};

/// What a code point becomes, 0 where there is no more.
struct Mapping {
  char32_t from;
  char32_t to[3];
};

/// Of what is combining and no mark.
struct CombiningClass {
  char32_t code_point;
  uint8_t value;
};

// Each ascending.
extern const std::span<const Range> ranges;
extern const std::span<const Mapping> decompositions;  // canonical, marks left out; Hangul's are
                                                       // not here
extern const std::span<const Mapping> lower_case;
extern const std::span<const CombiningClass> combining_classes;

}  // namespace strobe::bert_tables
