// The words that BERT cuts text into, normalised: `BertNormalizer` and `BertPreTokenizer` of
// Hugging Face's tokenizers (after Google's tokenization.py, Devlin et al. 2019), code point by
// code point as the package has them. One difference to Google's own is theirs: of CJK Extension E
// the first 256 ideographs, from U+2B820 on, are no words of their own.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace strobe {

struct BertNormalizerSettings {
  bool clean_text = true;             // leaves out control characters; white space becomes spaces
  bool handle_chinese_chars = true;   // spaces around ideographs
  std::optional<bool> strip_accents;  // decomposes, leaves out marks; unset: as lowercase
  bool lowercase = true;
};

/// Words as one string, and where each ends in it.
struct Words {
  std::string text;
  std::vector<size_t> ends;

  void clear() { text.clear(), ends.clear(); }
};

class BertNormalizer {
 public:
  explicit BertNormalizer(const BertNormalizerSettings& settings);

  const BertNormalizerSettings& settings() const { return settings_; }

  /// Appends the words of well-formed UTF-8 to `out`, in time linear in the text.
  void cut(std::string_view text, Words& out) const;

  /// Whether a byte ends a word and what it stands in whatever the settings are: the words of a
  /// text are those of its parts between such bytes.
  static bool separates(char byte) {
    return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
  }

 private:
  class Run;
  enum class Ascii : uint8_t { letter, end, punctuation, nothing };

  BertNormalizerSettings settings_;
  bool strip_;
  std::array<Ascii, 128> ascii_{};   // what becomes of it ...
  std::array<char, 128> letters_{};  // ... as which letter
};

}  // namespace strobe
