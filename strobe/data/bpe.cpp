#include "strobe/data/bpe.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "strobe/core/error.h"
#include "strobe/data/pretokenize.h"
#include "strobe/data/word_cache.h"

namespace strobe {
namespace {

constexpr uint32_t no_rank = std::numeric_limits<uint32_t>::max();

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

ByteLevelBpe::ByteLevelBpe(BpeVocabulary given, const std::string& source)
    : TokenModel(std::move(static_cast<Vocabulary&>(given))), merges_(std::move(given.merges)) {
  const std::vector<std::string>& tokens = vocabulary().tokens;
  std::unordered_map<std::string_view, int32_t> ids;
  const std::unordered_set<int32_t> special(vocabulary().special.begin(),
                                            vocabulary().special.end());
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
  for (size_t rank = 0; rank < merges_.size(); ++rank) {
    const auto [left, right] = merges_[rank];
    whole = tokens[left] + tokens[right];
    const auto result = ids.find(whole);
    if (result == ids.end())
      fail("tokenizer: {}: merge {} makes a token that is not in the vocabulary", source, rank);
    const auto [merge, is_new] = merge_of_.insert(left, right);
    if (!is_new) fail("tokenizer: {}: merges {} and {} are the same", source, merge->rank, rank);
    *merge = {static_cast<int32_t>(rank), result->second};
  }
}

ByteLevelBpe::~ByteLevelBpe() = default;

const ByteLevelBpe::Merge* ByteLevelBpe::find(int32_t left, int32_t right) const {
  return merge_of_.find(left, right);
}

void ByteLevelBpe::encode(std::string_view text, std::vector<int32_t>& out) const {
  const Pool<Workspace>::Lease workspace(workspaces_);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = gpt2_piece_end(text, begin);
    const std::string_view piece = text.substr(begin, end - begin);
    if (piece.size() > WordCache::longest_word)
      merge_long(piece, *workspace, out);
    else
      workspace->cache.append(piece, out, [&](auto& ids) { merge_short(piece, ids); });
    begin = end;
  }
}

std::string ByteLevelBpe::decode(std::span<const int32_t> ids, bool) const {
  std::string bytes;
  for (const int32_t id : ids) bytes += vocabulary().tokens[static_cast<size_t>(id)];
  return bytes;
}

uint64_t ByteLevelBpe::hash() const {
  VocabularyHash hash;
  hash.bytes("byte-level BPE, GPT-2 split");
  hash.integer(static_cast<int64_t>(vocabulary().tokens.size()));
  for (const std::string& token : vocabulary().tokens) hash.bytes(token);
  hash.integer(static_cast<int64_t>(merges_.size()));
  for (const auto& [left, right] : merges_) {
    hash.integer(left);
    hash.integer(right);
  }
  hash.integer(static_cast<int64_t>(vocabulary().special.size()));
  for (const int32_t id : vocabulary().special) hash.integer(id);
  return hash.value();
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
