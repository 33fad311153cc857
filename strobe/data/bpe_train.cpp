#include "strobe/data/bpe_train.h"

#include <algorithm>
#include <array>
#include <vector>

#include "strobe/data/bpe.h"
#include "strobe/data/pair_merger.h"
#include "strobe/data/pretokenize.h"

namespace strobe {

void BpeTrainer::add(std::string_view text) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = gpt2_piece_end(text, begin);
    key_.assign(text.substr(begin, end - begin));
    ++counts_[key_];
    begin = end;
  }
}

std::unique_ptr<const TokenModel> BpeTrainer::finish(int64_t entries) {
  BpeVocabulary vocabulary;
  std::unordered_map<std::string, int32_t> ids;
  std::array<int32_t, 256> byte_ids;
  for (const uint8_t byte : gpt2_byte_order()) {
    byte_ids[byte] = static_cast<int32_t>(ids.size());
    vocabulary.tokens.emplace_back(1, static_cast<char>(byte));
    ids.emplace(vocabulary.tokens.back(), byte_ids[byte]);
  }
  PairMerger merger;
  std::vector<int32_t> word;
  for (const auto& [piece, count] : counts_) {
    word.clear();
    for (const char byte : piece) word.push_back(byte_ids[static_cast<uint8_t>(byte)]);
    merger.add(word, count);
  }
  PairMerger::Candidate top;
  std::vector<Pair> merges;
  while (static_cast<int64_t>(vocabulary.tokens.size()) + 1 < entries && merger.next(top)) {
    const auto [left, right] = top.pair;
    std::string token = vocabulary.tokens[static_cast<size_t>(left)] +
                        vocabulary.tokens[static_cast<size_t>(right)];
    // Two pairs may make the same token ("a"+"bc", "ab"+"c"); it has one id.
    const auto [known, is_new] = ids.emplace(token, static_cast<int32_t>(ids.size()));
    if (is_new) vocabulary.tokens.push_back(std::move(token));
    merges.push_back(top.pair);
    merger.merge(top, known->second);
  }
  // A pair merged twice (it arose again after its first turn) has its later rank.
  PairMap<bool> seen;
  for (auto pair = merges.rbegin(); pair != merges.rend(); ++pair)
    if (seen.insert((*pair)[0], (*pair)[1]).second) vocabulary.merges.push_back(*pair);
  std::reverse(vocabulary.merges.begin(), vocabulary.merges.end());
  vocabulary.special.push_back(static_cast<int32_t>(vocabulary.tokens.size()));
  vocabulary.tokens.emplace_back(end_of_text_token);
  return std::make_unique<ByteLevelBpe>(std::move(vocabulary), "the trained vocabulary");
}

}  // namespace strobe
