// What a tokenizer remembers of words it has met: a text's frequent words are most of it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace strobe {

/// Words of at most `longest_word` bytes and `most_ids` ids, each at the one place its hash gives;
/// a new word takes the place of the old one. The text's frequent words stay.
class WordCache {
 public:
  static constexpr size_t longest_word = 30;
  static constexpr size_t most_ids = 8;

  WordCache() : entries_(size_t{1} << 16) {}

  /// Appends the ids of a word of 1 to longest_word bytes to `out`; `encode(out)` appends them
  /// where the word is not known.
  template <class Encode>
  void append(std::string_view word, std::vector<int32_t>& out, const Encode& encode) {
    Entry& entry = entries_[hash(word) % entries_.size()];
    if (entry.size == word.size() && std::memcmp(entry.word, word.data(), word.size()) == 0) {
      out.insert(out.end(), entry.ids, entry.ids + entry.ids_size);
      return;
    }
    const size_t before = out.size();
    encode(out);
    const size_t count = out.size() - before;
    if (count > most_ids) return;
    std::memcpy(entry.word, word.data(), word.size());
    entry.size = static_cast<uint8_t>(word.size());
    entry.ids_size = static_cast<uint8_t>(count);
    std::copy_n(out.data() + before, count, entry.ids);
  }

 private:
  struct alignas(64) Entry {
    char word[longest_word];
    uint8_t size = 0;  // 0: nothing here
    uint8_t ids_size = 0;
    int32_t ids[most_ids];
  };
  static_assert(sizeof(Entry) == 64);

  static uint64_t load64(const char* from) {
    uint64_t word;
    std::memcpy(&word, from, 8);
    return word;
  }

  static uint64_t mix(uint64_t a, uint64_t b) {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }

  static uint64_t hash(std::string_view word) {
    constexpr uint64_t k = 0x9E3779B97F4A7C15u;
    const char* p = word.data();
    const size_t n = word.size();
    if (n < 8) {
      // Two reads that overlap cover 4 to 7 bytes, three single bytes cover 1 to 3.
      uint32_t low = 0, high = 0;
      if (n >= 4) {
        std::memcpy(&low, p, 4);
        std::memcpy(&high, p + n - 4, 4);
      } else {
        low = static_cast<uint8_t>(p[0]) | static_cast<uint8_t>(p[n / 2]) << 8;
        high = static_cast<uint8_t>(p[n - 1]);
      }
      return mix((static_cast<uint64_t>(high) << 32 | low) ^ k, k + n);
    }
    uint64_t h = n;
    for (size_t i = 0; i + 8 < n; i += 8) h = mix(h ^ load64(p + i), k);
    return mix(h ^ load64(p + n - 8), k);
  }

  std::vector<Entry> entries_;
};

}  // namespace strobe
