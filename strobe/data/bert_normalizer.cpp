#include "strobe/data/bert_normalizer.h"

#include <algorithm>
#include <cstdint>

#include "strobe/data/bert_tables.h"
#include "strobe/data/unicode.h"

namespace strobe {
namespace {

namespace tables = bert_tables;

// A byte for each code point.
const std::vector<uint8_t>& properties() {
  static const std::vector<uint8_t> all = [] {
    std::vector<uint8_t> out(0x110000);
    for (size_t i = 0; i < tables::ranges.size(); ++i) {
      const size_t end = i + 1 < tables::ranges.size() ? tables::ranges[i + 1].first : out.size();
      std::fill(out.begin() + tables::ranges[i].first, out.begin() + static_cast<ptrdiff_t>(end),
                tables::ranges[i].properties);
    }
    return out;
  }();
  return all;
}

uint8_t properties_of(char32_t c) {
  static const uint8_t* const all = properties().data();
  return all[c];
}

// Calls `visit` with what the table has for `c`, which it must have.
template <class Visit>
void for_each_mapped(std::span<const tables::Mapping> table, char32_t c, const Visit& visit) {
  for (const char32_t to : std::ranges::lower_bound(table, c, {}, &tables::Mapping::from)->to)
    if (to != 0) visit(to);
}

// Unicode 3.12: syllables from U+AC00 on, of 19 leading consonants, 21 vowels, 27 or no trailing.
template <class Visit>
bool decompose_hangul(char32_t c, const Visit& visit) {
  constexpr char32_t syllables = 0xAC00, leading = 0x1100, vowels = 0x1161, trailing = 0x11A7;
  constexpr char32_t count = 19 * 21 * 28;
  if (c < syllables || c >= syllables + count) return false;
  const char32_t index = c - syllables;
  visit(leading + index / (21 * 28));
  visit(vowels + index % (21 * 28) / 28);
  if (index % 28 != 0) visit(trailing + index % 28);
  return true;
}

}  // namespace

// The words of one text, in the making.
class BertNormalizer::Run {
 public:
  Run(const BertNormalizer& normalizer, Words& out)
      : settings_(normalizer.settings_), strip_(normalizer.strip_), out_(out) {}

  void ascii(Ascii what, char letter) {
    if (what == Ascii::nothing) return;
    settle();
    if (what != Ascii::letter) end_word();
    if (what == Ascii::end) return;
    out_.text += letter;
    if (what == Ascii::punctuation) end_word();
  }

  void code_point(char32_t c) {
    const uint8_t is = properties_of(c);
    if (settings_.clean_text) {
      if (is & tables::forbidden) return;
      if (is & tables::space) return ascii(Ascii::end, ' ');
    }
    if (settings_.handle_chinese_chars && (is & tables::ideograph)) {
      settle(), end_word();
      stripped(c, is);
      settle(), end_word();
    } else {
      stripped(c, is);
    }
  }

  void finish() { settle(), end_word(); }

 private:
  void stripped(char32_t c, uint8_t is) {
    if (!strip_) return lowered(c);
    if (is & tables::mark) {
      if (!(is & tables::combining)) settle();
      return;
    }
    if (!(is & tables::decomposes)) return ordered(c);
    const auto visit = [this](char32_t part) { ordered(part); };
    if (!decompose_hangul(c, visit)) for_each_mapped(tables::decompositions, c, visit);
  }

  // Canonical order: combining characters that follow each other go by their class.
  void ordered(char32_t c) {
    if (properties_of(c) & tables::combining) {
      pending_.push_back(*std::ranges::lower_bound(tables::combining_classes, c, {},
                                                   &tables::CombiningClass::code_point));
    } else {
      settle();
      lowered(c);
    }
  }

  void settle() {
    if (pending_.empty()) return;
    std::ranges::stable_sort(pending_, {}, &tables::CombiningClass::value);
    for (const tables::CombiningClass& c : pending_) lowered(c.code_point);
    pending_.clear();
  }

  void lowered(char32_t c) {
    if (settings_.lowercase && (properties_of(c) & tables::lowers))
      for_each_mapped(tables::lower_case, c, [this](char32_t to) { placed(to); });
    else
      placed(c);
  }

  void placed(char32_t c) {
    const uint8_t is = properties_of(c);
    if (is & (tables::space | tables::punctuation)) end_word();
    if (is & tables::space) return;
    append_utf8(out_.text, c);
    if (is & tables::punctuation) end_word();
  }

  void end_word() {
    const size_t begin = out_.ends.empty() ? 0 : out_.ends.back();
    if (out_.text.size() > begin) out_.ends.push_back(out_.text.size());
  }

  const BertNormalizerSettings& settings_;
  const bool strip_;
  Words& out_;
  std::vector<tables::CombiningClass> pending_;  // characters whose order is not known yet
};

BertNormalizer::BertNormalizer(const BertNormalizerSettings& settings)
    : settings_(settings), strip_(settings.strip_accents.value_or(settings.lowercase)) {
  for (size_t c = 0; c < ascii_.size(); ++c) {
    const uint8_t is = properties_of(static_cast<char32_t>(c));
    ascii_[c] = settings_.clean_text && (is & tables::forbidden) ? Ascii::nothing
                : is & tables::space                             ? Ascii::end
                : is & tables::punctuation                       ? Ascii::punctuation
                                                                 : Ascii::letter;
    const bool upper = settings_.lowercase && c >= 'A' && c <= 'Z';
    letters_[c] = static_cast<char>(upper ? c - 'A' + 'a' : c);
  }
}

void BertNormalizer::cut(std::string_view text, Words& out) const {
  Run run(*this, out);
  for (size_t at = 0; at < text.size();) {
    const auto first = static_cast<uint8_t>(text[at]);
    if (first < 0x80) {
      run.ascii(ascii_[first], letters_[first]);
      ++at;
      continue;
    }
    const CodePoint point = decode_utf8(text, at);
    run.code_point(point.value);
    at += point.size;
  }
  run.finish();
}

}  // namespace strobe
