#include "strobe/data/bpe.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "strobe/core/error.h"
#include "strobe/data/pretokenize.h"

namespace strobe {
namespace {

constexpr uint32_t no_rank = std::numeric_limits<uint32_t>::max();

uint64_t load64(const char* from) {
  uint64_t word;
  std::memcpy(&word, from, 8);
  return word;
}

uint64_t mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Words of at most `longest_word` bytes and `most_ids` ids, each at the one place its hash gives;
// a new word takes the place of the old one. The text's frequent words stay.
class WordCache {
 public:
  static constexpr size_t longest_word = 30;
  static constexpr size_t most_ids = 8;
  struct alignas(64) Entry {
    char word[longest_word];
    uint8_t size = 0;  // 0: nothing here
    uint8_t ids_size = 0;
    int32_t ids[most_ids];
  };
  static_assert(sizeof(Entry) == 64);

  WordCache() : entries_(size_t{1} << 16) {}

  // `word` has 1 to longest_word bytes.
  Entry& place(std::string_view word) { return entries_[hash(word) % entries_.size()]; }

 private:
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

}  // namespace

class ByteLevelBpe::Workspace {
 public:
  WordCache cache;

  // merge_long's list of symbols and its heap; kept for their capacity.
  struct Symbol {
    int32_t id;
    int32_t previous, next;  // -1 at the ends
    uint32_t rank;           // of the merge with the next symbol; no_rank if none
  };
  std::vector<Symbol> symbols;
  std::vector<uint64_t> heap;  // rank << 32 | position
};

const std::array<uint8_t, 256>& gpt2_byte_order() {
  static const std::array<uint8_t, 256> order = [] {
    const auto printable = [](int b) {
      return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    };
    std::array<uint8_t, 256> bytes{};
    size_t n = 0;
    for (const bool wanted : {true, false})
      for (int b = 0; b < 256; ++b)
        if (printable(b) == wanted) bytes[n++] = static_cast<uint8_t>(b);
    return bytes;
  }();
  return order;
}

ByteLevelBpe::ByteLevelBpe(const Vocabulary& vocabulary, const std::string& source) {
  const std::vector<std::string>& tokens = vocabulary.tokens;
  std::unordered_map<std::string_view, int32_t> ids;
  const std::unordered_set<int32_t> special(vocabulary.special.begin(), vocabulary.special.end());
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (special.count(static_cast<int32_t>(id))) continue;
    if (tokens[id].empty()) fail("tokenizer: {}: the token of id {} is empty", source, id);
    const auto [known, is_new] = ids.emplace(tokens[id], static_cast<int32_t>(id));
    if (!is_new) fail("tokenizer: {}: ids {} and {} are the same token", source, known->second, id);
  }
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    const auto found = ids.find(std::string_view(&byte, 1));
    if (found == ids.end())
      fail("tokenizer: {}: no token for byte {:#04x}; a byte-level vocabulary has all 256", source,
           b);
    byte_ids_[b] = found->second;
  }
  std::string whole;
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const auto [left, right] = vocabulary.merges[rank];
    whole = tokens[left] + tokens[right];
    const auto result = ids.find(whole);
    if (result == ids.end())
      fail("tokenizer: {}: merge {} makes a token that is not in the vocabulary", source, rank);
    const auto [merge, is_new] = merges_.insert(left, right);
    if (!is_new) fail("tokenizer: {}: merges {} and {} are the same", source, merge->rank, rank);
    *merge = {static_cast<int32_t>(rank), result->second};
  }
}

ByteLevelBpe::~ByteLevelBpe() = default;

const ByteLevelBpe::Merge* ByteLevelBpe::find(int32_t left, int32_t right) const {
  return merges_.find(left, right);
}

void ByteLevelBpe::encode(std::string_view text, std::vector<int32_t>& out) const {
  std::unique_ptr<Workspace> workspace;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      workspace = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!workspace) workspace = std::make_unique<Workspace>();
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = gpt2_piece_end(text, begin);
    encode_piece(text.substr(begin, end - begin), *workspace, out);
    begin = end;
  }
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(workspace));
}

