#include "strobe/core/error.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace strobe {

void check(bool condition, std::string_view what, const char* file, int line) {
  if (condition) return;
  throw std::logic_error(fmt::format("{} ({}:{})", what, file, line));
}

namespace {

// Levenshtein distance, one row at a time.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest(std::string_view word, const std::string* candidates, size_t count) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (size_t i = 0; i < count; ++i) {
    const size_t distance = edit_distance(word, candidates[i]);
    if (distance < best_distance) best_distance = distance, best = candidates[i];
  }
  // A stump of a longer word is further from it than from others, but for a slip of one letter.
  constexpr size_t kStump = 3;  // shorter ones begin too much
  if (best_distance <= 1) return best;
  std::string begun;
  for (size_t i = 0; i < count && word.size() >= kStump; ++i)
    if (candidates[i].starts_with(word) && (begun.empty() || candidates[i].size() < begun.size()))
      begun = candidates[i];
  return begun.empty() ? best : begun;
}

}  // namespace strobe