void ByteLevelBpe::encode_piece(std::string_view piece, Workspace& workspace,
                                std::vector<int32_t>& out) const {
  if (piece.size() > WordCache::longest_word) return merge_long(piece, workspace, out);
  WordCache::Entry& entry = workspace.cache.place(piece);
  if (entry.size == piece.size() && std::memcmp(entry.word, piece.data(), piece.size()) == 0) {
    out.insert(out.end(), entry.ids, entry.ids + entry.ids_size);
    return;
  }
  const size_t before = out.size();
  merge_short(piece, out);
  const size_t count = out.size() - before;
  if (count > WordCache::most_ids) return;
  std::memcpy(entry.word, piece.data(), piece.size());
  entry.size = static_cast<uint8_t>(piece.size());
  entry.ids_size = static_cast<uint8_t>(count);
  std::copy_n(out.data() + before, count, entry.ids);
}

// At most WordCache::longest_word bytes: looks through all pairs for the next merge.
void ByteLevelBpe::merge_short(std::string_view piece, std::vector<int32_t>& out) const {
  std::array<int32_t, WordCache::longest_word> ids;
  std::array<Merge, WordCache::longest_word> merges;  // of each symbol with the next
  constexpr Merge none{std::numeric_limits<int32_t>::max(), -1};
  size_t count = piece.size();
  for (size_t i = 0; i < count; ++i) ids[i] = byte_ids_[static_cast<uint8_t>(piece[i])];
  const auto look_up = [&](size_t i) {
    const Merge* merge = i + 1 < count ? find(ids[i], ids[i + 1]) : nullptr;
    merges[i] = merge ? *merge : none;
  };
  for (size_t i = 0; i < count; ++i) look_up(i);
  while (true) {
    size_t best = 0;
    for (size_t i = 1; i < count; ++i)
      if (merges[i].rank < merges[best].rank) best = i;
    if (merges[best].result < 0) break;
    ids[best] = merges[best].result;
    --count;
    for (size_t i = best + 1; i < count; ++i) {
      ids[i] = ids[i + 1];
      merges[i] = merges[i + 1];
    }
    look_up(best);
    if (best > 0) look_up(best - 1);
  }
  out.insert(out.end(), ids.begin(), ids.begin() + count);
}

// Any length, in n log n: a linked list of symbols and a heap of its pairs, where a pair that has
// changed since it was pushed is passed over.
void ByteLevelBpe::merge_long(std::string_view piece, Workspace& workspace,
                              std::vector<int32_t>& out) const {
  if (piece.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    fail("tokenizer: a run of {} bytes without a break; at most 2^31 - 1 are accepted",
         piece.size());
  std::vector<Workspace::Symbol>& symbols = workspace.symbols;
  std::vector<uint64_t>& heap = workspace.heap;
  const int32_t count = static_cast<int32_t>(piece.size());
  symbols.resize(piece.size());
  heap.clear();

  const auto look_up = [&](int32_t at) {
    Workspace::Symbol& symbol = symbols[at];
    const Merge* merge = symbol.next < 0 ? nullptr : find(symbol.id, symbols[symbol.next].id);
    symbol.rank = merge ? static_cast<uint32_t>(merge->rank) : no_rank;
    if (merge) heap.push_back(uint64_t{symbol.rank} << 32 | static_cast<uint32_t>(at));
    return merge != nullptr;
  };
  const auto push = [&](int32_t at) {
    if (look_up(at)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };

  for (int32_t i = 0; i < count; ++i)
    symbols[i] = {byte_ids_[static_cast<uint8_t>(piece[i])], i - 1, i + 1 < count ? i + 1 : -1, 0};
  for (int32_t i = 0; i < count; ++i) look_up(i);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());

  while (!heap.empty()) {
    const uint32_t rank = static_cast<uint32_t>(heap.front() >> 32);
    const int32_t at = static_cast<int32_t>(heap.front() & 0xFFFFFFFFu);
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
    Workspace::Symbol& left = symbols[at];
    if (left.rank != rank) continue;
    Workspace::Symbol& right = symbols[left.next];
    left.id = find(left.id, right.id)->result;
    left.next = right.next;
    right.rank = no_rank;
    if (left.next >= 0) symbols[left.next].previous = at;
    push(at);
    if (left.previous >= 0) push(left.previous);
  }
  for (int32_t at = 0; at >= 0; at = symbols[at].next) out.push_back(symbols[at].id);
}

}  // namespace strobe
